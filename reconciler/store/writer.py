"""The loop's hold on the ledger file. Its caller holds the daemon lock: nobody else writes or moves the file."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from reconciler.model.ledger import ProjectRun
from reconciler.store import database
from reconciler.store.atomic import mapped, sync_folder
from reconciler.store.contents import Changes, Contents
from reconciler.store.database import Changed, Damaged
from reconciler.store.errors import StoreError, StoreFull
from reconciler.store.paths import StatePaths
from reconciler.store.rebuild import rebuild

COMPANIONS = ("", "-wal", "-shm", "-journal")
"""sqlite's files beside the ledger, as suffixes. The ledger itself is moved first: its write-ahead file without it
says nothing, it without its write-ahead file would be an older state that looks sound."""


class Writer:
    """Opens, repairs and changes the file."""

    def __init__(self, paths: StatePaths, clock: Callable[[], float]) -> None:
        self._paths = paths
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._version = 0

    @property
    def ready(self) -> bool:
        """The file is open, and still the one at its place."""
        if self._connection is None:
            return False
        try:
            return os.stat(self._paths.ledger).st_ino == self._inode
        except OSError:
            return False

    def load(self, known: Contents | None = None) -> tuple[Contents, tuple[str, ...]]:
        """Open the file and read it; the second part says in sentences what had to be repaired.

        A missing or damaged file is made anew, from `known` where the loop still has it in memory, else from the
        attempt folders. Raises StoreError or StoreFull."""
        self.close()
        self._paths.ensure()
        notices: list[str] = []
        try:
            return self._loaded(known, notices), tuple(notices)
        except Damaged as damage:
            self.close()
            raise StoreError(f"{self._paths.ledger} could not be made anew ({damage}); try again") from damage
        except BaseException:
            self.close()
            raise

    def write(self, changes: Changes) -> None:
        """One durable transaction. Raises StoreFull or StoreError, and then nothing was changed; raises Changed when
        another program has written to the file: then it has to be loaded again."""
        assert self._connection is not None
        try:
            with database.understood(self._paths.ledger, writing=True):
                database.write(self._connection, changes, self._version)
        except (Changed, StoreFull):
            raise
        except StoreError:
            self.close()
            raise
        except Damaged as damage:
            self.close()
            raise StoreError(f"{self._paths.ledger} is damaged ({damage}); it is repaired on the next try") from damage

    def close(self) -> None:
        """Let go of the file; what is committed stays."""
        if self._connection is not None:
            with suppress(sqlite3.Error):  # nothing that was committed depends on closing
                self._connection.close()
            self._connection = None

    def _loaded(self, known: Contents | None, notices: list[str]) -> Contents:
        runs: dict[str, ProjectRun] = {}
        try:
            contents = self._open(notices)
        except Damaged as damage:
            self.close()
            runs = database.salvaged_runs(self._paths.ledger)
            notices.append(f"the ledger was damaged ({damage}); it is kept as {self._set_aside()}")
            contents = self._open(notices)
        if contents is None:
            return self._make(known, runs, notices)
        return contents if contents.identity else self._identified(contents)

    def _open(self, notices: list[str]) -> Contents | None:
        """The contents, or None where the file is new. Raises Damaged, StoreError or StoreFull."""
        path = self._paths.ledger
        with database.understood(path, writing=True), mapped("open", path):
            self._set_aside_leftovers(notices)
            if Path(f"{path}-journal").exists():
                database.roll_back(path)
            size_bytes = path.stat().st_size if path.exists() else 0
            contents = self._read(size_bytes) if size_bytes else None
            self._connect()
        return contents

    def _read(self, size_bytes: int) -> Contents | None:
        """By a connection that cannot write: closing it does not touch a file that proves damaged."""
        with closing(database.connect(self._paths.ledger, "mode=ro")) as connection:
            database.check(connection, size_bytes)
            return None if database.is_new(connection) else database.read_all(connection, self._paths.ledger)

    def _connect(self) -> None:
        self._connection = database.connect(self._paths.ledger, "mode=rwc")
        database.prepare_for_writing(self._connection)
        self._inode = os.stat(self._paths.ledger).st_ino
        self._version = database.data_version(self._connection)

    def _make(self, known: Contents | None, runs: dict[str, ProjectRun], notices: list[str]) -> Contents:
        assert self._connection is not None
        if known is None:
            rebuilt = rebuild(self._paths)
            known = Contents(rebuilt.jobs, runs, rebuilt.paused, rebuilt.accepted, _new_identity())
            source, said = "the attempt folders", rebuilt.notices
        else:
            source, said = "memory", ()
        with database.understood(self._paths.ledger, writing=True), mapped("write", self._paths.ledger):
            database.create(self._connection, Changes.all_of(known), known.identity)
            sync_folder(self._paths.root)
        notices.extend(said)
        if known.jobs:
            notices.append(f"the ledger was made anew from {source}, with {len(known.jobs)} jobs")
        return known

    def _identified(self, contents: Contents) -> Contents:
        """An earlier exq made the file."""
        assert self._connection is not None
        identity = _new_identity()
        with database.understood(self._paths.ledger, writing=True):
            database.identify(self._connection, identity)
        return replace(contents, identity=identity)

    def _set_aside_leftovers(self, notices: list[str]) -> None:
        """A write-ahead file without its ledger belongs to a file that is gone; sqlite would delete it."""
        path = self._paths.ledger
        if not path.exists() and Path(f"{path}-wal").exists():
            notices.append(f"a write-ahead file without its ledger is kept as {self._set_aside()}-wal")

    def _set_aside(self) -> Path:
        path = self._paths.ledger
        stamp = datetime.fromtimestamp(self._clock(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        aside = Path(f"{path}.damaged-{stamp}")
        again = 1
        while any(Path(f"{aside}{suffix}").exists() for suffix in COMPANIONS):
            again += 1
            aside = Path(f"{path}.damaged-{stamp}-{again}")
        with mapped("set aside", path):
            for suffix in COMPANIONS:
                with suppress(FileNotFoundError):
                    os.rename(f"{path}{suffix}", f"{aside}{suffix}")
            sync_folder(path.parent)
        return aside


def _new_identity() -> str:
    return secrets.token_hex(8)
