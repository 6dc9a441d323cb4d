"""The ledger: durable before it shows, cheap to look at, readable by anyone without leaving a trace."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.ledger import JobRecord, Ledger, Verdict
from reconciler.store.errors import StoreError
from reconciler.store.ledger import LedgerStore
from reconciler.store.paths import StatePaths
from tests.unit.store.samples import SUCCEEDED, attempt, done_job, open_job, put_attempt, run_of


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state with ?#%")


@pytest.fixture
def store(paths: StatePaths) -> Iterator[LedgerStore]:
    with LedgerStore.open(paths, writable=True) as opened:
        yield opened


def reopened(paths: StatePaths, *, writable: bool = False) -> Ledger:
    with LedgerStore.open(paths, writable=writable) as store:
        assert store.notices == ()
        return store.ledger()


def everything(root: Path) -> dict[str, tuple[int, int, int]]:
    """All files with what a change of them would show in."""
    found = {str(path): path.stat() for path in (root, *root.rglob("*"))}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def same(one: Ledger, other: Ledger) -> bool:
    return (one.jobs, one.paused, one.runs, one.open_attempts) == (
        other.jobs,
        other.paused,
        other.runs,
        other.open_attempts,
    )


@pytest.mark.parametrize("writable", [False, True])
def test_what_was_committed_is_there_after_a_restart(paths: StatePaths, store: LedgerStore, writable: bool) -> None:
    jobs = [open_job("p/a"), done_job("p/b"), JobRecord("q/c", stopped_by="ann")]
    store.commit(jobs, [run_of("p"), run_of("p", 2)], pause=["p", "q/c"], accepted=["r1"])
    store.commit(resume=["q/c"])
    before = store.ledger()
    store.close()
    after = reopened(paths, writable=writable)
    assert same(before, after)
    assert dict(after.jobs) == {job.key: job for job in jobs}
    assert after.paused == {"p"}
    assert dict(after.runs) == {"p": run_of("p", 2)}
    assert list(after.open_attempts) == ["p/a/1"]


def test_a_commit_replaces_whole_records(store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    store.commit([JobRecord("p/a", retry_after=4)])
    assert store.ledger().jobs["p/a"] == JobRecord("p/a", retry_after=4)
    assert not store.ledger().open_attempts


def test_an_attempt_is_open_until_it_has_a_verdict_and_is_released(store: LedgerStore) -> None:
    record = open_job("p/a")
    for verdict, released, is_open in [(None, False, True), (None, True, True), (SUCCEEDED, False, True)]:
        changed = replace(record, attempts=(replace(record.attempts[0], verdict=verdict, released=released),))
        store.commit([changed])
        assert (store.ledger().open_attempts == {"p/a/1": changed.attempts[0]}) is is_open
    store.commit([replace(record, attempts=(replace(record.attempts[0], verdict=SUCCEEDED, released=True),))])
    assert store.ledger().open_attempts == {}


def test_jobs_that_could_not_be_set_up_are_known_by_key(paths: StatePaths, store: LedgerStore) -> None:
    verdict = Verdict(JobStatus.FAILED_OTHER, Reason.ENVIRONMENT_BROKEN, "no environment x", 5.0)
    record = open_job("p/a")
    store.commit([record, open_job("p/b")])
    before = store.ledger()
    store.commit([replace(record, attempts=(replace(record.attempts[0], verdict=verdict),))])
    assert (list(before.set_up_in_vain), list(store.ledger().set_up_in_vain)) == ([], ["p/a"])
    store.close()
    assert list(reopened(paths).set_up_in_vain) == ["p/a"]


def test_each_commit_is_a_version_and_an_empty_one_is_none(store: LedgerStore) -> None:
    first = store.ledger()
    assert store.ledger().version == first.version
    store.commit()
    assert store.ledger().version == first.version
    store.commit([open_job("p/a")])
    assert store.ledger().version == first.version + 1


def test_open_attempts_of_a_snapshot_stay_as_they_were(store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    before = store.ledger()
    for path in before.open_attempts:
        store.commit([JobRecord(path.rpartition("/")[0])])
    assert list(before.open_attempts) == ["p/a/1"]


def test_an_older_run_does_not_hide_the_newest(store: LedgerStore) -> None:
    store.commit(runs=[run_of("p", 2)])
    store.commit(runs=[replace(run_of("p", 1), settled_at=5.0)])
    assert store.ledger().runs["p"].number == 2


def test_accepted_requests_are_known_after_a_restart(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")], accepted=["r1"])
    assert store.is_accepted("r1") and not store.is_accepted("r2")
    store.close()
    with LedgerStore.open(paths, writable=True) as again:
        assert again.is_accepted("r1") and not again.is_accepted("r2")


def test_commits_are_set_to_survive_a_power_loss(store: LedgerStore) -> None:
    connection = store._source._connection  # type: ignore[union-attr]
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_reading_a_missing_state_makes_nothing(paths: StatePaths) -> None:
    assert same(reopened(paths), Ledger())
    assert not paths.root.exists()


def test_reading_leaves_no_trace(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    store.close()
    before = everything(paths.root)
    assert list(reopened(paths).jobs) == ["p/a"]
    assert everything(paths.root) == before


def test_reading_beside_a_writer_leaves_no_trace(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    before = set(os.listdir(paths.root))
    assert list(reopened(paths).jobs) == ["p/a"]
    assert set(os.listdir(paths.root)) == before
    store.commit([open_job("p/b")])
    assert list(reopened(paths).jobs) == ["p/a", "p/b"]


def test_a_reader_cannot_commit(paths: StatePaths) -> None:
    with LedgerStore.open(paths, writable=False) as reader, pytest.raises(StoreError, match="reading only"):
        reader.commit([open_job("p/a")])


@pytest.mark.parametrize("started", ["before there is a ledger", "beside a writer", "after a writer"])
def test_a_long_lived_reader_follows(paths: StatePaths, started: str) -> None:
    reader = LedgerStore.open(paths, writable=False)
    writer = LedgerStore.open(paths, writable=True)
    if started != "before there is a ledger":
        writer.commit([done_job("p/z")])
        if started == "after a writer":
            writer.close()
        reader = LedgerStore.open(paths, writable=False)
    version = reader.ledger().version
    writer.commit([open_job("p/a")])
    assert reader.refresh()
    assert "p/a" in reader.ledger().jobs
    assert reader.ledger().version > version
    assert not reader.refresh()
    writer.commit([open_job("p/b")])
    writer.close()
    assert reader.refresh()
    assert "p/b" in reader.ledger().jobs
    reader.close()


def test_a_reader_follows_to_a_new_file(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    with LedgerStore.open(paths, writable=False) as reader:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{paths.ledger}{suffix}").unlink()
        store.commit([open_job("p/b")])
        assert reader.refresh()
        assert set(reader.ledger().jobs) == {"p/a", "p/b"}


def test_a_ledger_that_was_removed_under_the_loop_is_made_anew_from_memory(
    paths: StatePaths, store: LedgerStore
) -> None:
    store.commit([open_job("p/a")], [run_of("p")], pause=["q"], accepted=["r1"])
    for suffix in ("", "-wal", "-shm"):
        Path(f"{paths.ledger}{suffix}").unlink()
    store.commit([open_job("p/b")])
    assert "from memory, with 1 jobs" in store.notices[-1]
    assert store.is_accepted("r1")
    store.close()
    after = reopened(paths)
    assert (set(after.jobs), after.paused, list(after.runs)) == ({"p/a", "p/b"}, {"q"}, ["p"])


def test_a_second_writer_is_noticed_before_anything_is_written(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    with LedgerStore.open(paths, writable=True) as other:
        other.commit([done_job("p/a")])
        with pytest.raises(StoreError, match="another program"):
            store.commit([JobRecord("p/a", retry_after=1)])
        assert store.ledger().jobs["p/a"] == done_job("p/a")
    store.commit([JobRecord("p/a", retry_after=1)])
    assert store.ledger().jobs["p/a"].retry_after == 1


def test_a_locked_file_is_an_error_and_changes_nothing(
    paths: StatePaths, store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit([open_job("p/a")])
    version = store.ledger().version
    store._source._connection.execute("PRAGMA busy_timeout=1")  # type: ignore[union-attr]
    blocker = sqlite3.connect(paths.ledger, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="in use"):
        store.commit([open_job("p/b")])
    assert (list(store.ledger().jobs), store.ledger().version) == (["p/a"], version)
    blocker.execute("ROLLBACK")
    blocker.close()
    store.commit([open_job("p/b")])
    assert list(store.ledger().jobs) == ["p/a", "p/b"]


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    store.close()
    with sqlite3.connect(paths.ledger) as raw:
        raw.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    raw.close()
    before = paths.ledger.read_bytes()
    for writable in (True, False):
        with pytest.raises(StoreError, match="newer exq"):
            LedgerStore.open(paths, writable=writable)
    assert paths.ledger.read_bytes() == before
    assert not list(paths.root.glob("*damaged*"))


def test_a_missing_ledger_is_made_from_the_attempt_folders(paths: StatePaths) -> None:
    paths.ensure()
    put_attempt(paths, attempt("p/a", 2))
    with LedgerStore.open(paths, writable=False) as reader:
        assert list(reader.ledger().open_attempts) == ["p/a/2"]
    assert not paths.ledger.exists()
    with LedgerStore.open(paths, writable=True) as store:
        assert store.ledger().open_attempts["p/a/2"].pid == 4711
        assert store.notices == ("the ledger was made anew from the attempt folders, with 1 jobs",)
    assert list(reopened(paths, writable=True).jobs) == ["p/a"]


def identity_of(paths: StatePaths, *, writable: bool = True) -> str:
    with LedgerStore.open(paths, writable=writable) as store:
        return store.identity


def test_a_ledger_keeps_its_identity_and_the_one_after_it_has_another(paths: StatePaths) -> None:
    first = identity_of(paths)
    assert first
    assert identity_of(paths) == first == identity_of(paths, writable=False)
    paths.ledger.unlink()
    assert identity_of(paths, writable=False) == ""
    assert identity_of(paths) not in ("", first)


def test_what_is_made_anew_from_memory_is_the_same_ledger(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    before = store.identity
    for companion in paths.root.glob("ledger.sqlite3*"):
        companion.unlink()
    store.commit([open_job("p/b")])
    assert store.identity == before
    store.close()
    assert identity_of(paths, writable=False) == before


def test_a_ledger_of_an_earlier_exq_gets_an_identity(paths: StatePaths, store: LedgerStore) -> None:
    store.commit([open_job("p/a")])
    store.close()
    with sqlite3.connect(paths.ledger) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'identity'")
    connection.close()
    assert identity_of(paths, writable=False) == ""
    assert identity_of(paths) == identity_of(paths) != ""
