"""An attempt's log in its folder: its last lines, and what is added to it. Bytes, exactly as the job wrote them.

`remotelog.py` has the same for an attempt on another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from reconciler.model.spec import LOCAL_HOST

BLOCK_BYTES = 1 << 16
POLL_S = 0.2


Piece = tuple[bytes, int]
"""Some of a log, and the offset behind it."""


class Log(Protocol):
    """The log of the attempt `number` of `job`, wherever it is."""

    @property
    def job(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def place(self) -> str:
        """Where it is, for people."""

    @property
    def where(self) -> dict[str, str | None]:
        """The same for programs: `host`, and `path` on this machine."""

    def pieces(self, count: int | None) -> Iterator[Piece]:
        """The last `count` lines (None: all of it) as they are now. At least one piece, which may be empty."""

    def read(self, offset: int) -> bytes:
        """Some of what is behind `offset`; nothing at its end."""

    def ended(self) -> bool:
        """The attempt is over: its exit or its verdict is recorded, or nothing of it lives to record one."""

    def ending(self) -> str:
        """In a few words, how it ended."""


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """A log on this machine."""

    job: str
    number: int
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "log"

    @property
    def place(self) -> str:
        """See Log."""
        return str(self.path)

    @property
    def where(self) -> dict[str, str | None]:
        """See Log."""
        return {"host": LOCAL_HOST, "path": str(self.path)}

    def pieces(self, count: int | None) -> Iterator[Piece]:
        """See Log."""
        return last_lines(self.path, count)

    def read(self, offset: int) -> bytes:
        """See Log."""
        return _read_from(self.path, offset)

    def settled(self) -> dict[str, object]:
        """What the loop made of its end; empty before that."""
        return _json_of(self.folder / "verdict.json")

    def ended(self) -> bool:
        """See Log."""
        return any((self.folder / name).exists() for name in ("exit.json", "verdict.json")) or self._died_silently()

    def ending(self) -> str:
        """See Log."""
        return _ending(_json_of(self.folder / "exit.json").get("code"))

    def _died_silently(self) -> bool:
        started = _json_of(self.folder / "started.json")
        pids = [(started.get(who + "pid"), started.get(who + "start_ticks")) for who in ("", "shim_")]
        return bool(started) and not any(_lives(pid, ticks) for pid, ticks in pids)


@dataclass(frozen=True, slots=True)
class CollectedLog:
    """The copy, on this machine, of a log on another one. Only what is over is collected."""

    job: str
    number: int
    host: str
    path: Path
    exit_code: int | None

    @property
    def place(self) -> str:
        """See Log."""
        return f"the copy of {self.host}'s log in {self.path}"

    @property
    def where(self) -> dict[str, str | None]:
        """See Log."""
        return {"host": self.host, "path": str(self.path)}

    def pieces(self, count: int | None) -> Iterator[Piece]:
        """See Log."""
        return last_lines(self.path, count)

    def read(self, offset: int) -> bytes:
        """See Log."""
        return _read_from(self.path, offset)

    def ended(self) -> bool:
        """See Log."""
        return True

    def ending(self) -> str:
        """See Log."""
        return _ending(self.exit_code)


def attempts_of(attempts: Path, key: str) -> dict[int, AttemptLog]:
    """Every attempt of a job that has a folder, by number, the newest last."""
    folder = attempts / key
    numbers = sorted(int(name) for name in _entries(folder) if name.isascii() and name.isdigit())
    return {number: AttemptLog(key, number, folder / str(number)) for number in numbers}


def keys_with_attempts(attempts: Path) -> tuple[str, ...]:
    """The keys of all jobs that have an attempt folder."""
    return tuple(f"{project}/{job}" for project in _entries(attempts) for job in _entries(attempts / project))


def last_lines(path: Path, count: int | None) -> Iterator[Piece]:
    """The last `count` lines of a file (None: all of it), piece by piece. A missing file is empty."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            place = file.seek(0 if count is None else _start_of_tail(file, size, count))
            yield b"", place
            # no further than it was: a log that is written quickly would never end
            while place < size and (block := file.read(min(BLOCK_BYTES, size - place))):
                place += len(block)
                yield block, place
    except FileNotFoundError:
        yield b"", 0


def _start_of_tail(file: BinaryIO, size: int, count: int) -> int:
    """The offset where the last `count` lines begin, found from the end: a log may be huge."""
    if count == 0:
        return size
    wanted = count
    place = size
    while place > 0:
        block_start = max(0, place - BLOCK_BYTES)
        file.seek(block_start)
        block = file.read(place - block_start)
        end = len(block) - 1 if place == size and block.endswith(b"\n") else len(block)
        while (cut := block.rfind(b"\n", 0, end)) >= 0:
            wanted -= 1
            if wanted == 0:
                return block_start + cut + 1
            end = cut
        place = block_start
    return 0


def follow(log: Log, offset: int, sleep: Callable[[float], None]) -> Iterator[bytes]:
    """What is added behind `offset`, as it comes, until the attempt has ended."""
    while True:
        ended = log.ended()  # read before the log, so that nothing written before the end is missed
        while added := log.read(offset):
            offset += len(added)
            yield added
        if ended:
            return
        sleep(POLL_S)


def _ending(exit_code: object) -> str:
    return f"exit {exit_code}" if exit_code is not None else "its exit code is not known"


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(BLOCK_BYTES)
    except FileNotFoundError:
        return b""


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _json_of(path: Path) -> dict[str, object]:
    """The object in a file that is replaced as a whole; empty where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lives(pid: object, start_ticks: object) -> bool:
    """The process of this pid and start time is there and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = stat.rpartition(b")")[2].split()
    return fields[0] not in (b"Z", b"X") and int(fields[19]) == start_ticks
