"""The audit trail: what the loop meant to do, did and saw, one JSON object a line, only ever added to."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from reconciler.store.atomic import mapped
from reconciler.store.paths import StatePaths

WAITING_MAX_LINES = 10_000
"""How many lines are kept in memory while they cannot be written."""
LINE_MAX_BYTES = 1 << 20
"""A longer line is none that exq wrote; it counts as damaged, and is never held in memory as a whole."""
_TOO_LONG = b"\0\n"
_BLOCK_BYTES = 65536


def utc_text(seconds: float) -> str:
    """A time as the trail writes it: UTC, ISO 8601, milliseconds."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class AuditTrail:
    """Adds records. Each gets `seq` (counted on over restarts) and `ts`.

    A record that cannot be written never stops the loop: it waits in memory, in order, for the next call. Past
    `WAITING_MAX_LINES` the oldest are dropped, and a record `audit_dropped` with their `count` is written later."""

    def __init__(self, paths: StatePaths, clock: Callable[[], float]) -> None:
        """Continue the trail. `clock` gives seconds since the epoch. Raises StoreError when it cannot be read."""
        self._path = paths.audit
        self._clock = clock
        self._handle: int | None = None
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self.problem: str | None = None
        """Why records wait, in words; None while all is written."""
        with mapped("read", self._path):
            self._seq = _last_seq(self._path)
        self._log = _logger(self, self._stamp)

    def write(self, event: str, **fields: object) -> None:
        """Add a record. Never raises on a full or failing disk; see `problem`."""
        self._log.info(event, **fields)

    def flush(self) -> None:
        """Try again to write what waits, and make the trail survive a power loss. Never raises; see `problem`."""
        self._write_waiting()
        if self._handle is not None and self.problem is None:
            try:
                os.fdatasync(self._handle)
            except OSError as error:
                self._failed(error)

    def close(self) -> None:
        """Write what still can be written and let go of the file."""
        self.flush()
        self._let_go()

    def add_line(self, text: str) -> None:
        """Take a rendered record."""
        self._waiting.append(text.encode() + b"\n")
        if len(self._waiting) > WAITING_MAX_LINES:
            self._waiting.popleft()
            self._dropped += 1
        self._write_waiting()

    def _stamp(self, logger: object, method: str, record: dict[str, Any]) -> dict[str, Any]:
        self._seq += 1
        return {"seq": self._seq, "ts": utc_text(self._clock()), "event": record.pop("event"), **record}

    def _write_waiting(self) -> None:
        try:
            while self._waiting:
                self._append(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            self._failed(error)
            return
        self.problem = None
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self.write("audit_dropped", count=count)

    def _failed(self, error: OSError) -> None:
        self.problem = f"the audit trail {self._path} cannot be written: {error.strerror or error}"
        self._let_go()

    def _let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _append(self, line: bytes) -> None:
        """Write one line, whole or not at all. Raises OSError."""
        handle = self._opened()
        size = os.fstat(handle).st_size
        written = os.write(handle, line)
        while 0 < written < len(line):
            try:
                written += os.write(handle, line[written:])
            except OSError:
                os.ftruncate(handle, size)
                raise

    def _opened(self) -> int:
        """The file at its place, also when someone has moved it away; a line that a crash tore is closed."""
        if self._handle is not None and not _is_at(self._path, self._handle):
            self._let_go()
        if self._handle is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._handle = os.open(self._path, flags, 0o600)
            size = os.fstat(self._handle).st_size
            if size and os.pread(self._handle, 1, size - 1) != b"\n":
                os.write(self._handle, b"\n")
        return self._handle


class _Sink:
    """What structlog calls a logger: it hands rendered lines on."""

    def __init__(self, trail: AuditTrail) -> None:
        self.info = trail.add_line


def _logger(trail: AuditTrail, stamp: Callable[..., dict[str, Any]]) -> Any:
    import structlog

    render = structlog.processors.JSONRenderer(separators=(",", ":"), default=str)
    return structlog.wrap_logger(
        _Sink(trail), processors=[stamp, render], wrapper_class=structlog.make_filtering_bound_logger(0)
    )


class AuditRecords:
    """Records of a trail, oldest first. `damaged` counts the unreadable lines that were skipped so far."""

    def __init__(self, path: Path, job: str | None, last: int | None) -> None:
        self._path = path
        self._job = job
        self._last = last
        self.damaged = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._last is None:
            return self._matching(_forward(self._path))
        newest = list(islice(self._matching(_backward(self._path)), self._last))
        return iter(newest[::-1])

    def _matching(self, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
        named = None if self._job is None else json.dumps(self._job).encode()
        for line in lines:
            if named is not None and named not in line:
                continue
            record = _parsed(line)
            if record is None:
                self.damaged += line.endswith(b"\n")  # else it is being written
            elif self._job is None or record.get("job") == self._job:
                yield record


def read(paths: StatePaths, job: str | None = None, last: int | None = None) -> AuditRecords:
    """The trail, or the records of one job, or only the `last` ones of them (found from the end, so quickly).

    A trail that does not exist has no records. Reading raises StoreError when the file cannot be read."""
    return AuditRecords(paths.audit, job, last)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _forward(path: Path) -> Iterator[bytes]:
    with mapped("read", path), suppress(FileNotFoundError), path.open("rb") as file:
        while line := file.readline(LINE_MAX_BYTES):
            if len(line) == LINE_MAX_BYTES and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(LINE_MAX_BYTES)
                line = _TOO_LONG
            if line.strip():
                yield line


def _backward(path: Path) -> Iterator[bytes]:
    """The lines from the last to the first, each with its newline."""
    with mapped("read", path), suppress(FileNotFoundError), path.open("rb") as file:
        place = file.seek(0, os.SEEK_END)
        head = b""
        while place:
            step = min(_BLOCK_BYTES, place)
            place = file.seek(place - step)
            lines = (file.read(step) + head).splitlines(keepends=True)
            head = lines[0] if len(lines[0]) <= LINE_MAX_BYTES else _TOO_LONG
            yield from (line for line in lines[:0:-1] if line.strip())
        if head.strip():
            yield head


def _last_seq(path: Path) -> int:
    for line in _backward(path):
        record = _parsed(line)
        if record is not None and type(record.get("seq")) is int:
            return int(record["seq"])
    return 0


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
