"""One loop per state folder: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from reconciler.store.atomic import mapped
from reconciler.store.paths import StatePaths
from reconciler.store.records import RecordDamaged, Shape, parse_json, to_json

_TRIES = 50
_PAUSE_MAX_S = 0.02
_FACTS_MAX_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, as far as it has said so. `since` is seconds since the epoch."""

    pid: int | None = None
    host: str = ""
    since: float | None = None
    command: str = ""
    specs: str = ""
    """The specs folder that it works on, absolute; empty where it has not said."""

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"pid {self.pid} on {self.host} ({self.command})"


_HOLDER: Shape[Holder] = Shape(Holder)


class Held(Exception):
    """Another loop holds the state folder; `holder` names it."""

    def __init__(self, paths: StatePaths, holder: Holder) -> None:
        super().__init__(f"{paths.root} is in use by another exq run: {holder}")
        self.holder = holder


class DaemonLock:
    """Held from `acquire` to `release`, or until the process ends. Programs that it starts do not inherit it."""

    def __init__(self, paths: StatePaths, clock: Callable[[], float], specs: Path | None = None) -> None:
        """`clock` gives seconds since the epoch. `specs`: the folder that the holder works on."""
        self._paths = paths
        self._clock = clock
        self._specs = os.path.abspath(specs) if specs is not None else ""
        self._handle: int | None = None
        self._seen = Holder()

    def acquire(self) -> None:
        """Take the lock and write down who holds it. Raises Held or StoreError."""
        self._paths.ensure()
        with mapped("lock", self._paths.daemon_lock):
            self._handle = self._locked()
        _write_facts(self._handle, Holder(os.getpid(), socket.gethostname(), self._clock(), _command(), self._specs))

    def __enter__(self) -> DaemonLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let another loop in. The file stays: without it, two loops could lock two files of one name."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _locked(self) -> int:
        self._seen = Holder()
        for _ in range(_TRIES):
            handle = os.open(self._paths.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._got(handle):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
            time.sleep(_PAUSE_MAX_S * os.urandom(1)[0] / 255)  # two loops that start together have to get out of step
        raise Held(self._paths, self._seen)

    def _got(self, handle: int) -> bool:
        """The lock is ours; False when it is worth another try. Raises Held."""
        if _try(handle, fcntl.LOCK_EX):
            return self._in_place(handle)
        if _try(handle, fcntl.LOCK_SH):
            return False  # nobody holds it: someone was just asking who does
        self._seen = _read_facts(handle)
        if _has_died(self._seen):
            return False  # a program that it was just starting has the lock until that begins
        raise Held(self._paths, self._seen)

    def _in_place(self, handle: int) -> bool:
        """The locked file is still the one that others will find."""
        try:
            found = os.stat(self._paths.daemon_lock)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(handle))


def holder(paths: StatePaths) -> Holder | None:
    """The loop that holds the state folder; None when none does. Changes nothing. Raises StoreError."""
    with mapped("read", paths.daemon_lock):
        try:
            handle = os.open(paths.daemon_lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _try(handle, fcntl.LOCK_SH) else _read_facts(handle)
        finally:
            os.close(handle)


def _has_died(facts: Holder) -> bool:
    """Whether the loop that wrote these facts is gone from this machine, as far as its processes can be seen."""
    if facts.pid is None or facts.host != socket.gethostname():
        return False
    try:
        os.kill(facts.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # someone else's, or no pid at all
        return False
    return False


def _command() -> str:
    return " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]) if sys.argv else ""


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_facts(handle: int, facts: Holder) -> None:
    with suppress(OSError):  # a full disk: the lock holds without them, and old facts must not name another process
        os.ftruncate(handle, 0)
        os.pwrite(handle, (to_json(_HOLDER.write(facts)) + "\n").encode(), 0)
        os.fsync(handle)


def _read_facts(handle: int) -> Holder:
    """What the holder wrote; nothing while it is still writing."""
    try:
        return _HOLDER.read(parse_json(os.pread(handle, _FACTS_MAX_BYTES, 0).decode()))
    except (RecordDamaged, UnicodeDecodeError):
        return Holder()
