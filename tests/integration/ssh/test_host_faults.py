"""What befalls hosts and the ways to them: the others go on, nothing runs twice, exq says why, and it recovers."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.integration.lab import Lab
from tests.integration.ssh.fleet import GATED, NOTES, connections, end_of, fleet, go, jobs_of, ran
from tests.integration.ssh.host import Host
from tests.integration.ssh.hosts import Hosts

Act = Callable[[Hosts, Host], object]


@dataclass(frozen=True)
class Fault:
    """How it comes about, how it goes away, and what exq says of it."""

    begin: Act
    mend: Act
    says: str


def retrust(hosts: Hosts, host: Host, key_of: Host | None) -> None:
    """Let known_hosts have another key for a host, or none."""
    lines = hosts.known_hosts.read_text().splitlines(keepends=True)
    hosts.known_hosts.write_text("".join(line for line in lines if not line.startswith(f"{host.name},")))
    if key_of is not None:
        kind, key = (key_of.machine / "host_key.pub").read_text().split()[:2]
        with hosts.known_hosts.open("a") as known:
            known.write(f"{host.name},{host.address} {kind} {key}\n")


def restart_sshd(host: Host, **options: str) -> None:
    host.configure_sshd(options)
    host.stop_sshd()
    host.start_sshd()


def lead(hosts: Hosts, host: Host, address: str) -> None:
    hosts.alias(host.name, HostName=address, ConnectTimeout="4")


def trusted(hosts: Hosts, host: Host) -> None:
    retrust(hosts, host, host)


NOT_REACHED = {
    "refused": Fault(lambda _, h: h.stop_sshd(), lambda _, h: h.start_sshd(), "refuses connections"),
    "silent": Fault(lambda _, h: h.silence_sshd(), lambda _, h: h.resume_sshd(), "no SSH server spoke there in time"),
    "noentry": Fault(
        lambda _, h: restart_sshd(h, AuthorizedKeysFile="none"),
        lambda _, h: restart_sshd(h),
        "lets none of the keys in",
    ),
    "unknown": Fault(lambda hs, h: retrust(hs, h, None), trusted, "is not known: it offers"),
    "changed": Fault(lambda hs, h: retrust(hs, h, hs["good"]), trusted, "has changed: it offers"),
    "off": Fault(lambda _, h: h.down(abrupt=False), lambda _, h: h.up(), "cannot be reached: No route to host"),
    "dropped": Fault(lambda _, h: h.partition("drop"), lambda _, h: h.heal(), "did not answer within 4 s"),
    "nameless": Fault(
        lambda hs, h: lead(hs, h, "nowhere.invalid"), lambda hs, h: lead(hs, h, h.address), "has no address"
    ),
    "sessions": Fault(
        lambda _, h: restart_sshd(h, MaxSessions="0"), lambda _, h: restart_sshd(h), "opens no further session"
    ),
    "python": Fault(
        lambda _, h: (h.home / ".bashrc").write_text("python3() { return 127; }\n"),
        lambda _, h: (h.home / ".bashrc").unlink(),
        "there is no python3",
    ),
}
"""Hosts to which no connection leads at first."""


def test_hosts_that_are_not_reached_hold_nobody_up_and_are_told_of(hosts: Hosts, lab: Lab) -> None:
    good, slow, *bad = hosts.add("good", "slow", *NOT_REACHED)
    (slow.home / ".bashrc").write_text("echo Welcome; echo Quota 100 % >&2; sleep 0.5\n")
    for host in bad:
        lead(hosts, host, host.address)
        NOT_REACHED[host.name].begin(hosts, host)
        lab.spec(fleet({"j0": NOTES, "j1": NOTES}, host.name, host.name), f"{host.name}.yaml")
    many = {f"j{i}": NOTES for i in range(8)}
    lab.spec(fleet(many, "good", "good", max_parallel=1), "good.yaml")
    lab.spec(fleet(many, "slow", "slow", max_parallel=1), "slow.yaml")
    loop = lab.start("run", "--until-settled")
    lab.wait("the others to do their work", lambda: ran(good).total() == ran(slow).total() == 8)

    with ThreadPoolExecutor() as at_once:  # each waits for the silent host
        views = [at_once.submit(lab.status), at_once.submit(lab.json, "diff", code=None)]
    status, diff = (view.result() for view in views)

    for name, fault in NOT_REACHED.items():
        told = {(job["status"], job["reason"], fault.says in job["message"]) for job in jobs_of(status, name)}
        assert told == {("pending", "HostUnknown", True)}, jobs_of(status, name)
        assert any(text.startswith(f"{name}: ") and fault.says in text for text in diff["unknown"]), diff["unknown"]
    assert not ran(*(host for host in bad if host.name != "off"))

    for host in bad:
        NOT_REACHED[host.name].mend(hosts, host)
    end_of(lab, loop)
    assert {host.name: ran(host) for host in bad} == {name: Counter({"j0": 1, "j1": 1}) for name in NOT_REACHED}
    assert ran(good) == ran(slow) == Counter(many.keys())


def test_a_host_that_says_nothing_for_long_holds_nobody_up(hosts: Hosts, lab: Lab) -> None:
    """While the loop still waits for it, all of another's jobs run, one after the other."""
    good, silent = hosts.add("good", "silent")
    hosts.alias("silent", HostName=silent.address, ConnectTimeout="60")
    silent.partition("drop")
    lab.spec(fleet({"j": NOTES}, "silent", "silent"), "silent.yaml")
    lab.spec(fleet({f"j{i}": NOTES for i in range(10)}, "good", "good", max_parallel=1), "good.yaml")
    with lab.daemon():
        lab.wait("the first to have run", lambda: ran(good))
        attempts = connections(hosts, silent, "syn-sent")
        lab.wait("all to have run", lambda: ran(good).total() == 10)
        assert connections(hosts, silent, "syn-sent") == attempts != []


def test_an_agent_that_hangs_holds_nobody_up(hosts: Hosts, lab: Lab) -> None:
    good, hung = hosts.add("good", "hung")
    lab.spec(fleet({"j0": GATED, "j1": NOTES}, "hung", "hung"), "hung.yaml")
    lab.spec(fleet({"j": GATED, **{f"j{i}": NOTES for i in range(10)}}, "good", "good", max_parallel=1), "good.yaml")
    loop = lab.start("run", "--until-settled")
    lab.wait("both to run", lambda: ran(good) and ran(hung).total() == 2)
    before = connections(hosts, hung)
    (agent,) = hung.agent_pids()
    os.kill(agent, signal.SIGSTOP)
    go(good, hung)
    lab.wait("all to have run", lambda: ran(good).total() == 11)
    assert connections(hosts, hung) == before != []
    os.kill(agent, signal.SIGCONT)
    end_of(lab, loop)
    assert ran(hung) == Counter(["j0", "j1"])
    assert ran(good).total() == len(ran(good))


LOST = {
    "killed": Fault(lambda _, h: h.kill_sessions(), lambda _, h: None, ""),
    "agent": Fault(lambda _, h: h.kill_agents(), lambda _, h: None, ""),
    "reject": Fault(lambda _, h: h.partition("reject"), lambda _, h: h.heal(), "refuses connections"),
    "drop": Fault(lambda _, h: h.partition("drop"), lambda _, h: h.heal(), "did not answer within 4 s"),
    "link": Fault(lambda _, h: h.partition("link"), lambda _, h: h.heal(), ""),
    "in": Fault(lambda _, h: h.partition("in"), lambda _, h: h.heal(), "did not answer within 4 s"),
    "out": Fault(lambda _, h: h.partition("out"), lambda _, h: h.heal(), "did not answer within 4 s"),
}
"""What ends a connection in the middle of work."""


def test_connections_that_are_lost_in_the_middle_lose_no_job(hosts: Hosts, lab: Lab) -> None:
    """Two jobs of each host end while it is away, and one is launched there later."""
    good, *lost = hosts.add("good", *LOST)
    for host in (good, *lost):
        hosts.alias(host.name, HostName=host.address, ConnectTimeout="4")
        lab.spec(fleet({"j0": GATED, "j1": GATED, "j2": NOTES}, host.name, host.name), f"{host.name}.yaml")
    loop = lab.start("run", "--until-settled")
    lab.wait("two to run on each", lambda: all(ran(host).total() == 2 for host in (good, *lost)))
    for host in lost:
        LOST[host.name].begin(hosts, host)
    go(good, *lost)
    away = [host for host in lost if LOST[host.name].says]
    lab.wait("the connections to be given up", lambda: not any(connections(hosts, host) for host in away))
    lab.wait("the good one to have done its work", lambda: ran(good).total() == 3)

    status = lab.status()
    for host in away:
        first, second, third = jobs_of(status, host.name)
        assert {first["status"], second["status"], third["status"]} == {"running", "pending"}
        for job in (first, second, third):
            assert (job["reason"], LOST[host.name].says in job["message"]) == ("HostUnknown", True), job
        assert ran(host).total() == 2

    for host in lost:
        LOST[host.name].mend(hosts, host)
    end_of(lab, loop)
    expected = Counter(["j0", "j1", "j2"])
    assert {host.name: ran(host) for host in (good, *lost)} == dict.fromkeys(["good", *LOST], expected)
    after = lab.status().values()
    assert {(job["status"], job["attempts"]) for job in after} == {("completed", 1)}


@pytest.mark.parametrize("kind", ["drop", "link"])
def test_a_partition_shorter_than_the_connection_s_life_is_not_noticed(hosts: Hosts, lab: Lab, kind: str) -> None:
    (host,) = hosts.add("a")
    lab.spec(fleet({"j0": GATED, "j1": f"{NOTES}; sleep 1"}, "p", "a", max_parallel=1))
    loop = lab.start("run", "--until-settled")
    lab.wait("the first to run", lambda: ran(host))
    before = connections(hosts, host)
    host.partition(kind)
    go(host)
    lab.wait("the first to end", lambda: not host.processes("job.sh"))
    host.heal()
    lab.wait("the second to run", lambda: ran(host)["j1"])
    after = connections(hosts, host)
    end_of(lab, loop)
    assert ran(host) == Counter(["j0", "j1"])
    assert after == before != []


def test_jobs_that_a_reboot_stopped_run_again_and_no_others(hosts: Hosts, lab: Lab) -> None:
    (host,) = hosts.add("a")
    lab.spec(fleet({"over": NOTES, "j0": GATED, "j1": GATED, "later": NOTES}, "p", "a", max_parallel=2))
    loop = lab.start("run", "--until-settled")
    lab.wait("two to run, one to be over", lambda: ran(host) == Counter(["over", "j0", "j1"]))
    host.down()
    go(host)
    host.up()
    end_of(lab, loop)
    assert ran(host) == Counter({"over": 1, "j0": 2, "j1": 2, "later": 1})
    status = lab.status()
    assert {(job["id"], job["status"], job["attempts"]) for job in status.values()} == {
        ("over", "completed", 1),
        ("j0", "completed", 2),
        ("j1", "completed", 2),
        ("later", "completed", 1),
    }
    assert [reason for action, reason in lab.done_to("p/j0") if action == "requeue"] == ["HostRebooted"]


def test_on_a_full_disk_nothing_is_launched_and_no_end_is_lost(hosts: Hosts, lab: Lab) -> None:
    good, full = hosts.add("good", "full", state_mib=24)
    lab.spec(fleet({"j0": GATED, "j1": NOTES}, "full", "full", max_parallel=1), "full.yaml")
    lab.spec(fleet({f"j{i}": NOTES for i in range(4)}, "good", "good", max_parallel=1), "good.yaml")
    loop = lab.start("run", "--until-settled")
    lab.wait("the others to be over", lambda: ran(good).total() == 4 and ran(full))
    full.fill_disk()
    go(full)
    lab.wait("the first to end", lambda: not full.processes("bash job.sh"))

    first, second = lab.status()["full/j0"], lab.status()["full/j1"]

    assert first["status"] in {"running", "completed"}, first  # its exit waits for room, or found some
    assert second["status"] == "pending"
    assert ran(full) == Counter(["j0"])
    full.free_disk()
    end_of(lab, loop)
    assert ran(full) == Counter(["j0", "j1"])
    assert {job["attempts"] for job in lab.status().values()} == {1}
