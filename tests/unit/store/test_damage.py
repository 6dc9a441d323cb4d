"""A damaged ledger is kept, never believed, and made again from the attempt folders."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.model.ledger import JobRecord
from reconciler.store.ledger import LedgerStore
from reconciler.store.paths import StatePaths
from tests.unit.store.samples import NOW, SUCCEEDED, attempt, done_job, put_attempt, run_of

JOBS = [f"p/job_{number}" for number in range(60)]
STAMP = "20231114T221320Z"


def writable(paths: StatePaths) -> LedgerStore:
    return LedgerStore.open(paths, writable=True, clock=lambda: NOW)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose ledger and attempt folders say the same."""
    paths = StatePaths(tmp_path_factory.mktemp("sound") / "state")
    with writable(paths) as store:
        store.commit([JobRecord(key, (attempt(key, 7),)) for key in JOBS], runs=[run_of("p", 3)])
    for key in JOBS:
        put_attempt(paths, attempt(key, 7))
    return paths.root


@pytest.fixture
def paths(sound: Path, tmp_path: Path) -> StatePaths:
    """A copy of it, to be damaged."""
    return StatePaths(shutil.copytree(sound, tmp_path / "state"))


def spoil(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def damaged_files(paths: StatePaths) -> list[str]:
    return sorted(path.name for path in paths.root.glob("*damaged*"))


def check_recovered(paths: StatePaths) -> None:
    """Reading does no harm; the loop sets the file aside and goes on with everything that the folders know."""
    before = paths.ledger.read_bytes()
    with LedgerStore.open(paths, writable=False) as reader:
        assert set(reader.ledger().jobs) == set(JOBS)
        assert {record.attempts[-1].number for record in reader.ledger().jobs.values()} == {7}
    assert paths.ledger.read_bytes() == before
    assert damaged_files(paths) == []
    with writable(paths) as store:
        assert set(store.ledger().jobs) == set(JOBS)
        assert {record.attempts[-1].number for record in store.ledger().jobs.values()} == {7}
        store.commit([done_job("p/new")])
        if damaged_files(paths):
            assert damaged_files(paths)[0] == f"ledger.sqlite3.damaged-{STAMP}"
            assert (paths.root / damaged_files(paths)[0]).read_bytes() == before
            assert any("damaged" in notice and STAMP in notice for notice in store.notices)
    with writable(paths) as store:
        assert set(store.ledger().jobs) == {*JOBS, "p/new"}
        assert store.notices == ()


@pytest.mark.parametrize("offset", [0, 16, 18, 19, 21, 28, 44, 47, 56])
@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_damage_in_the_header(paths: StatePaths, offset: int, byte: bytes) -> None:
    spoil(paths.ledger, offset, byte)
    check_recovered(paths)


@pytest.mark.parametrize("share", [0.002, 0.1, 0.2, 0.3, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("data", [b"\x00" * 600, b"\xff" * 40, b"9"])
def test_damage_in_the_middle(paths: StatePaths, share: float, data: bytes) -> None:
    spoil(paths.ledger, int(paths.ledger.stat().st_size * share), data)
    check_recovered(paths)


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 4096, 20_000])
def test_a_file_that_was_cut_short(paths: StatePaths, size: int) -> None:
    paths.ledger.write_bytes(paths.ledger.read_bytes()[:size])
    check_recovered(paths)


@pytest.mark.parametrize("content", [b"not a database\n" * 500, b"\x00" * 8192])
def test_another_kind_of_file(paths: StatePaths, content: bytes) -> None:
    paths.ledger.write_bytes(content)
    check_recovered(paths)
    assert damaged_files(paths)


def test_another_programs_database(paths: StatePaths) -> None:
    paths.ledger.unlink()
    with sqlite3.connect(paths.ledger) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    raw.close()
    check_recovered(paths)
    assert damaged_files(paths)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE jobs SET record = replace(record, 'g1', 'g2') WHERE key = 'p/job_7'",
        "UPDATE jobs SET record = '{}', crc = 2745614147 WHERE key = 'p/job_7'",
        "UPDATE jobs SET record = x'ff', crc = 0 WHERE key = 'p/job_7'",
        "UPDATE jobs SET record = 5 WHERE key = 'p/job_7'",
        "UPDATE jobs SET key = 'p/other' WHERE key = 'p/job_7'",
        "UPDATE runs SET crc = 1",
        "INSERT INTO paused VALUES (x'ff')",
        "DELETE FROM meta",
        "UPDATE meta SET value = 'x'",
        "DROP TABLE accepted",
    ],
)
def test_a_record_that_makes_no_sense(paths: StatePaths, statement: str) -> None:
    with sqlite3.connect(paths.ledger) as raw:
        assert raw.execute(statement).rowcount != 0
    raw.close()
    check_recovered(paths)
    assert damaged_files(paths)


def test_runs_that_are_sound_are_saved_from_a_damaged_ledger(paths: StatePaths) -> None:
    with sqlite3.connect(paths.ledger) as raw:
        raw.execute("UPDATE jobs SET crc = 1")
    raw.close()
    with writable(paths) as store:
        assert dict(store.ledger().runs) == {"p": run_of("p", 3)}


def test_damaged_files_are_never_overwritten(paths: StatePaths) -> None:
    contents = [f"damage {number}".encode() * 200 for number in range(3)]
    for content in contents:
        paths.ledger.write_bytes(content)
        writable(paths).close()
    names = [f"ledger.sqlite3.damaged-{STAMP}{suffix}" for suffix in ("", "-2", "-3")]
    assert [(paths.root / name).read_bytes() for name in names] == contents


def test_the_write_ahead_file_goes_with_its_ledger(paths: StatePaths) -> None:
    paths.ledger.write_bytes(b"damage" * 1000)
    Path(f"{paths.ledger}-wal").write_bytes(b"wal")
    writable(paths).close()
    assert f"ledger.sqlite3.damaged-{STAMP}-wal" in damaged_files(paths)


def test_a_write_ahead_file_without_a_ledger_is_kept(paths: StatePaths) -> None:
    paths.ledger.unlink()
    Path(f"{paths.ledger}-wal").write_bytes(b"wal")
    with writable(paths) as store:
        assert "without its ledger" in store.notices[0]
        assert set(store.ledger().jobs) == set(JOBS)
    assert damaged_files(paths) == [f"ledger.sqlite3.damaged-{STAMP}-wal"]


def test_damage_while_the_loop_runs_costs_nothing(paths: StatePaths) -> None:
    with writable(paths) as store:
        store.commit([JobRecord("p/only_in_memory", (attempt("p/only_in_memory", 2, SUCCEEDED),))])
        store._source.close()
        paths.ledger.write_bytes(b"damage" * 1000)
        store.commit([done_job("p/new")])
        assert set(store.ledger().jobs) == {*JOBS, "p/only_in_memory", "p/new"}
        assert any("from memory" in notice for notice in store.notices)
    assert damaged_files(paths)


def test_a_kill_while_the_file_was_being_made_is_no_damage(tmp_path: Path) -> None:
    """sqlite's own journal tells what to undo, and only a connection that may write can do that."""
    made = tmp_path / "made.sqlite3"
    paths = StatePaths(tmp_path / "state")
    paths.ensure()
    with sqlite3.connect(made, isolation_level=None) as connection:
        connection.execute("PRAGMA cache_size=1")  # so that what is written spills into the file before the commit
        connection.execute("BEGIN IMMEDIATE")
        for number in range(60):
            connection.execute(f"CREATE TABLE half_made{number} (text)")
        for suffix in ("", "-journal"):
            shutil.copy(f"{made}{suffix}", f"{paths.ledger}{suffix}")
    only_reads = sqlite3.connect(f"{paths.ledger.as_uri()}?mode=ro", uri=True)
    with closing(only_reads), pytest.raises(sqlite3.OperationalError, match="readonly"):
        only_reads.execute("SELECT count(*) FROM sqlite_master").fetchone()
    with writable(paths) as store:
        assert (store.notices, damaged_files(paths)) == ((), [])
        store.commit([JobRecord("p/a")])
