"""A disk that is really full, out of inodes or read-only: nothing starts, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.integration.lab import Lab
from tests.integration.test_faults import WAIT, check_nothing_left, is_alive, let_go, started

pytestmark = [pytest.mark.root, pytest.mark.needs("screen", "mount")]

JOBS = f"""
    project: p
    cwd: WORK
    gpus: none
    max_parallel: 2
    launcher: LAUNCHER
    jobs:
      - {{id: long1, cmd: "echo long1 >> ran; {WAIT}; exit 0"}}
      - {{id: long2, cmd: "echo long2 >> ran; {WAIT}; exit 3"}}
      - {{id: a, cmd: "echo a >> ran"}}
      - {{id: b, cmd: "echo b >> ran"}}
      - {{id: c, cmd: "echo c >> ran"}}
"""
RAN_ONCE = Counter(["long1", "long2", "a", "b", "c"])
EXIT_CODES = {"p/long1": 0, "p/long2": 3, "p/a": 0, "p/b": 0, "p/c": 0}


class SmallDisk:
    """A filesystem of its own that holds the lab's state folder."""

    def __init__(self, lab: Lab, size: str) -> None:
        self.root = lab.root / "disk"
        self.root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.root)], check=True)
        lab.state = self.root / "state"
        lab.env["EXQ_STATE"] = str(lab.state)

    def fill(self) -> None:
        """Take all room, to the last byte."""
        with (self.root / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def fill_inodes(self) -> None:
        """Take all inodes; there is room for data."""
        (self.root / "many").mkdir(exist_ok=True)
        with suppress(OSError):
            for number in range(1 << 20):
                (self.root / "many" / str(number)).touch()

    def free_inodes(self, count: int) -> None:
        """Give a few of them back."""
        for path in sorted(self.root.glob("many/*"))[:count]:
            path.unlink()

    def free(self) -> None:
        """Give the room back."""
        (self.root / "ballast").unlink(missing_ok=True)
        for path in self.root.glob("many/*"):
            path.unlink()

    def remount(self, option: str) -> None:
        """Make it read-only ("ro") or writable ("rw")."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.root)], check=True)

    def unmount(self) -> None:
        """Also while something still uses it."""
        subprocess.run(["umount", "--lazy", str(self.root)], check=True)


@pytest.fixture
def disk(lab: Lab) -> Iterator[SmallDisk]:
    small = SmallDisk(lab, "size=24m,nr_inodes=400")
    yield small
    lab.close()
    small.unmount()


def audit(lab: Lab) -> list[dict[str, object]]:
    return [json.loads(line) for line in (lab.state / "audit.jsonl").read_text().splitlines()]


def wait_for_a_look(lab: Lab, daemon: subprocess.Popen[str], word: str) -> None:
    """Wait until this loop has looked at everything: a precondition is checked by who looks, and this one tells."""
    command = f"echo {word}-$PPID >> {lab.work}/looks; false"
    lab.spec(
        f"""
        project: looks
        gpus: none
        preconditions: [{{type: command, command: "{command}"}}]
        jobs: [{{id: never, cmd: "true"}}]
    """,
        "looks.yaml",
    )
    lab.wait("the loop looks", lambda: f"{word}-{daemon.pid}" in lab.ran("looks"))


def check_held(lab: Lab) -> None:
    """Status, why and diff say that the pending jobs wait for room; nothing is to be launched."""
    status = lab.status()
    assert {status[f"p/{job}"]["reason"] for job in "abc"} == {"DiskFull"}, status["p/a"]
    assert {status[f"p/{job}"]["status"] for job in "abc"} == {"pending"}
    assert "DiskFull" in lab.exq("why", "p/a").stdout
    diff = lab.json("diff", code=None)
    assert {hold["reason"] for hold in diff["holds"] if hold["job"] in ("p/a", "p/b", "p/c")} == {"DiskFull"}
    assert [action for action in diff["actions"] if action["action"] == "launch"] == []


@pytest.mark.parametrize("launcher", ["screen", "process"])
@pytest.mark.parametrize("fill", [SmallDisk.fill, SmallDisk.fill_inodes], ids=["room", "inodes"])
def test_a_full_disk_holds_what_is_pending_and_loses_nothing(
    lab: Lab, disk: SmallDisk, launcher: str, fill: object
) -> None:
    lab.spec(JOBS.replace("LAUNCHER", launcher))
    with lab.daemon() as daemon:
        pids = [started(lab, f"p/long{n}")["pid"] for n in (1, 2)]
        lab.wait("both run", lambda: sorted(lab.ran()) == ["long1", "long2"])
        assert callable(fill)
        fill(disk)
        wait_for_a_look(lab, daemon, "full")
        check_held(lab)
        assert all(is_alive(pid) for pid in pids)
        let_go(lab)
        lab.wait("both payloads have ended", lambda: not any(is_alive(pid) for pid in pids))
        wait_for_a_look(lab, daemon, "still-full")
        check_held(lab)
        assert daemon.poll() is None
        (lab.specs / "looks.yaml").unlink()
        disk.free()
        lab.wait("all ran", lambda: Counter(lab.ran()) == RAN_ONCE)
        lab.wait("nothing is pending", lambda: {j["exit_code"] for j in lab.status().values()} == {0, 3})
        assert daemon.poll() is None
    lab.settle(code=3)
    assert {key: job["exit_code"] for key, job in lab.status().items()} == EXIT_CODES
    assert Counter(lab.ran()) == RAN_ONCE
    assert {job["attempts"] for job in lab.status().values()} == {1}
    assert any("full" in str(r["message"]) or "room" in str(r["message"]) for r in audit(lab) if r["event"] == "alert")
    check_nothing_left(lab)


@pytest.mark.parametrize("fill", [SmallDisk.fill, SmallDisk.fill_inodes], ids=["room", "inodes"])
def test_a_loop_on_a_full_disk_says_so_and_starts_nothing(lab: Lab, disk: SmallDisk, fill: object) -> None:
    lab.spec(JOBS.replace("LAUNCHER", "process"))
    let_go(lab)
    assert callable(fill)
    fill(disk)
    done = lab.exq("run", "--once", code=None)
    assert done.returncode != 0
    assert "room" in done.stderr
    assert lab.ran() == []
    lab.exq("status", code=None)
    disk.free()
    lab.settle(code=3)
    assert Counter(lab.ran()) == RAN_ONCE


@pytest.mark.parametrize("left", [6, 9, 12])
def test_a_launch_that_runs_out_of_room_halfway_is_repeated(lab: Lab, disk: SmallDisk, left: int) -> None:
    """Folders, script, intent, log, claim, lock, records: whichever is the first that finds no room."""
    lab.exq("run", "--once", code=None)
    lab.spec("""
        project: p
        cwd: WORK
        gpus: none
        launcher: process
        jobs: [{id: a, cmd: "echo a >> ran"}]
    """)
    disk.fill_inodes()
    disk.free_inodes(left)
    with lab.daemon() as daemon:
        wait_for_a_look(lab, daemon, "tried")
        (lab.specs / "looks.yaml").unlink()
        disk.free()
        lab.wait("it ran", lambda: lab.status()["p/a"]["status"] in ("completed", "stuck"))
    job = lab.status()["p/a"]
    assert (job["status"], job["exit_code"]) == ("completed", 0), job
    assert lab.ran() == ["a"]


def test_an_exit_code_waits_for_room_as_long_as_it_takes(lab: Lab, disk: SmallDisk) -> None:
    """A disk that fills up in the evening has no room until the morning; here a second of sleep is a short one."""
    programs = lab.root / "programs"
    programs.mkdir()
    sleep = programs / "sleep"
    sleep.write_text(f'#!/bin/sh\necho "$1" >>{lab.work}/sleeps\nexec /bin/sleep 0.0"$1"\n')
    sleep.chmod(0o700)
    lab.env["PATH"] = f"{programs}:{lab.env['PATH']}"
    wait = "until [ -e go ]; do /bin/sleep 0.1; done"
    lab.spec(f"""
        project: p
        cwd: WORK
        gpus: none
        launcher: process
        jobs: [{{id: a, cmd: "echo a >> ran; {wait}; exit 5"}}]
    """)
    lab.exq("run", "--once")
    started(lab)
    disk.fill()
    let_go(lab)
    lab.wait("its shim has waited for long", lambda: len(lab.ran("sleeps")) > 80)
    disk.free()
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["reason"], job["exit_code"]) == ("CodeError", 5)
    assert lab.ran() == ["a"]


def test_a_loop_is_killed_on_a_full_disk(lab: Lab, disk: SmallDisk) -> None:
    lab.spec(JOBS.replace("LAUNCHER", "process"))
    with lab.daemon():
        pids = [started(lab, f"p/long{n}")["pid"] for n in (1, 2)]
        lab.wait("both run", lambda: sorted(lab.ran()) == ["long1", "long2"])
        disk.fill()
        let_go(lab)
        lab.wait("both payloads have ended", lambda: not any(is_alive(pid) for pid in pids))
        lab.exq("diff", code=None)
    lab.exq("run", "--once", code=None)
    disk.free()
    lab.settle(code=3)
    assert {key: job["exit_code"] for key, job in lab.status().items()} == EXIT_CODES
    assert Counter(lab.ran()) == RAN_ONCE


def test_a_read_only_state_folder_is_said_and_changes_nothing(lab: Lab, disk: SmallDisk) -> None:
    lab.spec(JOBS.replace("LAUNCHER", "process").replace("max_parallel: 2", "max_parallel: 1"))
    lab.exq("run", "--once")
    let_go(lab)
    lab.wait("it has ended", lambda: lab.own_pids() == [])
    disk.remount("ro")
    done = lab.exq("run", "--once", code=None)
    assert done.returncode != 0
    assert "read-only" in done.stderr
    assert lab.ran() == ["long1"]
    assert lab.status()["p/a"]["reason"] == "DiskFull"
    assert "Read-only" in lab.exq("why", "p/a").stdout
    lab.exq("stop", "p/a", code=1)
    disk.remount("rw")
    lab.settle(code=3)
    assert {key: job["exit_code"] for key, job in lab.status().items()} == EXIT_CODES
    assert Counter(lab.ran()) == RAN_ONCE
