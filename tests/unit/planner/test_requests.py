"""What users ask for, as changes of the ledger, and what the next plan makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.enums import ActionKind, JobStatus, Reason, RequestKind
from reconciler.model.facts import AttemptFacts
from reconciler.model.ledger import AttemptRecord, Ledger, Request
from reconciler.model.plan import Plan
from reconciler.planner.plan import plan
from reconciler.planner.requests import apply_requests, with_requests
from tests.unit import factories as make
from tests.unit.factories import NOW

RETRY, STOP, PAUSE, RESUME = RequestKind.RETRY, RequestKind.STOP, RequestKind.PAUSE, RequestKind.RESUME


def ask(kind: RequestKind, target: str = "p/a", at: float = NOW) -> Request:
    return Request(f"{kind}-{target}-{at}", kind, target, "ann", at)


def applied(ledger: Ledger, *kinds: RequestKind) -> Ledger:
    return with_requests(ledger, [ask(kind) for kind in kinds])


def test_no_request_no_change() -> None:
    ledger = make.ledger(make.record(make.over(1)))
    assert with_requests(ledger, ()) is ledger


@pytest.mark.parametrize(
    ("kinds", "stopped_by", "retry_after"),
    [
        ((STOP,), "ann", 0),
        ((RETRY,), None, 1),
        ((STOP, RETRY), None, 1),
        ((RETRY, STOP), "ann", 1),
        ((RETRY, RETRY), None, 1),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value),
)
def test_stop_and_retry_of_a_failed_job(kinds, stopped_by, retry_after) -> None:
    record = applied(make.ledger(make.record(make.over(1))), *kinds).jobs["p/a"]
    assert (record.stopped_by, record.retry_after) == (stopped_by, retry_after)


@pytest.mark.parametrize("kind", [RETRY, STOP])
def test_what_is_completed_stays_so(kind: RequestKind) -> None:
    ledger = make.ledger(make.completed("p/a"))
    assert applied(ledger, kind).jobs == ledger.jobs


@pytest.mark.parametrize("kind", [RETRY, STOP])
def test_retry_and_stop_make_no_record_of_a_project(kind: RequestKind) -> None:
    assert apply_requests(make.ledger(), [ask(kind, "p")]).jobs == {}


@pytest.mark.parametrize(
    ("kinds", "paused"), [((PAUSE,), {"p/a"}), ((PAUSE, RESUME), set()), ((RESUME, PAUSE), {"p/a"})]
)
def test_pause_and_resume(kinds, paused) -> None:
    assert applied(make.ledger(), *kinds).paused == paused


def test_pausing_keeps_what_else_is_paused() -> None:
    assert applied(make.ledger(paused=frozenset({"q"})), PAUSE).paused == {"q", "p/a"}


def test_applying_twice_changes_nothing_more() -> None:
    once = applied(make.ledger(make.record(make.over(1))), STOP, RETRY, PAUSE)
    assert applied(once, STOP, RETRY, PAUSE) == once


# --- at every moment of a job's life: what a retry leads to

OPEN = make.attempt()
ASKED = replace(OPEN, kill_at=NOW - 2, kill_last_at=NOW - 2, kill_reason=Reason.STOPPED_BY_USER)


def looked(ledger: Ledger, facts: AttemptFacts | None) -> Plan:
    desired = make.desired(make.project(make.job()))
    attempts = {} if facts is None else {"p/a/1": facts}
    return plan(desired, make.observed(make.seen(desired, attempts=attempts)), ledger, NOW)


@pytest.mark.parametrize(
    ("attempt", "facts", "kind"),
    [
        pytest.param(make.over(1), None, ActionKind.LAUNCH, id="stuck"),
        pytest.param(make.over(1, Reason.GPU_OUT_OF_MEMORY, retry_at=NOW + 60), None, ActionKind.LAUNCH, id="delay"),
        pytest.param(OPEN, make.ended(1), ActionKind.REQUEUE, id="failed-but-not-yet-recorded"),
        pytest.param(ASKED, make.ended(143), ActionKind.REQUEUE, id="stopped-but-not-yet-recorded"),
        pytest.param(OPEN, make.ended(0), ActionKind.COMPLETE, id="done-but-not-yet-recorded"),
    ],
)
def test_retry_is_never_lost(attempt: AttemptRecord, facts: AttemptFacts | None, kind: ActionKind) -> None:
    result = looked(applied(make.ledger(make.record(attempt)), RETRY), facts)
    assert make.the_action(result).kind is kind
    assert result.alerts == ()
    assert result.states["p/a"].status is not JobStatus.STUCK


def test_retry_does_not_count_for_attempts_that_came_after_it() -> None:
    ledger = make.ledger(make.record(make.over(1), make.attempt(2, intended_at=NOW + 5)))
    assert with_requests(ledger, [ask(RETRY, at=NOW)]).jobs["p/a"].retry_after == 1


def test_retry_of_a_stopped_job_that_never_ran() -> None:
    ledger = applied(make.ledger(), STOP)
    assert looked(ledger, None).actions == ()
    assert make.launches(looked(applied(ledger, RETRY), None)) == ["p/a"]


@pytest.mark.parametrize(
    ("facts", "kind", "status"),
    [
        pytest.param(make.running(), ActionKind.KILL, JobStatus.RUNNING, id="running"),
        pytest.param(make.ended(0), ActionKind.COMPLETE, JobStatus.COMPLETED, id="just-done"),
        pytest.param(make.ended(1), ActionKind.FAIL, JobStatus.STUCK, id="just-failed"),
        pytest.param(
            make.ended(1, log_tail="MemoryError\n"), ActionKind.FAIL, JobStatus.STUCK, id="just-failed-would-be-retried"
        ),
    ],
)
def test_stop_of_an_open_attempt(facts: AttemptFacts, kind: ActionKind, status: JobStatus) -> None:
    result = looked(applied(make.ledger(make.record(OPEN)), STOP), facts)
    assert make.the_action(result).kind is kind
    assert result.states["p/a"].status is status


def test_stop_then_retry_before_the_loop_looked_lets_it_run() -> None:
    assert looked(applied(make.ledger(make.record(OPEN)), STOP, RETRY), make.running()).actions == ()
