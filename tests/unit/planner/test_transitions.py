"""Updates of a job's record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.ledger import JobRecord, Verdict
from reconciler.model.plan import Settle
from reconciler.planner.transitions import (
    mark_kill,
    mark_kill_intended,
    mark_launched,
    mark_released,
    settle,
    with_attempt,
)
from tests.unit import factories as make
from tests.unit.factories import NOW

TWO = make.record(make.over(1), make.attempt(2))


def test_the_first_attempt_makes_the_record() -> None:
    assert with_attempt(None, make.attempt()) == make.record(make.attempt())


def test_attempts_stay_in_order_of_their_numbers() -> None:
    record = JobRecord("p/a")
    for number in (10, 2, 9):
        record = with_attempt(record, make.attempt(number))
    assert [a.number for a in record.attempts] == [2, 9, 10]


def test_an_attempt_with_the_same_number_is_replaced() -> None:
    newer = make.attempt(2, pid=5)
    assert with_attempt(TWO, newer).attempts == (TWO.attempts[0], newer)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param(
            mark_launched(TWO, 2, "process", None),
            {"launched": True, "launcher": "process", "session": None},
            id="launch",
        ),
        pytest.param(
            mark_kill(TWO, 2, NOW, Reason.HUNG_TAIL),
            {"kill_at": NOW, "kill_last_at": NOW, "kill_reason": Reason.HUNG_TAIL},
            id="kill",
        ),
        pytest.param(mark_released(TWO, 2), {"released": True}, id="release"),
    ],
)
def test_marks_change_one_attempt(changed: JobRecord, expected: dict[str, object]) -> None:
    assert changed.attempts == (TWO.attempts[0], replace(TWO.attempts[1], **expected))


def test_a_kill_that_was_only_intended_is_not_taken_for_one_that_was_sent() -> None:
    last = mark_kill_intended(TWO, 2, NOW, Reason.HUNG_TAIL).attempts[1]
    assert (last.kill_at, last.kill_last_at, last.kill_reason) == (NOW, None, Reason.HUNG_TAIL)


def test_the_first_kill_and_its_reason_stay() -> None:
    again = mark_kill(mark_kill(TWO, 2, NOW, Reason.HUNG_TAIL), 2, NOW + 10, Reason.STRAGGLERS)
    last = again.attempts[1]
    assert (last.kill_at, last.kill_last_at, last.kill_reason) == (NOW, NOW + 10, Reason.HUNG_TAIL)


def settled(status: JobStatus, attempt: int = 2, kind: ActionKind = ActionKind.REQUEUE) -> Settle:
    verdict = Verdict(status, Reason.SUCCEEDED, "words", NOW)
    return Settle(
        kind, "p/a", attempt, Reason.SUCCEEDED, "words", "local", verdict=verdict, retry_at=NOW + 9, generation="g1",
        started_at=NOW - 5, ended_at=NOW - 1, exit_code=3, pid=42,
    )  # fmt: skip


def test_a_failure_is_kept_with_its_attempt() -> None:
    record = settle(TWO, settled(JobStatus.FAILED_OTHER))
    last = record.attempts[1]
    assert last.verdict is not None
    assert (last.retry_at, last.started_at, last.ended_at, last.exit_code, last.pid) == (
        NOW + 9,
        NOW - 5,
        NOW - 1,
        3,
        42,
    )
    assert record.completed is None
    assert record.attempts[0] == TWO.attempts[0]


def test_a_success_completes_the_job_for_its_generation() -> None:
    record = settle(TWO, settled(JobStatus.COMPLETED))
    assert record.completed == record.attempts[1].verdict
    assert record.generation == "g1"


def test_attempt_0_completes_a_job_that_nothing_is_known_of() -> None:
    record = settle(None, settled(JobStatus.COMPLETED, attempt=0))
    assert (record.key, record.attempts, record.generation) == ("p/a", (), "g1")
    assert record.completed is not None
