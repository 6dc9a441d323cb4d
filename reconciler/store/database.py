"""The ledger's sqlite file: how it is opened, read and changed, and what its errors mean.

The schema is dumb on purpose: JSON records by key. Each row of `jobs` and `runs` has a checksum, so that a flipped
byte is noticed and not believed. Everything is in write-ahead mode with synchronous=FULL: a commit that returned
survives a power loss.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from zlib import crc32

from reconciler.model.ledger import JobRecord, ProjectRun
from reconciler.store.atomic import TEMPORARY_PREFIX, write_atomic
from reconciler.store.collector import without_collection
from reconciler.store.contents import Changes, Contents
from reconciler.store.errors import StoreError, StoreFull
from reconciler.store.records import RUN, RecordDamaged, job_to_text, jobs_from_texts, parse_json, to_json

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
_WAL_MAX_BYTES = 16 << 20
_CHECKED_MAX_BYTES = 256 << 20
"""Larger files are not checked page by page when they are opened; every row still is, as it is read."""
_HEADER_BYTES = 100
_PROBE_BYTES = 65536
_CHUNK_ROWS = 2000

_TABLES = {
    "meta": "(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "jobs": "(key TEXT PRIMARY KEY, crc INTEGER NOT NULL, record TEXT NOT NULL) WITHOUT ROWID",
    "runs": "(project TEXT, number INTEGER, crc INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (project, number))"
    " WITHOUT ROWID",
    "paused": "(target TEXT PRIMARY KEY) WITHOUT ROWID",
    "accepted": "(id TEXT PRIMARY KEY) WITHOUT ROWID",
}


class Damaged(Exception):
    """The file is not a ledger that exq wrote, or no longer one. The text says how that shows."""


class Changed(Exception):
    """Another program has written to the ledger since it was read."""


@contextmanager
def understood(path: Path, *, writing: bool) -> Iterator[None]:
    """Turn sqlite's errors about the file at `path` into Damaged, StoreFull or StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, path, writing) from error


def _meaning(error: sqlite3.Error, path: Path, writing: bool) -> Exception:
    """Python 3.10 gives no error codes; sqlite's texts for them have not changed in many years."""
    text = str(error)
    if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
        return error  # misuse: a fault of exq, not of the file
    if "is full" in text:
        return _full(path)
    if "disk I/O error" in text or "unable to open" in text:
        return _full(path) if writing and _no_room(path.parent) else _unusable(path, text)
    if "is locked" in text:
        return StoreError(f"{path} was in use by another program for more than {BUSY_TIMEOUT_S:.0f} s; try again")
    if "readonly" in text and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _unusable(path, text)
    return Damaged(text)


def _full(path: Path) -> StoreFull:
    return StoreFull(f"cannot write {path}: no room left there (disk, quota or inodes); free some space")


def _unusable(path: Path, text: str) -> StoreError:
    return StoreError(f"cannot use {path}: {text}; check the disk, the folder and its permissions")


def _no_room(folder: Path) -> bool:
    """sqlite calls a full disk an I/O error in some places (its shared memory, a quota): see for ourselves."""
    probe = folder / f"{TEMPORARY_PREFIX}probe"
    try:
        write_atomic(probe, bytes(_PROBE_BYTES))
    except StoreFull:
        return True
    except StoreError:
        return False
    probe.unlink(missing_ok=True)
    return False


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the file; `mode` is the end of a sqlite URI, such as "mode=ro". Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    connection.text_factory = bytes
    return connection


def roll_back(path: Path) -> None:
    """Let sqlite undo what a crash has left half done while the file was being made. Raises sqlite3.Error."""
    with closing(connect(path, "mode=rwc")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def prepare_for_writing(connection: sqlite3.Connection) -> None:
    """Make commits durable and the write-ahead file bounded. Raises sqlite3.Error."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_MAX_BYTES}")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA user_version=1")  # a file that cannot be written shows now
    connection.execute("ROLLBACK")


def check(connection: sqlite3.Connection, size_bytes: int) -> None:
    """Look for structural damage in a file that is small enough. Raises Damaged or sqlite3.Error."""
    if size_bytes < _HEADER_BYTES:
        raise Damaged("it is cut short")
    if size_bytes > _CHECKED_MAX_BYTES:
        return
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != b"ok":
        raise Damaged(found.decode(errors="replace"))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error is the one to report; sqlite may have rolled back already
            connection.execute("ROLLBACK")
        raise


def create(connection: sqlite3.Connection, changes: Changes, identity: str) -> None:
    """Make the tables with their first rows in one transaction. Raises sqlite3.Error."""
    with transaction(connection):
        for name, columns in _TABLES.items():
            connection.execute(f"CREATE TABLE {name} {columns}")
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
        identify(connection, identity)
        _put(connection, changes)


def identify(connection: sqlite3.Connection, identity: str) -> None:
    """Give a ledger the identity that tells it from the one after it. Raises sqlite3.Error."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('identity', ?)", (identity,))


def write(connection: sqlite3.Connection, changes: Changes, version: int) -> None:
    """Carry changes out in one durable transaction. `version` is the `data_version` at which the file was read.

    Raises Changed, or sqlite3.Error."""
    with transaction(connection):
        if data_version(connection) != version:
            raise Changed
        _put(connection, changes)


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has committed. Raises sqlite3.Error."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _put(connection: sqlite3.Connection, changes: Changes) -> None:
    put = connection.executemany
    put("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", (_job_row(record) for record in changes.jobs))
    put("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", (_run_row(run) for run in changes.runs))
    put("INSERT OR IGNORE INTO paused VALUES (?)", ((target,) for target in changes.pause))
    put("DELETE FROM paused WHERE target = ?", ((target,) for target in changes.resume))
    put("INSERT OR IGNORE INTO accepted VALUES (?)", ((request_id,) for request_id in changes.accepted))


def _job_row(record: JobRecord) -> tuple[str, int, str]:
    text = job_to_text(record)
    return record.key, crc32(text.encode()), text


def _run_row(run: ProjectRun) -> tuple[str, int, int, str]:
    text = to_json(RUN.write(run))
    return run.project, run.number, crc32(text.encode()), text


def is_new(connection: sqlite3.Connection) -> bool:
    """There are no tables at all: the file was just made, or its maker died first. Raises sqlite3.Error."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


@without_collection
def read_all(connection: sqlite3.Connection, path: Path) -> Contents:
    """Everything, as of one moment. Raises Damaged, StoreError (a newer exq wrote it) or sqlite3.Error."""
    connection.execute("BEGIN")
    try:
        _check_version(connection, path)
        return Contents(
            _jobs(connection),
            _runs(connection),
            frozenset(_texts(connection, "target", "paused")),
            frozenset(_texts(connection, "id", "accepted")),
            next(iter(_texts(connection, "value", "meta WHERE name = 'identity'")), ""),
        )
    except (RecordDamaged, UnicodeDecodeError) as error:
        raise Damaged(str(error)) from error
    finally:
        with suppress(sqlite3.Error):  # a read transaction has nothing to lose
            connection.execute("COMMIT")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    missing = _TABLES.keys() - set(_texts(connection, "name", "sqlite_master"))
    if missing:
        raise Damaged(f"it has no table {min(missing)}")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if row is None or not isinstance(row[0], bytes) or not row[0].isdigit():
        raise Damaged("it does not say which version wrote it")
    if int(row[0]) > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer exq (ledger version {int(row[0])}, this exq knows {SCHEMA_VERSION}): "
            "upgrade exq, or name another folder with --state"
        )


def _texts(connection: sqlite3.Connection, column: str, table: str) -> list[str]:
    found = []
    for (value,) in connection.execute(f"SELECT {column} FROM {table}"):
        if not isinstance(value, bytes):
            raise Damaged(f"{table}.{column} is not text")
        found.append(value.decode())
    return found


def _jobs(connection: sqlite3.Connection) -> dict[str, JobRecord]:
    jobs: dict[str, JobRecord] = {}
    rows = connection.execute("SELECT key, crc, record FROM jobs")
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        texts = _checked([(crc, text) for _, crc, text in chunk])
        for (key, _, _), record in zip(chunk, jobs_from_texts(texts), strict=True):
            if key != record.key.encode():
                raise Damaged(f"the row {key!r} holds {record.key}")
            jobs[record.key] = record
    return jobs


def _runs(connection: sqlite3.Connection) -> dict[str, ProjectRun]:
    rows = connection.execute("SELECT crc, record FROM runs ORDER BY project, number")
    runs = [RUN.read(parse_json(text)) for text in _checked(rows)]
    return {run.project: run for run in runs}


def salvaged_runs(path: Path) -> dict[str, ProjectRun]:
    """The runs in a damaged file, as far as they are sound: attempt folders do not tell of them. Never raises."""
    try:
        with closing(connect(path, "mode=ro")) as connection:
            return _runs(connection)
    except (sqlite3.Error, Damaged, RecordDamaged, UnicodeDecodeError):
        return {}


def _checked(rows: Iterable[tuple[object, object]]) -> list[str]:
    texts = []
    for crc, text in rows:
        if not isinstance(text, bytes) or crc32(text) != crc:
            raise Damaged("a record does not match its checksum")
        texts.append(text.decode("ascii"))
    return texts
