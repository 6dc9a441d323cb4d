"""The verbs where jobs run on other machines, over real SSH: hosts, logs, attach, forget-host, diff, status, why."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from reconciler.store.paths import StatePaths
from reconciler.store.seen import Seen, write_seen
from tests.integration.lab import Lab
from tests.integration.ssh.hosts import Hosts
from tests.integration.ssh.namespaces import cannot

SPEC = """\
project: fleet
hosts: [a, {name: b, max_parallel: 1}]
cwd: ~/exp
gpus: none
max_parallel: 2
jobs:
  - &job
    id: one
    cmd: "echo begun; until [ -e go ]; do sleep 0.1; done; echo over"
  - {<<: *job, id: two}
"""


@pytest.fixture
def hosts(missing: Callable[[str], None]) -> Iterator[Hosts]:
    why = cannot()
    if why:
        missing(why)
    with Hosts() as made:
        made.add("a", "b")
        for name in ("a", "b"):
            made[name].run("mkdir ~/exp")
            made.alias(name, HostName=made[name].address, ConnectTimeout="2")
        yield made


@pytest.fixture
def fleet(hosts: Hosts, exq_command: list[str]) -> Iterator[Lab]:
    """A controller with a job on each of two hosts."""
    with ExitStack() as made:
        lab = made.enter_context(closing(Lab([*hosts.enter, *exq_command])))
        lab.env.update(hosts.env)
        lab.spec(SPEC)
        lab.exq("run", "--once")
        lab.exq("run", "--once")
        for job in ("one", "two"):
            lab.wait(f"{job} to begin", lambda job=job: "begun" in lab.exq("logs", job, code=None).stdout)
        yield lab


def on_host(lab: Lab, host: str) -> str:
    """The key of the job that is on a host."""
    (key,) = [key for key, job in lab.status().items() if job["host"] == host]
    return key


def test_where_jobs_are_and_what_they_write(fleet: Lab, hosts: Hosts) -> None:
    listed = {host["name"]: host for host in fleet.json("hosts")["hosts"]}
    assert set(listed) == {"a", "b"}
    for name, host in listed.items():
        assert host["reachable"]
        assert host["running"] == [f"{on_host(fleet, name)}/1"]
        assert 0 < host["round_trip_s"] < 2
    key = on_host(fleet, "b")
    assert fleet.exq("hosts", "b").stdout.split()[:2] == ["=", "b"]
    refused = fleet.exq("forget-host", "b", "--yes", code=1)
    assert refused.stderr.startswith("exq: b answers")
    assert "did you mean b?" in fleet.exq("hosts", "bb", code=1).stderr

    attach = fleet.json("attach", key)
    assert attach["command"][:6] == ["ssh", "-F", str(hosts.ssh_config), "-t", "--", "b"]
    assert attach["session"] in hosts["b"].run("screen -ls", check=False).stdout

    assert fleet.exq("logs", key, "-n", "1").stdout == "begun\n"
    following = fleet.start("logs", key, "-f")
    assert following.stdout is not None
    assert following.stdout.readline() == f"{key}, attempt 1, on b\n"
    assert following.stdout.readline() == "begun\n"
    hosts["b"].kill_sessions()
    hosts["b"].run("touch ~/exp/go")
    rest, _ = following.communicate(timeout=60)
    assert rest.endswith("over\nattempt 1 has ended: exit 0\n")
    assert fleet.json("logs", key)["text"] == "begun\nover\n"


def test_a_silent_host_is_told_of_and_can_be_given_up(fleet: Lab, hosts: Hosts) -> None:
    key = on_host(fleet, "b")
    hosts["b"].partition("drop")

    write_seen(StatePaths(fleet.state), {"b": Seen(False, 1_700_000_100.0, 1_700_000_000.0)})

    silent = fleet.json("hosts", "b")["hosts"][0]
    assert silent["last_answer_at"] == "2023-11-14T22:13:20Z"
    assert (silent["reachable"], silent["running"]) == (False, [f"{key}/1"])
    assert "did not answer within 2 s" in silent["message"]
    assert f"may still run there: {key} (since " in fleet.exq("hosts").stdout
    assert fleet.exq("diff", "--exit-code", code=3).stdout.count("did not answer") == 1
    assert "(exq forget-host b)" in fleet.exq("why", key).stdout
    assert "did not answer" in fleet.exq("logs", key, code=1).stderr
    assert "did not answer" in fleet.exq("attach", key, code=1).stderr
    assert fleet.exq("logs", on_host(fleet, "a")).stdout == "begun\n"

    asked = fleet.exq("forget-host", "b", code=1)
    assert f"{key}, attempt 1, since " in asked.stdout
    assert "exq forget-host b --yes" in asked.stderr
    assert fleet.status()[key]["reason"] == "HostUnknown"
    assert fleet.json("forget-host", "b", "--yes")["given_up"] == [f"{key}/1"]
    fleet.exq("run", "--once")
    assert fleet.status()[key]["host"] == "a" or fleet.status()[key]["reason"] == "NoFreeSlot"
    assert "nothing to give up" in fleet.exq("forget-host", "b", "--yes").stderr
    shown = fleet.exq("status").stdout
    assert "nothing is started there until it answers" in shown and "left as they are" not in shown


def test_of_a_log_that_was_collected_the_copy_is_shown_while_its_host_is_silent(
    hosts: Hosts, exq_command: list[str]
) -> None:
    with closing(Lab([*hosts.enter, *exq_command])) as lab:
        lab.env.update(hosts.env)
        job = "  - {id: one, cmd: 'echo héllo; echo x >log', output_check: log}\n"
        lab.spec(f"project: kept\nssh: b\ncwd: ~/exp\ngpus: none\ncollect: {lab.root}/home\njobs:\n{job}")
        lab.settle()
        assert lab.exq("logs", "one").stderr.startswith("kept/one, attempt 1, on b\n")
        hosts["b"].partition("drop")
        shown = lab.exq("logs", "one")
        copy = lab.root / "home" / "kept" / "one" / "attempt-log"
        assert shown.stdout == "héllo\n", "not the output that has its name"
        first, second, third = shown.stderr.splitlines()
        assert "did not answer within 2 s" in first and first.endswith("; this is the copy that was collected")
        assert second == f"kept/one, attempt 1, the copy of b's log in {copy}"
        assert third == "attempt 1 has ended: exit 0"
        found = lab.json("logs", "one", "-n", "1")
        assert (found["host"], found["path"], found["text"], found["ended"]) == ("b", str(copy), "héllo\n", True)
        copy.unlink()
        (copy.parent / "log").unlink()
        assert "the log of kept/one is on b" in lab.exq("logs", "one", code=1).stderr


def test_a_terminal_hears_who_is_waited_for(fleet: Lab, hosts: Hosts) -> None:
    hosts.alias("b", HostName=hosts["b"].address, ConnectTimeout="4")
    hosts["b"].partition("drop")
    assert "waiting for b ..." in on_terminal(fleet, "status")


def on_terminal(lab: Lab, *args: str) -> str:
    """What a command shows on a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*lab.command, *args], env=lab.env, cwd=lab.root, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([ours], [], [], 1.0)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    child.wait(timeout=10)
    os.close(ours)
    return shown.decode()
