"""`exq run --detach`: a loop in the background, without a service manager."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from reconciler.cli.exits import HELD, PROBLEM, USAGE
from reconciler.cli.looplog import MAX_BYTES
from tests.integration.lab import UNTIL_GO, Lab, is_gone, project

HANGS_UP = signal.SIGHUP


def detach(lab: Lab) -> int:
    """Start a loop in the background; its pid."""
    answer = lab.json("run", "--detach")
    assert Path(answer["log"]) == lab.state / "loop.log"
    return int(answer["pid"])


def stat_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def test_it_returns_once_the_loop_has_begun(lab: Lab) -> None:
    lab.spec(project({"a": UNTIL_GO}, launcher="process"))
    said = lab.exq("run", "--detach")
    daemon = lab.json("status")["daemon"]
    pid = daemon["pid"]
    assert f"(pid {pid})" in said.stdout and f"kill {pid}" in said.stderr
    assert lab.status()["p/a"]["attempts"] == 1
    _, _, _, session, terminal = stat_of(pid)[:5]
    assert int(session) != pid and terminal == "0"
    for number, flag in ((0, os.O_RDONLY), (1, os.O_APPEND), (2, os.O_APPEND)):
        target = os.readlink(f"/proc/{pid}/fd/{number}")
        assert target == ("/dev/null" if flag == os.O_RDONLY else str(lab.state / "loop.log"))


def test_only_one_runs_and_a_kill_ends_it_and_no_job(lab: Lab) -> None:
    lab.spec(project({"a": UNTIL_GO}, launcher="process"))
    pid = detach(lab)
    assert f"pid {pid} on " in lab.exq("run", "--detach", code=HELD).stderr
    job = lab.wait_for_status("p/a", "running")["pid"]
    os.kill(pid, signal.SIGTERM)
    lab.wait("the loop ends", lambda: is_gone(pid))
    assert "stopped by SIGTERM" in (lab.state / "loop.log").read_text()
    assert not is_gone(job)
    second = detach(lab)
    assert second != pid
    (lab.work / "go").touch()
    lab.wait_for_status("p/a", "completed")
    assert lab.ran() == ["a"]


def test_what_it_prints_does_not_grow_without_end(lab: Lab) -> None:
    log, old = lab.state / "loop.log", lab.state / "loop.log.1"
    lab.spec(project({"a": UNTIL_GO}, launcher="process"))
    pid = detach(lab)
    os.truncate(log, MAX_BYTES + 1)
    lab.wait("the log to be put aside", old.exists)
    lab.wait("a new one", lambda: log.exists() and log.stat().st_size < MAX_BYTES)
    assert old.stat().st_size == MAX_BYTES + 1
    os.kill(pid, signal.SIGTERM)
    lab.wait("the loop ends", lambda: is_gone(pid))
    assert "stopped by SIGTERM" in log.read_text()
    os.truncate(log, MAX_BYTES + 2)
    os.kill(detach(lab), signal.SIGTERM)
    assert old.stat().st_size == MAX_BYTES + 2
    assert log.stat().st_size < MAX_BYTES


def test_it_looks_when_it_is_hung_up_on_and_goes_on(lab: Lab) -> None:
    lab.spec(project({"a": UNTIL_GO}, launcher="process"))
    pid = detach(lab)
    os.kill(pid, HANGS_UP)
    os.kill(pid, HANGS_UP)
    (lab.work / "go").touch()
    lab.wait_for_status("p/a", "completed")
    assert not is_gone(pid)


def test_the_end_of_the_loop_can_be_awaited_in_the_log(lab: Lab) -> None:
    lab.spec(project({"a": "true"}, launcher="process"))
    pid = int(lab.json("run", "--detach", "--until-settled")["pid"])
    lab.wait("it settles", lambda: is_gone(pid))
    assert '"settled": true' in (lab.state / "loop.log").read_text()


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        ("no specs", PROBLEM, "there is no specs folder"),
        ("dies", 70, "the loop has not begun"),
        ("ledger is a folder", PROBLEM, "ledger.sqlite3"),
    ],
)
def test_what_keeps_it_from_beginning_is_said(lab: Lab, damage: str, code: int, said: str) -> None:
    lab.spec(project({"a": UNTIL_GO}, launcher="process"))
    lab.exq("status")
    lab.state.mkdir(mode=0o700, exist_ok=True)
    if damage == "no specs":
        lab.env["EXQ_SPECS"] = str(lab.root / "nowhere")
    elif damage == "dies":
        lab.env["EXQ_FAILPOINT"] = "before_launch"
    else:
        (lab.state / "ledger.sqlite3").mkdir()
    assert said in lab.exq("run", "--detach", code=code).stderr
    assert lab.json("status", code=None).get("daemon") is None


def test_one_step_needs_no_background(lab: Lab) -> None:
    assert "--once and --detach" in lab.exq("run", "--detach", "--once", code=USAGE).stderr


def test_without_a_user_manager_the_service_names_it(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    lab.env["XDG_RUNTIME_DIR"] = str(lab.root / "nowhere")
    for verb in ("install", "uninstall", "status"):
        assert "exq run --detach" in lab.exq("service", verb, code=PROBLEM).stderr
    lab.env["PATH"] = str(lab.root)
    assert "there is no systemctl" in lab.exq("service", "install", code=PROBLEM).stderr
