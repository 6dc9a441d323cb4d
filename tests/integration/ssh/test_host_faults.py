"""What befalls hosts and the ways to them: the others go on, nothing runs twice, exq says why, and it recovers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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
        lambda _, h: restart_sshd(h, AuthorizedKeysFile="none"), lambda _, h: restart_sshd(h), "lets none of the keys in"
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

    status, diff = lab.status(), lab.json("diff", code=None)

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
