"""What attempts ran with, and commits to run from, on another machine."""

from __future__ import annotations

import pytest

from tests.integration.lab import Lab, project
from tests.integration.ssh.hosts import Hosts

pytestmark = pytest.mark.needs("git")

GIT = "git -c user.name=ann -c user.email=ann@example.org"


def repository(hosts: Hosts, name: str) -> str:
    """A repository in the home of a host, and its commit."""
    made = (
        f"mkdir -p ~/code && cd ~/code && {GIT} init -q && echo 'mkdir -p out; echo one >out/$1' >train.sh && "
        f"echo out/ >.gitignore && {GIT} add -A && {GIT} commit -qm first >/dev/null && git rev-parse HEAD"
    )
    return hosts.ssh(name, made).stdout.strip()


def test_attempts_on_a_host_are_noted_there_and_collected(hosts: Hosts, lab: Lab) -> None:
    (a,) = hosts.add("a")
    commit = repository(hosts, "a")
    hosts.ssh("a", "echo '# changed' >>~/code/train.sh")
    entry = {"cmd": "sh train.sh a", "output_check": "out/a"}
    lab.spec(project({"a": entry}, cwd="~/code", hosts=["a"], launcher="process", collect=True))
    lab.settle()
    noted = a.home / ".local" / "state" / "exq" / "attempts" / "p" / "a" / "1" / "environment.json"
    lab.wait("all is noted", noted.exists)
    (ran,) = lab.json("history", "a", "--full")["attempts"]
    assert (ran["host"], ran["code"]["commit"], ran["machine"]["hostname"]) == ("a", commit, "a")
    assert ran["rerun"].startswith("ssh a bash ")
    patch = lab.exq("history", "a", "--full", "--patch").stdout
    assert "+# changed" in patch
    a.down()
    (ran,) = lab.json("history", "a", "--full")["attempts"]
    collected = lab.root / "collected" / "p" / "a"
    assert ran["problem"]
    assert (ran["code"]["commit"], ran["collected"]) == (commit, str(collected))
    assert lab.exq("history", "a", "--full", "--patch").stdout == patch
    assert "unknown" in lab.exq("history", "a", "--full").stdout


def test_jobs_on_a_host_run_from_a_commit_there(hosts: Hosts, lab: Lab) -> None:
    (a, b) = hosts.add("a", "b")
    commit = repository(hosts, "a")
    hosts.ssh("b", "mkdir ~/code")
    entries = {job: {"cmd": f"sleep 1; sh train.sh {job}", "output_check": f"out/{job}"} for job in "xyz"}
    settings = {"cwd": "~/code", "launcher": "process", "snapshot": True, "max_parallel": 1, "shared_fs": True}
    lab.spec(project(entries, hosts=["a", "b"], **settings))
    with lab.daemon():
        lab.wait("one has run", (a.home / "code" / "out" / "x").exists, timeout_s=60)
        hosts.ssh("a", f"cd ~/code && echo 'echo two >out/$1' >train.sh && {GIT} commit -qam second")
        lab.wait("all have", (a.home / "code" / "out" / "z").exists, timeout_s=60)
    assert [(a.home / "code" / "out" / job).read_text() for job in "xyz"] == ["one\n"] * 3
    assert hosts.ssh("a", "ls ~/.local/state/exq/snapshots/*").stdout.split()[0] == commit
    assert not (b.home / "code" / "out").exists(), "where it cannot be made, none is started"
