"""Pids that are used again, for real: a process that has got a dead one's pid is nobody's payload, shim or screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab import Lab, project
from tests.integration.namespace import NEXT_PID, Namespace

pytestmark = [pytest.mark.root, pytest.mark.needs("screen", "unshare", "nsenter")]

RUNS = "echo $EXQ_JOB >>ran; until [ -e go ]; do sleep 0.1; done"
UNTOUCHED = "ready\n"


@pytest.fixture
def pids(lab: Lab, missing: Any) -> Iterator[Namespace]:
    if not NEXT_PID.exists():
        missing(f"needs {NEXT_PID}")
    namespace = Namespace(lab)
    yield namespace
    namespace.close()


def started(lab: Lab, key: str = "p/a", number: int = 1) -> dict[str, Any]:
    """Who runs an attempt, as its shim noted it."""
    path = lab.attempt(key, number) / "started.json"
    lab.wait(f"{key} has started", lambda: path.exists() and path.read_text().endswith("\n") and lab.ran())
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def screen_of(lab: Lab) -> int:
    lab.wait("its session is there", lab.sessions)
    (address,) = lab.sessions()
    return int(address.partition(".")[0])


def check_untouched(pids: Namespace, pid: int, notes: str) -> None:
    assert pids.is_alive(pid)
    assert Path(notes).read_text() == UNTOUCHED


@pytest.mark.parametrize("launcher", ["screen", "process"])
def test_the_pid_of_a_payload_is_used_again(lab: Lab, pids: Namespace, launcher: str) -> None:
    """Its whole tree was killed, so nothing was recorded: the process that has its pid now does not keep it alive."""
    lab.spec(project({"a": RUNS}, launcher=launcher))
    lab.exq("run", "--once")
    record = started(lab)
    screens = [screen_of(lab)] if launcher == "screen" else []
    pids.kill(*screens, record["shim_pid"], record["pid"])
    notes = pids.innocent(record["pid"])
    lab.exq("stop", "p/a")
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"]) == ("stuck", "PayloadVanished"), job
    check_untouched(pids, record["pid"], notes)
    lab.exq("retry", "p/a")
    (lab.work / "go").touch()
    lab.settle()
    assert lab.ran() == ["a", "a"]
    check_untouched(pids, record["pid"], notes)


def test_the_pid_of_a_payload_is_used_again_while_its_child_is_to_be_ended(lab: Lab, pids: Namespace) -> None:
    """The payload's pid is the number of its session, too: the innocent heads a session of that number."""
    lab.spec(project({"a": "(echo a >>ran; exec setsid sleep 100) & exec sleep 100"}, linger="1s"))
    with pids.daemon():
        record = started(lab)
        pids.kill(record["pid"])
        notes = pids.innocent(record["pid"])
        lab.wait("it is known to have ended", lambda: lab.status()["p/a"]["status"] != "running")
        lab.exq("stop", "p/a")
        lab.wait("all of it is gone", lambda: lab.json("diff")["actions"] == [] and lab.sessions() == [])
    lab.settle(code=3)
    check_untouched(pids, record["pid"], notes)


def test_the_pid_of_a_shim_is_used_again(lab: Lab, pids: Namespace) -> None:
    """Its payload runs on, and is what a stop ends."""
    lab.spec(project({"a": RUNS}, launcher="process"))
    lab.exq("run", "--once")
    record = started(lab)
    pids.kill(record["shim_pid"])
    notes = pids.innocent(record["shim_pid"])
    assert lab.status()["p/a"]["status"] == "running"
    lab.exq("stop", "p/a")
    lab.settle(code=3)
    assert not pids.is_alive(record["pid"])
    check_untouched(pids, record["shim_pid"], notes)


def test_the_pid_of_a_shim_that_started_nothing_is_used_again(lab: Lab, pids: Namespace) -> None:
    """Only the claim names it: a live process of that pid does not make the attempt wait for ever."""
    lab.spec(project({"a": RUNS}, launcher="process"))
    lab.exq("run", "--once")
    record = started(lab)
    pids.kill(record["shim_pid"], record["pid"])
    (lab.attempt("p/a") / "started.json").unlink()
    notes = pids.innocent(record["shim_pid"])
    (lab.work / "go").touch()
    lab.settle()
    check_untouched(pids, record["shim_pid"], notes)
    assert lab.verdict("p/a")["reason"] == "LaunchLost"
    assert lab.verdict("p/a", 2)["status"] == "completed"


@pytest.mark.parametrize("reader", [False, True], ids=["anyone", "a reader of its log"])
def test_the_pid_of_a_screen_is_used_again(lab: Lab, pids: Namespace, reader: bool) -> None:
    """What it left behind is a socket that names the pid; who has that now may even name the attempt's folder."""
    lab.spec(project({"a": RUNS}))
    with pids.daemon():
        started(lab)
        screen = screen_of(lab)
        pids.kill(screen)
        argv = ["tail", "-f", str(lab.attempt("p/a") / "log")] if reader else []
        notes = pids.innocent(screen, *argv)
        assert lab.status()["p/a"]["status"] == "running"
        (lab.work / "go").touch()
        lab.wait("it is completed", lambda: lab.status()["p/a"]["status"] == "completed")
        lab.wait("what the screen left is gone", lambda: lab.nudge() or lab.sessions() == [])
    lab.settle()
    check_untouched(pids, screen, notes)
    assert lab.json("diff")["actions"] == []
