"""How everyone but the loop sees the ledger file: without changing anything, also while the loop writes.

A loop at work keeps a write-ahead file, and sqlite reads both. Without one the ledger is complete in itself; it is
then read as a fixed file, because sqlite would otherwise make a write-ahead file just to look.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from reconciler.store import database
from reconciler.store.atomic import mapped
from reconciler.store.contents import Contents
from reconciler.store.database import Damaged
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths
from reconciler.store.rebuild import rebuild

_TRIES = 5

_Mark = tuple[int, int, int] | None
"""What tells one state of a file from the next: inode, size, time of change. None: it is missing or empty."""


class Reader:
    """Reads the file, or the attempt folders where the file is missing or damaged."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths
        self._live: sqlite3.Connection | None = None
        self._seen: tuple[_Mark, _Mark] = (None, None)
        self._data_version = 0

    def load(self) -> tuple[Contents, tuple[str, ...]]:
        """The contents now; the second part says in sentences what could not be read. Raises StoreError."""
        for _ in range(_TRIES):
            self.close()
            self._seen = self._marks()
            if self._seen[0] is None:
                return self._from_folders(())
            try:
                contents = self._read()
            except Damaged as damage:
                if self._marks() == self._seen:
                    return self._from_folders((f"the ledger is damaged ({damage}); the next exq run repairs it",))
                continue
            if contents is None:
                return self._from_folders(())
            if self._live is not None or self._marks()[0] == self._seen[0]:
                return contents, ()
        raise StoreError(f"{self._paths.ledger} changed each time it was read; try again")

    def changed(self) -> bool:
        """`load` may give something else now. Raises StoreError."""
        marks = self._marks()
        if self._live is None or marks[0] is None or self._seen[0] is None or marks[0][0] != self._seen[0][0]:
            return marks != self._seen
        with database.understood(self._paths.ledger, writing=False):
            return database.data_version(self._live) != self._data_version

    def close(self) -> None:
        """Let go of the file."""
        if self._live is not None:
            with suppress(sqlite3.Error):  # a reader has nothing to lose
                self._live.close()
            self._live = None

    def _read(self) -> Contents | None:
        """The contents, or None where the file has no tables yet."""
        path = self._paths.ledger
        live = self._seen[1] is not None
        with database.understood(path, writing=False), mapped("read", path):
            connection = database.connect(path, "mode=ro" if live else "mode=ro&immutable=1")
            try:
                version = database.data_version(connection)
                contents = None if database.is_new(connection) else database.read_all(connection, path)
            except BaseException:
                connection.close()
                raise
        if live:
            self._live, self._data_version = connection, version
        else:
            connection.close()
        return contents

    def _marks(self) -> tuple[_Mark, _Mark]:
        with mapped("read", self._paths.ledger):
            journals = [_mark(Path(f"{self._paths.ledger}{suffix}")) for suffix in ("-wal", "-journal")]
            return _mark(self._paths.ledger), journals[0] or journals[1]

    def _from_folders(self, notices: tuple[str, ...]) -> tuple[Contents, tuple[str, ...]]:
        rebuilt = rebuild(self._paths)
        return Contents(rebuilt.jobs, {}, rebuilt.paused, rebuilt.accepted), (*notices, *rebuilt.notices)


def _mark(path: Path) -> _Mark:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else None
