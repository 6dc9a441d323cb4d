"""One loop per state folder, whatever happens to loops, files and curious bystanders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.store.errors import StoreError
from reconciler.store.lock import DaemonLock, Held, Holder, holder
from reconciler.store.paths import StatePaths
from tests.unit.store.samples import NOW

HOLD = """
import sys, time
from pathlib import Path
from reconciler.store.lock import DaemonLock
from reconciler.store.paths import StatePaths
with DaemonLock(StatePaths(Path(sys.argv[1])), lambda: 1700000000.5):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state")


def lock_of(paths: StatePaths) -> DaemonLock:
    return DaemonLock(paths, lambda: NOW)


@contextmanager
def another_loop(paths: StatePaths) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(paths.root)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_nobody_holds_a_state_folder_that_is_not_there(paths: StatePaths) -> None:
    assert holder(paths) is None
    assert not paths.root.exists()


def test_a_second_loop_is_told_who_holds_it(paths: StatePaths) -> None:
    with another_loop(paths) as process:
        with pytest.raises(Held) as caught:
            lock_of(paths).acquire()
        found = caught.value.holder
        assert (found.pid, found.host, found.since) == (process.pid, os.uname().nodename, 1700000000.5)
        assert f"pid {process.pid} on {os.uname().nodename}" in str(caught.value)
        assert str(paths.root) in str(caught.value)
        assert holder(paths) == found


def test_a_killed_loop_holds_nothing(paths: StatePaths) -> None:
    with another_loop(paths) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder(paths) is None
        with lock_of(paths):
            assert holder(paths) == Holder(os.getpid(), os.uname().nodename, NOW, holder_command())


def holder_command() -> str:
    return " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])


def test_a_released_lock_can_be_taken_again(paths: StatePaths) -> None:
    lock = lock_of(paths)
    for _ in range(2):
        lock.acquire()
        assert holder(paths) is not None
        lock.release()
        lock.release()
        assert holder(paths) is None


def test_programs_that_the_loop_starts_do_not_keep_the_lock(paths: StatePaths) -> None:
    lock = lock_of(paths)
    lock.acquire()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        try:
            assert holder(paths) is None
        finally:
            child.kill()


def test_asking_who_holds_it_never_keeps_a_loop_from_starting(paths: StatePaths) -> None:
    with lock_of(paths):
        pass
    over = threading.Event()
    lock = lock_of(paths)

    def ask() -> None:
        while not over.is_set():
            holder(paths)

    curious = [threading.Thread(target=ask) for _ in range(2)]
    for thread in curious:
        thread.start()
    try:
        for _ in range(100):
            lock.acquire()
            lock.release()
    finally:
        over.set()
        for thread in curious:
            thread.join()


def test_a_removed_lock_file_is_not_taken_for_the_lock(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.ensure()
    paths.daemon_lock.touch()
    tried = DaemonLock._in_place
    removals = []

    def removed_meanwhile(lock: DaemonLock, handle: int) -> bool:
        if not removals:
            removals.append(handle)
            paths.daemon_lock.unlink()
        return tried(lock, handle)

    monkeypatch.setattr(DaemonLock, "_in_place", removed_meanwhile)
    with lock_of(paths), pytest.raises(Held):
        lock_of(paths).acquire()
    assert removals


@pytest.mark.parametrize("content", ["", "{", '{"pid":"x"}', "null", "\x00"])
def test_a_holder_that_has_not_said_who_it_is(paths: StatePaths, content: str) -> None:
    with lock_of(paths):
        paths.daemon_lock.write_text(content)
        assert holder(paths) == Holder()
        with pytest.raises(Held, match="another process"):
            lock_of(paths).acquire()


def test_old_facts_do_not_outlive_their_holder(paths: StatePaths) -> None:
    paths.ensure()
    paths.daemon_lock.write_text('{"pid":1,"host":"old","command":"' + "x" * 500 + '"}\n')
    with lock_of(paths):
        found = holder(paths)
        assert found is not None and (found.pid, found.host) == (os.getpid(), os.uname().nodename)


def test_a_lock_file_that_cannot_be_opened_is_said(paths: StatePaths) -> None:
    paths.ensure()
    paths.daemon_lock.mkdir()
    with pytest.raises(StoreError, match=r"cannot lock .*daemon\.lock"):
        lock_of(paths).acquire()
