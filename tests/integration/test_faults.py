"""Screens, shims and payloads that break or are broken: what runs goes on, and nothing is guessed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab import Lab

pytestmark = pytest.mark.needs("screen")

WAIT = "until [ -e go ]; do sleep 0.1; done"
"""A payload that runs until the test lets it end."""


def project(lab: Lab, jobs: str, name: str = "p", launcher: str = "screen", more: str = "") -> None:
    """Write a project of one spec file; `jobs` is a YAML flow list without its brackets."""
    head = f"project: {name}\ncwd: WORK\ngpus: none\nmax_parallel: 4\nlauncher: {launcher}\n{more}\n"
    lab.spec(f"{head}jobs: [{jobs}]\n", f"{name}.yaml")


def attempt(lab: Lab, key: str = "p/a", number: int = 1) -> Path:
    """The folder of an attempt."""
    return lab.state / "attempts" / key / str(number)


def started(lab: Lab, key: str = "p/a") -> dict[str, Any]:
    """What the shim recorded of an attempt that has started."""
    path = attempt(lab, key) / "started.json"
    lab.wait(f"{key} has started", lambda: path.exists() and path.read_text().endswith("\n"))
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def is_alive(pid: int) -> bool:
    """A zombie is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def let_go(lab: Lab) -> None:
    """Let the payloads end."""
    (lab.work / "go").touch()


def check_said(lab: Lab, key: str, reason: str, words: str) -> None:
    """`status`, `why` and `diff` all say it, and nothing is done about it."""
    job = lab.status()[key]
    assert (job["reason"], words in job["message"]) == (reason, True), job
    assert words in lab.exq("why", key).stdout
    assert words in lab.exq("diff", code=None).stdout
    assert [action for action in lab.json("diff", code=None)["actions"] if action["job"] == key] == []


def check_nothing_left(lab: Lab) -> None:
    """No session and no process, and nothing to do."""
    lab.wait("no session is left", lambda: lab.sessions() == [])
    lab.wait("no process is left", lambda: lab.own_pids() == [])
    assert lab.json("diff")["actions"] == []


# --- screen is not there, or refuses


def test_without_screen_those_who_need_it_are_held_and_the_others_run(lab: Lab) -> None:
    lab.env["SCREEN"] = str(lab.root / "screen")
    project(lab, "{id: a, cmd: 'echo a >> ran'}")
    project(lab, "{id: b, cmd: 'echo b >> ran'}", "q", launcher="auto")
    with lab.daemon():
        lab.wait("q/b is completed", lambda: lab.status()["q/b"]["status"] == "completed")
        check_said(lab, "p/a", "ScreenUnknown", "screen is not installed here")
        assert lab.json("diff", "--exit-code", code=3)["unknown"] != []
    assert lab.status()["q/b"]["session"] is None
    (lab.root / "screen").symlink_to(str(shutil.which("screen")))
    lab.settle()
    assert lab.ran() == ["b", "a"]
    check_nothing_left(lab)


def test_a_screen_folder_of_the_wrong_mode_is_unknown_and_touches_nothing(lab: Lab) -> None:
    project(lab, f"{{id: a, cmd: '{WAIT}; echo a >> ran'}}")
    with lab.daemon():
        pid = started(lab)["pid"]
        lab.wait("its session is there", lab.sessions)
        lab.screens.chmod(0o755)
        project(lab, "{id: b, cmd: 'echo b >> ran'}", "q")
        lab.wait("q/b is held", lambda: lab.status()["q/b"]["reason"] == "ScreenUnknown")
        check_said(lab, "q/b", "ScreenUnknown", f"chmod 700 {lab.screens}")
        assert lab.status()["p/a"]["status"] == "running"
        assert is_alive(pid)
        let_go(lab)
        lab.wait("p/a is completed", lambda: lab.status()["p/a"]["status"] == "completed")
        assert lab.status()["p/a"]["exit_code"] == 0
        assert lab.ran() == ["a"]
        lab.screens.chmod(0o700)
        lab.wait("q/b is completed", lambda: lab.status()["q/b"]["status"] == "completed")
    lab.settle()
    assert lab.ran() == ["a", "b"]
    check_nothing_left(lab)


# --- a session that breaks under a running payload


def delete_socket(lab: Lab, address: str) -> None:
    """What cleaners of temporary folders do."""
    (lab.screens / address).unlink()


def kill_server(_lab: Lab, address: str) -> None:
    """What the kernel does when memory runs out."""
    os.kill(int(address.partition(".")[0]), signal.SIGKILL)


def hang_up(_lab: Lab, address: str) -> None:
    """What the end of a login does."""
    os.kill(int(address.partition(".")[0]), signal.SIGHUP)


def quit_session(lab: Lab, address: str) -> None:
    """What a user does who cleans up."""
    subprocess.run(["screen", "-S", address, "-X", "quit"], env=lab.env, check=True)


@pytest.mark.parametrize("harm", [delete_socket, kill_server, hang_up, quit_session])
@pytest.mark.parametrize("immune", ["", "trap '' HUP; "], ids=["", "HUP-immune"])
def test_a_payload_outlives_its_screen(lab: Lab, harm: Callable[[Lab, str], None], immune: str) -> None:
    others = subprocess.run(["screen", "-dmS", "mine", "sleep", "100"], env=lab.env, check=True)
    assert others.returncode == 0
    project(lab, f'{{id: a, cmd: "{immune}echo a >> ran; {WAIT}; exit 0"}}')
    with lab.daemon():
        pid = started(lab)["pid"]
        lab.wait("both sessions are there", lambda: len(lab.sessions()) == 2)
        (address,) = [address for address in lab.sessions() if ".exq." in address]
        (mine,) = [address for address in lab.sessions() if ".mine" in address]
        harm(lab, address)
        if harm is not hang_up:  # a server takes no notice of that
            lab.wait("it is said", lambda: lab.status()["p/a"]["reason"] == "ScreenGone")
        assert lab.status()["p/a"]["status"] == "running"
        assert lab.json("diff")["actions"] == []
        assert is_alive(pid)
        let_go(lab)
        lab.wait("completed", lambda: lab.status()["p/a"]["status"] == "completed")
        lab.wait("its session is gone", lambda: lab.sessions() == [mine])
    assert lab.status()["p/a"]["exit_code"] == 0
    assert lab.ran() == ["a"]
    lab.settle()
    assert lab.sessions() == [mine]  # it is the user's own
    assert is_alive(int(mine.partition(".")[0]))


def test_the_row_of_a_dead_session_is_cleaned_up_and_others_are_not(lab: Lab) -> None:
    subprocess.run(["screen", "-dmS", "mine", "sleep", "100"], env=lab.env, check=True)
    project(lab, f"{{id: a, cmd: '{WAIT}'}}")
    lab.exq("run", "--once")
    started(lab)
    lab.wait("both sessions are there", lambda: len(lab.sessions()) == 2)
    for address in lab.sessions():
        kill_server(lab, address)
    let_go(lab)
    lab.settle()
    (left,) = lab.sessions()
    assert left.endswith(".mine")


# --- processes that are killed


def test_a_shim_that_is_killed_leaves_the_payload_running_and_the_outputs_decide(lab: Lab) -> None:
    project(
        lab,
        f"{{id: a, cmd: '{WAIT}; echo a >> ran; echo > a.out', output_check: a.out}},"
        f"{{id: b, cmd: '{WAIT}; echo b >> ran'}}",
    )
    with lab.daemon():
        records = {key: started(lab, key) for key in ("p/a", "p/b")}
        for record in records.values():
            os.kill(record["shim_pid"], signal.SIGKILL)
        lab.wait("the shims are gone", lambda: not any(is_alive(r["shim_pid"]) for r in records.values()))
        assert {job["status"] for job in lab.status().values()} == {"running"}
        lab.exq("diff")
        let_go(lab)
        lab.wait("both are over", lambda: {j["status"] for j in lab.status().values()} == {"completed", "stuck"})
    lab.settle(code=3)
    found, vanished = lab.status()["p/a"], lab.status()["p/b"]
    assert (found["status"], found["reason"], found["exit_code"]) == ("completed", "OutputFound", None)
    assert (vanished["status"], vanished["reason"], vanished["exit_code"]) == ("stuck", "PayloadVanished", None)
    assert sorted(lab.ran()) == ["a", "b"]
    check_nothing_left(lab)


def test_a_payload_that_is_killed_failed_by_a_signal(lab: Lab) -> None:
    project(lab, "{id: a, cmd: 'echo a >> ran; exec sleep 60'}")
    with lab.daemon():
        pid = started(lab)["pid"]
        lab.wait("it runs", lab.ran)
        os.kill(pid, signal.SIGKILL)
        lab.wait("it is stuck", lambda: lab.status()["p/a"]["status"] == "stuck")
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["reason"], job["exit_code"]) == ("KilledBySignal", 137)
    assert lab.ran() == ["a"]
    check_nothing_left(lab)


def kill_all(lab: Lab) -> None:
    """All at once: sessions, shims, payloads."""
    for pid in lab.own_pids():
        os.kill(pid, signal.SIGKILL)
    lab.wait("all are gone", lambda: lab.own_pids() == [])


@pytest.mark.parametrize("launcher", ["screen", "process"])
def test_a_tree_that_is_killed_as_a_whole_vanished(lab: Lab, launcher: str) -> None:
    project(lab, "{id: a, cmd: 'echo a >> ran; sleep 60'}", launcher=launcher)
    lab.exq("run", "--once")
    started(lab)
    lab.wait("it runs", lab.ran)
    kill_all(lab)
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"], job["exit_code"]) == ("stuck", "PayloadVanished", None)
    assert lab.ran() == ["a"]
    check_nothing_left(lab)


def test_a_reboot_uses_up_no_try(lab: Lab) -> None:
    project(lab, "{id: a, cmd: 'echo a >> ran; [ -e go ] || sleep 60'}")
    lab.exq("run", "--once")
    record = started(lab)
    lab.wait("it runs", lab.ran)
    kill_all(lab)
    for socket in lab.screens.iterdir():  # /run is empty after a reboot
        socket.unlink()
    for name in ("started.json", "claim"):
        path = attempt(lab) / name
        path.write_text(path.read_text().replace(record["boot_id"], "11111111-2222-3333-4444-555555555555"))
    let_go(lab)
    (action,) = lab.json("diff")["actions"]
    assert (action["action"], action["reason"]) == ("requeue", "HostRebooted")
    lab.settle()
    job = lab.status()["p/a"]
    assert (job["status"], job["attempts"], job["exit_code"]) == ("completed", 2, 0)
    assert lab.ran() == ["a", "a"]
    check_nothing_left(lab)
