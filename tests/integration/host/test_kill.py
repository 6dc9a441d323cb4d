"""Killing: the whole tree of an attempt and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from reconciler.host.agent import process_stat
from tests.integration.host.conftest import Box, gone, wait_for

PATH = "p/j/1"


@pytest.fixture(autouse=True)
def own_screens(screen_dir: Path) -> Path:
    return screen_dir


def folder_of(box: Box, path: str = PATH) -> Path:
    return box.state / "attempts" / path


def pid_from(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text()))


@pytest.mark.parametrize("launcher", ["process", pytest.param("screen", marks=pytest.mark.needs("screen"))])
def test_term_ends_the_payload_and_its_code_is_known(box: Box, launcher: str) -> None:
    box.launch(PATH, "sleep 60; touch went-on\n", launcher)
    facts = box.running(PATH)
    reply = box.ask("kill", path=PATH, force=False, sessions=[])
    assert reply["signalled"][0] == facts["started"]["pid"], "the script first, so that it does not go on"
    assert box.exited(PATH)["exited"]["code"] == 143
    assert not (folder_of(box) / "went-on").exists()


@pytest.mark.parametrize(
    "start",
    [
        "setsid sleep 60 & echo $! >child",
        "setsid sh -c 'sleep 60 & echo $! >child' & sleep 0.3",
        "nohup sleep 60 >/dev/null 2>&1 & echo $! >child",
        "(exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec setsid sleep 60) & echo $! >child",
    ],
    ids=["setsid", "daemon", "nohup", "closes-locks"],
)
def test_stragglers_keep_the_tree_alive_and_are_reached(box: Box, start: str) -> None:
    box.launch(PATH, f"{start}\nexit 3\n")
    child = pid_from(folder_of(box) / "child")
    box.exited(PATH)
    facts = box.wait(PATH, lambda facts: facts["tree_pids"] == [child])
    assert facts["exited"]["code"] == 3
    assert facts["payload_alive"] is False
    assert facts["tree_alive"] is True
    assert box.ask("kill", path=PATH, force=False, sessions=[])["signalled"] == [child]
    wait_for(lambda: gone(child))
    assert box.wait(PATH, lambda facts: not facts["tree_alive"])["tree_pids"] == []


def test_force_ends_what_ignores_term(box: Box) -> None:
    box.launch(PATH, "trap '' TERM; touch ready; while :; do sleep 0.05; done\n")
    wait_for((folder_of(box) / "ready").exists)
    box.ask("kill", path=PATH, force=False, sessions=[])
    assert box.facts(PATH)["payload_alive"] is True
    box.ask("kill", path=PATH, force=True, sessions=[])
    assert box.exited(PATH)["exited"]["code"] == 137


def test_a_reused_pid_is_not_touched(box: Box) -> None:
    """The record names a pid that is another process now: same pid, other start time."""
    folder = box.write(PATH, "exit 0\n")
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        stat = process_stat(stranger.pid)
        assert stat is not None
        boot = box.ask("hello")["boot_id"]
        record = {"boot_id": boot, "pid": stranger.pid, "start_ticks": stat.start_ticks - 1}
        (folder / "claim").write_text(f"shim {boot} {stranger.pid} {stat.start_ticks - 1}\n")
        (folder / "started.json").write_text(
            json.dumps({**record, "shim_pid": stranger.pid, "shim_start_ticks": stat.start_ticks - 1}) + "\n"
        )
        facts = box.facts(PATH)
        assert (facts["payload_alive"], facts["shim_alive"], facts["tree_pids"]) == (False, False, [])
        assert box.ask("kill", path=PATH, force=True, sessions=[])["signalled"] == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("field", ["boot_id", "none"])
def test_another_boot_is_another_life(box: Box, field: str) -> None:
    box.launch(PATH, "sleep 60\n")
    started = box.running(PATH)["started"]
    record = folder_of(box) / "started.json"
    changed = {name: value for name, value in started.items() if name != "at"}
    if field == "boot_id":
        changed["boot_id"] = "00000000-0000-0000-0000-000000000000"
    record.write_text(json.dumps(changed) + "\n")
    assert box.facts(PATH)["payload_alive"] is (field == "none")


def test_neighbours_and_other_state_folders_are_not_touched(box: Box, other_box: Box) -> None:
    box.launch(PATH, "sleep 60\n")
    others = [(box, "p/j/11"), (box, "p/jj/1"), (other_box, PATH)]
    for owner, path in others[1:]:
        owner.launch(path, "sleep 60\n")
        owner.running(path)
    box.running(PATH)
    box.ask("kill", path=PATH, force=True, sessions=[])
    box.exited(PATH)
    for owner, path in others[1:]:
        assert owner.facts(path)["payload_alive"] is True


def test_a_run_by_hand_is_its_owners(box: Box) -> None:
    """job.sh exports the same names; what a person runs is neither the attempt's tree nor a stray."""
    env = {**os.environ, "EXQ_ATTEMPT": PATH, "EXQ_STATE": str(box.state)}
    by_hand = subprocess.Popen(["sleep", "60"], env=env, start_new_session=True)
    try:
        box.write(PATH, "exit 0\n")
        assert box.ask("probe", strays=True)["strays"] == []
        assert box.ask("kill", path=PATH, force=True, sessions=[])["signalled"] == []
    finally:
        by_hand.kill()
        by_hand.wait()


@pytest.mark.needs("screen")
def test_only_the_named_screen_is_quit(box: Box, own_screens: Path) -> None:
    """exq.p.j.1 is a prefix of exq.p.j.10, and screen matches prefixes; a person's session is not exq's to quit."""
    for path in ("p/j/1", "p/j.1/0"):
        box.launch(path, "trap '' TERM; sleep 60\n", "screen")
        box.running(path)
    mine = subprocess.Popen(["screen", "-DmS", "exq-notes", "sleep", "60"])
    try:
        names = wait_for(lambda: len(found := sorted(entry.name for entry in own_screens.iterdir())) == 3 and found)
        target = next(name for name in names if name.endswith(".exq.p.j.1"))
        personal = next(name for name in names if name.endswith("exq-notes"))
        reply = box.ask("kill", path="p/j/1", force=True, sessions=[target, personal, "exq.p.j", "1.exq-notes"])
        assert reply["quit"] == [target]
        box.exited("p/j/1")
        wait_for(lambda: not (own_screens / target).exists())
        reply = box.ask("kill", path="p/j/1", force=True, sessions=[target])
        assert sorted(entry.name for entry in own_screens.iterdir()) == sorted(set(names) - {target})
        assert box.facts("p/j.1/0")["payload_alive"] is True
    finally:
        mine.terminate()
        mine.wait()


@pytest.mark.needs("screen")
def test_what_a_killed_screen_leaves_behind_is_removed(box: Box, own_screens: Path) -> None:
    box.launch(PATH, "sleep 60\n", "screen")
    box.running(PATH)
    (socket,) = wait_for(lambda: list(own_screens.iterdir()))
    server = int(socket.name.partition(".")[0])
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: gone(server))
    assert "(Dead ???)" in box.ask("probe", sessions=True)["sessions"]["text"]
    box.ask("kill", path=PATH, force=True, sessions=[socket.name])
    assert not socket.exists()
    assert box.exited(PATH)["exited"]["code"] == 137


@pytest.mark.root
@pytest.mark.needs("runuser")
def test_another_users_process_is_never_signalled(box: Box) -> None:
    """Even with the attempt's marker in its environment."""
    env = {"PATH": os.environ["PATH"], "EXQ_ATTEMPT": PATH, "EXQ_STATE": str(box.state), "EXQ_SHIM": "1"}
    other = subprocess.Popen(["runuser", "-u", "nobody", "--", "sleep", "60"], env=env, start_new_session=True)
    try:
        box.write(PATH, "exit 0\n")
        child = int(wait_for(lambda: Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text()))
        signalled = box.ask("kill", path=PATH, force=True, sessions=[])["signalled"]
        assert child not in signalled
    finally:
        subprocess.run(["kill", "-9", str(child)], check=False)
        other.wait()
