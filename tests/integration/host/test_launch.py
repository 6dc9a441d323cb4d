"""Launching through the agent with real screens and processes: what outlives what, and what is never run twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.agent import Agent, process_stat
from tests.integration.host.conftest import Box, gone, wait_for

PATH = "p/j/1"
LAUNCHERS = [pytest.param("process"), pytest.param("screen", marks=pytest.mark.needs("screen"))]


@pytest.fixture(autouse=True)
def own_screens(screen_dir: Path) -> Path:
    return screen_dir


def sessions(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def folder_of(box: Box, path: str = PATH) -> Path:
    return box.state / "attempts" / path


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launch_runs_to_its_exit_code(box: Box, launcher: str, own_screens: Path) -> None:
    reply = box.launch(PATH, "echo out; (exit 9) | cat >/dev/null; set -o pipefail; (exit 9) | tee -a x\n", launcher)
    assert reply == {"launched": True, "launcher": launcher}
    facts = box.exited(PATH)
    assert facts["exited"]["code"] == 9
    assert facts["log_tail"] == "out\n"
    assert facts["tree_alive"] is False
    assert json.loads((folder_of(box) / "intent.json").read_text()) == {"job": "p/j"}
    assert (folder_of(box) / "job.sh").stat().st_mode & 0o777 == 0o700
    assert box.marker(PATH).exists()
    wait_for(lambda: not sessions(own_screens))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launching_twice_runs_once(box: Box, launcher: str) -> None:
    for _ in range(3):
        assert box.launch(PATH, "echo ran; sleep 0.2\n", launcher)["launched"] is True
    wait_for(box.marker(PATH).exists)
    assert box.launch(PATH, "echo ran again\n", launcher)["already"] is True
    assert box.exited(PATH)["log_tail"] == "ran\n"


@pytest.mark.needs("screen")
def test_auto_takes_screen_where_it_is(box: Box, root: Path) -> None:
    assert box.launch(PATH, "exit 0\n", "auto")["launcher"] == "screen"
    bare = Agent(str(root / "bare"), {"screen": "/nonexistent/screen"})
    request = {"op": "launch", "path": PATH, "job_sh": "exit 0\n", "intent": {}, "session": "exq.p.j.1"}
    assert bare.handle({**request, "launcher": "auto"})["launcher"] == "process"
    refused = bare.handle({**request, "path": "p/j/2", "launcher": "screen"})
    assert refused["kind"] == "refused"
    assert "not installed" in refused["error"]


def test_revoked_attempt_is_not_launched(box: Box) -> None:
    assert box.ask("revoke", path=PATH) == {"revoked": True}
    assert box.ask("revoke", path=PATH) == {"revoked": True}
    assert box.launch(PATH, "touch ran\n")["kind"] == "refused"
    facts = box.facts(PATH)
    assert (facts["exists"], facts["claimed"], facts["revoked"]) == (False, False, True)


def test_a_claimed_attempt_cannot_be_revoked(box: Box) -> None:
    box.launch(PATH, "sleep 60\n")
    box.running(PATH)
    assert box.ask("revoke", path=PATH) == {"revoked": False}


@pytest.mark.needs("screen")
@pytest.mark.parametrize("how", ["kill", "quit", "terminate"])
def test_payload_and_exit_code_outlive_the_screen(box: Box, own_screens: Path, how: str) -> None:
    box.launch(PATH, "while [ ! -e go ]; do sleep 0.02; done; exit 6\n", "screen")
    box.running(PATH)
    (address,) = wait_for(lambda: sessions(own_screens))
    server = int(address.partition(".")[0])
    if how == "quit":
        subprocess.run(["screen", "-S", address, "-X", "quit"], check=True)
    else:
        os.kill(server, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    wait_for(lambda: gone(server))
    assert box.facts(PATH)["payload_alive"] is True
    (folder_of(box) / "go").touch()
    assert box.exited(PATH)["exited"]["code"] == 6


@pytest.mark.needs("screen")
def test_screen_shows_the_log(box: Box, own_screens: Path, root: Path) -> None:
    box.launch(PATH, "echo hello from the payload; sleep 60\n", "screen")
    box.running(PATH)
    (address,) = wait_for(lambda: sessions(own_screens))
    shown = root / "shown"

    def copy() -> bool:
        subprocess.run(["screen", "-S", address, "-X", "hardcopy", str(shown)], check=True)
        return shown.exists() and b"hello from the payload" in shown.read_bytes()

    wait_for(copy)


@pytest.mark.needs("screen")
def test_ctrl_c_in_the_screen_reaches_the_payload(box: Box, own_screens: Path) -> None:
    box.launch(PATH, "trap 'exit 42' INT; touch ready; while :; do sleep 0.05; done\n", "screen")
    wait_for((folder_of(box) / "ready").exists)
    (address,) = wait_for(lambda: sessions(own_screens))
    subprocess.run(["screen", "-S", address, "-X", "stuff", "\x03"], check=True)
    assert box.exited(PATH)["exited"]["code"] == 42


@pytest.mark.needs("screen")
def test_many_short_jobs_leave_no_session(box: Box, own_screens: Path) -> None:
    """A payload that ends while its viewer is being forked once left shim and screen waiting for ever."""
    for number in range(1, 41):
        box.launch(f"p/j{number}/1", "exit 0\n", "screen")
    for number in range(1, 41):
        assert box.exited(f"p/j{number}/1")["exited"]["code"] == 0
    wait_for(lambda: not sessions(own_screens), lambda: sessions(own_screens))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_agent_leaves_no_zombies(box: Box, launcher: str) -> None:
    children = set()
    for number in range(1, 4):
        box.launch(f"p/j{number}/1", "exit 1\n", launcher)
        children.update(child.pid for _, child in box.agent._started)
        box.exited(f"p/j{number}/1")
    assert len(children) == 3

    def none_left() -> bool:
        box.ask("hello")
        return all(process_stat(pid) is None for pid in children)

    wait_for(none_left)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_attempts_outlive_the_daemon(box: Box, launcher: str) -> None:
    """Another process launches, and is killed at once."""
    script = "while [ ! -e go ]; do sleep 0.02; done; exit 3\n"
    request = {
        "op": "launch", "path": PATH, "job_sh": script, "intent": {}, "launcher": launcher, "session": "exq.p.j.1",
    }  # fmt: skip
    code = (
        "import json, sys, time; from reconciler.host.agent import Agent; "
        "print(Agent(sys.argv[1], {}).handle(json.loads(sys.argv[2])), flush=True); time.sleep(60)"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", code, str(box.state), json.dumps(request)], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    assert "'launched': True" in daemon.stdout.readline()
    daemon.kill()
    daemon.communicate()
    box.running(PATH)
    (folder_of(box) / "go").touch()
    assert box.exited(PATH)["exited"]["code"] == 3


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_see_the_daemons_environment_without_its_own_affairs(
    box: Box, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"EXQ_SPECS": "x", "EXQ_ATTEMPT": "other/job/9", "NOTIFY_SOCKET": "/x", "STY": "1.x", "LISTEN_FDS": "1"}
    for name, value in {**mine, "EXQ_CONDA_HOOK": "/conda", "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    box.launch(PATH, "env -0\n", launcher)
    pairs = box.exited(PATH)["log_tail"].split("\0")
    seen: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs if pair)
    assert seen["WANDB_MODE"] == "offline"
    assert seen["EXQ_CONDA_HOOK"] == "/conda"
    assert seen["EXQ_ATTEMPT"] == PATH
    assert seen["EXQ_STATE"] == str(box.state)
    assert not {"EXQ_SPECS", "NOTIFY_SOCKET", "LISTEN_FDS", "EXQ_SIGNAL_RESET"} & set(seen)
    assert seen.get("STY") != "1.x"


@pytest.mark.needs("screen")
@pytest.mark.parametrize("wrong", ["mode", "length"])
def test_a_screen_folder_that_cannot_work_is_an_error_not_silence(
    box: Box, own_screens: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    if wrong == "mode":
        own_screens.chmod(0o755)
    else:
        monkeypatch.setenv("SCREENDIR", str(own_screens / ("x" * 100)))
    reply = box.launch(PATH, "touch ran\n", "screen")
    assert ("mode 755" if wrong == "mode" else "too long") in reply["error"]
    own_screens.chmod(0o700)
    assert not folder_of(box).exists()


def test_a_launcher_that_fails_is_reported(box: Box, root: Path) -> None:
    fake = root / "screen"
    fake.write_text("#!/bin/sh\necho screen is broken today\nexit 1\n")
    fake.chmod(0o755)
    broken = Box(box.root, "broken", screen=str(fake))
    broken.launch(PATH, "touch ran\n", "screen")
    facts = broken.wait(PATH, lambda facts: facts["launch_error"])
    assert facts["launch_error"] == "screen is broken today"
    assert facts["claimed"] is False


@pytest.mark.parametrize("path", ["../x/1", "p/../1", "p/j", "p/j/1/2", "/etc/1", "p/j/x", "p//1", "", "p/j/-1"])
@pytest.mark.parametrize("op", ["launch", "revoke", "kill", "settle", "read_log"])
def test_paths_that_lead_elsewhere_are_refused(box: Box, op: str, path: str) -> None:
    assert box.ask(op, path=path, verdict={}, job_sh="", intent={})["kind"] == "refused"
    assert not box.state.exists()


def test_settle_writes_the_verdict_and_clears_the_marker(box: Box) -> None:
    box.launch(PATH, "exit 0\n")
    box.exited(PATH)
    assert box.ask("settle", path=PATH, verdict={"status": "completed"}) == {"settled": True}
    assert json.loads((folder_of(box) / "verdict.json").read_text()) == {"status": "completed"}
    assert not box.marker(PATH).exists()
    assert box.ask("settle", path=PATH, verdict={"status": "completed"}) == {"settled": True}


@pytest.mark.root
@pytest.mark.parametrize("fault", ["full", "inodes", "readonly"])
def test_full_disk_launches_nothing_and_recovers(box: Box, fault: str) -> None:
    box.state.mkdir()
    options = "size=64k" if fault == "full" else "size=1m,nr_inodes=3" if fault == "inodes" else "size=1m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(box.state)], check=True)
    try:
        filler = box.state / "filler"
        if fault == "full":
            filler.write_bytes(b"x" * 65536)
        elif fault == "inodes":
            filler.touch()
            (box.state / "filler2").touch()
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(box.state)], check=True)
        assert box.launch(PATH, "touch ran\n")["kind"] == "disk_full"
        assert box.ask("probe", disk=True)["disk"]["writable"] is False
        if fault == "inodes":
            subprocess.run(["mount", "-o", "remount,nr_inodes=100", str(box.state)], check=True)
        elif fault == "full":
            filler.unlink()
        else:
            subprocess.run(["mount", "-o", "remount,rw", str(box.state)], check=True)
        assert box.ask("probe", disk=True)["disk"]["writable"] is True
        assert box.launch(PATH, "echo ran\n")["launched"] is True
        assert box.exited(PATH)["log_tail"] == "ran\n"
    finally:
        box.close()
        subprocess.run(["umount", "-l", str(box.state)], check=True)


@pytest.mark.root
def test_exit_code_waits_for_room_on_a_full_disk(box: Box) -> None:
    """The record is written as soon as there is room, by a shim that nobody watches."""
    box.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(box.state)], check=True)
    try:
        script = "cat /dev/zero >../../../../filler 2>/dev/null; touch ../../../../filled; exit 5\n"
        box.launch(PATH, script)
        wait_for((box.state / "filled").exists)
        facts = box.wait(PATH, lambda facts: facts["started"] and not facts["payload_alive"])
        assert facts["exited"] is None
        assert facts["shim_alive"] is True
        (box.state / "filler").unlink()
        assert box.exited(PATH)["exited"]["code"] == 5
    finally:
        box.close()
        subprocess.run(["umount", "-l", str(box.state)], check=True)
