"""The attempt folders alone give the ledger back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model.enums import JobStatus, Reason, RequestKind
from reconciler.model.ledger import JobRecord, Verdict
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths
from reconciler.store.rebuild import rebuild, rebuild_job, rebuild_jobs
from reconciler.store.requests import accept, submit
from tests.unit.store.samples import NOW, OUT_OF_MEMORY, SUCCEEDED, attempt, put_attempt, put_json

STOPPED = Verdict(JobStatus.FAILED_OTHER, Reason.STOPPED_BY_USER, "stopped at a user's request", NOW + 9)


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    paths = StatePaths(tmp_path)
    paths.ensure()
    return paths


def job_of(paths: StatePaths, key: str = "p/a") -> JobRecord:
    return rebuild(paths).jobs[key]


def test_no_folders_no_jobs(tmp_path: Path) -> None:
    assert rebuild_jobs(tmp_path / "missing") == {}


def test_a_running_attempt(paths: StatePaths) -> None:
    put_attempt(paths, attempt("p/a", 3))
    expected = attempt("p/a", 3, pid=4711, started_at=NOW + 1)
    assert rebuild(paths).jobs == {"p/a": JobRecord("p/a", (expected,))}
    assert rebuild(paths).notices == ()
    assert rebuild_job(paths.attempts, "p/a") == JobRecord("p/a", (expected,))
    assert rebuild_job(paths.attempts, "p/other") is None


def test_attempts_that_ended(paths: StatePaths) -> None:
    put_attempt(paths, attempt("p/a", 1), OUT_OF_MEMORY, retry_at=NOW + 60)
    put_attempt(paths, attempt("p/a", 2), SUCCEEDED, generation="g2", started_at=NOW + 3, ended_at=NOW + 4, exit_code=0)
    seen = {"pid": 4711, "started_at": NOW + 1, "ended_at": NOW + 8, "exit_code": 1}
    first = attempt("p/a", 1, OUT_OF_MEMORY, retry_at=NOW + 60, **seen)
    last = attempt("p/a", 2, SUCCEEDED, **{**seen, "started_at": NOW + 3, "ended_at": NOW + 4, "exit_code": 0})
    assert job_of(paths) == JobRecord("p/a", (first, last), SUCCEEDED, "g2", completed_on="local")


def test_numbers_count_as_numbers(paths: StatePaths) -> None:
    for number in (10, 9, 100):
        put_attempt(paths, attempt("p/a", number))
    assert [a.number for a in job_of(paths).attempts] == [9, 10, 100]


def test_the_folder_says_which_attempt_it_is(paths: StatePaths) -> None:
    folder = put_attempt(paths, attempt("p/b", 7))
    goal = paths.attempt("p/a/2")
    goal.parent.mkdir(parents=True)
    folder.rename(goal)
    assert [(a.job, a.number) for a in job_of(paths).attempts] == [("p/a", 2)]


def test_an_intent_cannot_settle_its_own_attempt(paths: StatePaths) -> None:
    folder = put_attempt(paths, attempt("p/a"))
    put_json(folder / "intent.json", {**attempt_dict(), "verdict": 5, "released": True, "launched": False, "new": []})
    (only,) = job_of(paths).attempts
    assert (only.verdict, only.released, only.launched) == (None, False, True)


def attempt_dict() -> dict[str, object]:
    names = ("job", "number", "generation", "host", "launcher", "session", "gpus", "gpu_indices", "intended_at")
    return {name: getattr(attempt("p/a"), name) for name in names} | {"revision": "r"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"number":1}', b'{"code":'])
@pytest.mark.parametrize("name", ["intent.json", "started.json", "exit.json", "verdict.json"])
def test_a_damaged_file_costs_what_it_said_and_no_more(paths: StatePaths, name: str, content: bytes) -> None:
    put_attempt(paths, attempt("p/z", 1), SUCCEEDED)
    folder = put_attempt(paths, attempt("p/a", 4), SUCCEEDED)
    (folder / name).write_bytes(content)
    rebuilt = rebuild(paths)
    (only,) = rebuilt.jobs["p/a"].attempts
    assert only.number == 4
    assert (only.generation, only.host) == (("", "local") if name == "intent.json" else ("g1", "local"))
    assert (only.verdict is None) is (name == "verdict.json")
    assert rebuilt.jobs["p/z"].completed == SUCCEEDED
    if content != b'{"number":1}' or name in ("intent.json", "verdict.json"):
        (notice,) = rebuilt.notices
        assert str(folder / name) in notice


def test_a_folder_without_an_intent_keeps_its_number(paths: StatePaths) -> None:
    folder = paths.attempt("p/a/5")
    folder.mkdir(parents=True)
    (folder / "claim").write_text("revoked\n")
    os.utime(folder, (NOW, NOW))
    (only,) = job_of(paths).attempts
    assert (only.number, only.generation, only.host, only.launched, only.intended_at) == (5, "", "local", False, NOW)


def test_a_refused_start_has_no_exit_code(paths: StatePaths) -> None:
    folder = put_attempt(paths, attempt("p/a"))
    put_json(folder / "exit.json", {"code": 75, "lock_held": "job", "uptime_s": 1.5})
    assert job_of(paths).attempts[0].exit_code is None


@pytest.mark.parametrize("name", ["0", "01", "-1", "x", "1.5", "٣", ".tmp-1", "9" * 5000])
def test_other_names_are_no_attempts(paths: StatePaths, name: str) -> None:
    if len(name) < 255:
        (paths.attempts / "p" / "a" / name).mkdir(parents=True)
    (paths.attempts / "p" / "a").mkdir(parents=True, exist_ok=True)
    (paths.attempts / "p" / "file").write_text("")
    (paths.attempts / "p" / "a" / "7").write_text("")
    assert rebuild(paths).jobs == {}


def test_a_name_that_is_no_text_is_skipped_and_said(paths: StatePaths) -> None:
    os.makedirs(os.fsencode(paths.attempts) + b"/p/\xff/1")
    rebuilt = rebuild(paths)
    assert rebuilt.jobs == {}
    assert "not valid text" in rebuilt.notices[0]


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("reconciler.store.rebuild.os.scandir", refuse)
    with pytest.raises(StoreError, match="permissions"):
        rebuild(paths)


@pytest.mark.parametrize(
    ("verdict", "asked_at", "retry_after"),
    [
        (OUT_OF_MEMORY, NOW + 20, 2),
        (OUT_OF_MEMORY, NOW + 5, 1),
        (OUT_OF_MEMORY, NOW - 5, 1),
        (STOPPED, NOW + 5, 2),
        (None, NOW + 20, 1),
    ],
    ids=["it had ended", "it ran on and ended later", "before it began", "it was being stopped", "it runs"],
)
def test_a_retry_forgives_what_had_ended(
    paths: StatePaths, verdict: Verdict | None, asked_at: float, retry_after: int
) -> None:
    early = replace(OUT_OF_MEMORY, at=NOW - 90)
    put_attempt(paths, attempt("p/a", 1, intended_at=NOW - 100), early)
    put_attempt(paths, attempt("p/a", 2), verdict)
    accept(paths, submit(paths, RequestKind.RETRY, "p/a", "ann", asked_at))
    assert job_of(paths).retry_after == retry_after


def test_requests_are_replayed_in_their_order(paths: StatePaths) -> None:
    put_attempt(paths, attempt("p/a"), OUT_OF_MEMORY)
    steps = [(RequestKind.STOP, "p/a"), (RequestKind.RETRY, "p/a"), (RequestKind.STOP, "p/b"), (RequestKind.PAUSE, "p")]
    steps += [(RequestKind.PAUSE, "q"), (RequestKind.RESUME, "q")]
    asked = [submit(paths, kind, target, "ann", NOW + 20 + i) for i, (kind, target) in enumerate(steps)]
    for request in reversed(asked):
        accept(paths, request)
    rebuilt = rebuild(paths)
    assert (rebuilt.jobs["p/a"].stopped_by, rebuilt.jobs["p/a"].retry_after) == (None, 1)
    assert rebuilt.jobs["p/b"] == JobRecord("p/b", stopped_by="ann")
    assert rebuilt.paused == {"p"}
    assert rebuilt.accepted == {request.id for request in asked}


def test_requests_for_a_completed_job_change_nothing(paths: StatePaths) -> None:
    put_attempt(paths, attempt("p/a"), SUCCEEDED)
    before = job_of(paths)
    for kind in (RequestKind.STOP, RequestKind.RETRY):
        accept(paths, submit(paths, kind, "p/a", "ann", NOW + 20))
    assert job_of(paths) == before


def test_pending_requests_are_not_replayed(paths: StatePaths) -> None:
    submit(paths, RequestKind.PAUSE, "p", "ann", NOW)
    assert rebuild(paths).paused == frozenset()
