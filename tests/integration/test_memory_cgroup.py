"""The kernel's OOM killer, for real: a memory cgroup with a small limit, and payloads that want more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.lab import Lab, project

pytestmark = [pytest.mark.root, pytest.mark.needs("screen", "python3")]

LIMIT_MIB = 256
GLUTTON = "python3 -c 'hog = bytearray(1 << 30)'"
"""Wants four times as much."""
ENTER = 'echo $$ >"$0/cgroup.procs" && exec "$@"'


class MemoryGroup:
    """A cgroup of its own below ours, in which memory (and swap) end at the limit; either version of cgroups."""

    def __init__(self, parent: Path, limit_mib: int) -> None:
        self.path = parent / f"exq-test-{os.getpid()}-{time.monotonic_ns()}"
        self.path.mkdir()
        limit = str(limit_mib << 20)
        first = (self.path / "memory.limit_in_bytes").exists()
        (self.path / ("memory.limit_in_bytes" if first else "memory.max")).write_text(limit)
        swap = self.path / ("memory.memsw.limit_in_bytes" if first else "memory.swap.max")
        if swap.exists():  # not with every kernel; without swap there is nothing to limit
            swap.write_text(limit if first else "0")

    def command(self, argv: list[str]) -> list[str]:
        """The same command, run inside."""
        return ["sh", "-c", ENTER, str(self.path), *argv]

    def remove(self) -> None:
        """Once the last process in it has gone, which it takes the kernel a moment to notice."""
        for _ in range(200):
            with suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.05)
        self.path.rmdir()


def group_folder() -> Path | None:
    """Where this process may have a memory cgroup made; None where the machine offers none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root = Path("/sys/fs/cgroup/memory")
            own = root / path.lstrip("/")
            return own if own.is_dir() else root
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.subtree_control").exists():
        return None
    with suppress(OSError):  # only the topmost group may have both processes and groups below it
        (root / "cgroup.subtree_control").write_text("+memory")
    return root if "memory" in (root / "cgroup.subtree_control").read_text().split() else None


@pytest.fixture
def group(lab: Lab, missing: Callable[[str], None]) -> Iterator[MemoryGroup]:
    folder = group_folder()
    if folder is None or not os.access(folder, os.W_OK):
        missing("needs a memory cgroup to make others in")
    assert folder is not None
    made = MemoryGroup(folder, LIMIT_MIB)
    yield made
    lab.close()
    made.remove()


@pytest.mark.parametrize("launcher", ["screen", "process"])
@pytest.mark.parametrize("how", ["exec ", ""], ids=["the payload itself", "a program of it"])
def test_what_the_kernel_kills_for_lack_of_memory_ran_out_of_memory(
    lab: Lab, group: MemoryGroup, launcher: str, how: str
) -> None:
    """All of exq and its jobs in one limited group, as in a container or a batch job; it is tried again, and fits."""
    lab.command = group.command(lab.command)
    cmd = f"echo a >>ran; if [ -e tried ]; then exit 0; fi; touch tried; {how}{GLUTTON}"
    lab.spec(project({"a": cmd}, launcher=launcher, oom_retry={"delay": "1s", "max_attempts": 3}))
    lab.settle()
    assert lab.verdict("p/a")["status"] == "failed_oom"
    assert (lab.verdict("p/a")["reason"], lab.verdict("p/a")["exit_code"]) == ("HostOutOfMemory", 137)
    if how:
        assert "by the kernel for lack of memory" in lab.verdict("p/a")["message"]
    job = lab.status()["p/a"]
    assert (job["status"], job["attempts"], job["exit_code"]) == ("completed", 2, 0)
    assert lab.ran() == ["a", "a"]


def test_a_job_that_never_fits_is_given_up(lab: Lab, group: MemoryGroup) -> None:
    lab.command = group.command(lab.command)
    lab.spec(project({"a": f"echo a >>ran; exec {GLUTTON}"}, oom_retry={"delay": "1s", "max_attempts": 3}))
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"], job["attempts"]) == ("stuck", "HostOutOfMemory", 3)
    assert lab.ran() == ["a"] * 3


def test_what_a_person_kills_did_not_run_out_of_memory(lab: Lab, group: MemoryGroup) -> None:
    """Also when the kernel killed another one in the same group before."""
    lab.command = group.command(lab.command)
    jobs = {"hog": f"exec {GLUTTON}", "a": "echo a >>ran; exec sleep 60"}
    lab.spec(project(jobs, max_parallel=1, oom_retry={"delay": "1s", "max_attempts": 1}))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["a"] and lab.status()["p/a"]["pid"])
        os.kill(lab.status()["p/a"]["pid"], signal.SIGKILL)
        job = lab.wait_for_status("p/a", "stuck")
    assert (job["reason"], job["exit_code"]) == ("KilledBySignal", 137)
    assert lab.status()["p/hog"]["reason"] == "HostOutOfMemory"


def test_a_group_that_the_shim_is_not_in_tells_it_nothing(lab: Lab, group: MemoryGroup) -> None:
    """The payload went into a group of its own. What is known is said, and what may be."""
    enter = f"echo 0 >{group.path}/cgroup.procs"
    lab.spec(project({"a": f"{enter}; echo a >>ran; exec {GLUTTON}"}))
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"], job["exit_code"]) == ("stuck", "KilledBySignal", 137)
    assert "by the kernel for lack of memory" in job["message"]
    assert lab.ran() == ["a"]
