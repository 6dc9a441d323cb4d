"""What is launched, as what, and why the others wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import JobStatus, LauncherKind, Reason
from reconciler.model.facts import PreconditionFacts, Unknown
from reconciler.model.ledger import JobRecord, Ledger
from reconciler.model.names import SESSION_NAME_MAX_BYTES
from reconciler.model.plan import Launch, Plan
from reconciler.model.spec import Job
from reconciler.planner.plan import plan
from tests.unit import factories as make
from tests.unit.factories import NOW

JOB = make.job(outputs=("out.json",))


def planned(*jobs: Job, ledger: Ledger | None = None, project: dict[str, Any] | None = None, **view: Any) -> Plan:
    desired = make.desired(make.project(*jobs, **project or {}))
    return plan(desired, make.observed(make.seen(desired, **view)), ledger or make.ledger(), NOW)


def launched(result: Plan) -> Launch:
    action = make.the_action(result)
    assert isinstance(action, Launch)
    return action


def test_a_new_job() -> None:
    action = launched(planned(JOB))
    record = action.record
    assert record is not None
    assert (action.attempt, action.reason, action.message) == (1, Reason.NEW_IN_SPEC, "new in spec")
    assert (record.path, record.session, record.launcher) == ("p/a/1", "exq.p.a.1", "screen")
    assert (record.generation, record.revision, record.intended_at) == ("g1", "rev1", NOW)
    assert (record.launched, record.verdict, record.released) == (False, None, False)


@pytest.mark.parametrize(
    ("records", "number"),
    [
        pytest.param((1,), 2, id="after-1"),
        pytest.param((1, 2, 9), 10, id="after-9"),
        pytest.param((2, 10), 11, id="by-number-not-by-text"),
    ],
)
def test_numbers_are_never_used_again(records: tuple[int, ...], number: int) -> None:
    attempts = [make.over(n, retry_at=NOW - 1) for n in records]
    assert launched(planned(JOB, ledger=make.ledger(make.record(*attempts)))).attempt == number


def test_not_even_those_of_another_generation() -> None:
    ledger = make.ledger(make.record(make.over(3, generation="g0")))
    action = launched(planned(JOB, ledger=ledger))
    assert (action.attempt, action.reason) == (4, Reason.COMMAND_CHANGED)


@pytest.mark.parametrize(
    ("launcher", "installed", "session"),
    [
        (LauncherKind.AUTO, True, "exq.p.a.1"),
        (LauncherKind.AUTO, False, None),
        (LauncherKind.SCREEN, True, "exq.p.a.1"),
        (LauncherKind.PROCESS, True, None),
    ],
)
def test_launcher(launcher: LauncherKind, installed: bool, session: str | None) -> None:
    action = launched(planned(JOB, project={"launcher": launcher}, screen_installed=installed))
    assert action.record is not None
    assert action.record.session == session
    assert action.record.launcher == ("screen" if session else "process")


def test_a_session_name_stays_within_what_screen_takes() -> None:
    long = [make.job("x" * 200 + end) for end in "ab"]
    names = [a.record.session for a in planned(*long).actions if isinstance(a, Launch) and a.record]
    assert all(name is not None and len(name.encode()) <= SESSION_NAME_MAX_BYTES for name in names)
    assert len(set(names)) == 2


def test_the_outputs_of_now_are_remembered_as_old() -> None:
    ledger = make.ledger(make.record(make.over(1, retry_at=NOW - 1)))
    action = launched(planned(JOB, ledger=ledger, outputs={"p/a": make.outputs("left")}))
    assert action.record is not None
    assert action.record.outputs_before == ("left",)


@pytest.mark.parametrize("retry", [False, True], ids=["first", "again"])
def test_outputs_of_another_look_are_not_enough(retry: bool) -> None:
    ledger = make.ledger(*[make.record(make.over(1, retry_at=NOW - 1))] * retry)
    result = planned(JOB, ledger=ledger, asked=frozenset())
    assert result.actions == ()
    assert result.wanted == ("p/a",)
    assert result.wake_at == NOW
    assert result.states["p/a"].status is JobStatus.PENDING


def test_a_job_that_is_looked_at_next_keeps_its_place() -> None:
    second = make.job("b", outputs=("b.json",))
    result = planned(JOB, second, project={"max_parallel": 1}, asked=frozenset({"p/b"}))
    assert make.launches(result) == []
    assert result.wanted == ("p/a",)
    assert result.states["p/b"].reason is Reason.NO_FREE_SLOT


def test_a_job_without_outputs_and_preconditions_needs_no_look() -> None:
    assert make.launches(planned(make.job(), asked=frozenset())) == ["p/a"]


def test_only_jobs_with_room_are_looked_at_next() -> None:
    many = [make.job(f"j{n}", outputs=("x",)) for n in range(50)]
    assert planned(*many, asked=frozenset()).wanted == ("p/j0", "p/j1")


def test_outputs_that_got_no_answer_do_not_make_the_loop_spin() -> None:
    desired = make.desired(make.project(JOB))
    view = make.view(asked=frozenset({"p/a"}))
    result = plan(desired, make.observed(view), make.ledger(), NOW)
    assert (make.launches(result), result.wanted) == ([], ())
    assert result.wake_at is not None
    assert result.wake_at > NOW


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param({"outputs": {"p/a": Unknown("EIO")}}, Reason.OUTPUT_UNKNOWN, id="outputs"),
        pytest.param({"preconditions": {"p/a": (Unknown("EIO"),)}}, Reason.PRECONDITION_UNKNOWN, id="preconditions"),
        pytest.param(
            {"preconditions": {"p/a": (PreconditionFacts(False, "no x"),)}}, Reason.PRECONDITION_NOT_MET, id="unmet"
        ),
        pytest.param({}, Reason.PRECONDITION_UNKNOWN, id="preconditions-not-looked-at"),
    ],
)
def test_one_blocked_job_holds_up_no_other(view: dict[str, Any], reason: Reason) -> None:
    blocked = replace(JOB, preconditions=(make.needs_file("x"),))
    result = planned(blocked, make.job("b"), project={"max_parallel": 1}, **view)
    assert make.launches(result) == ["p/b"]
    assert result.states["p/a"].reason is reason


@pytest.mark.parametrize(("paused", "whom"), [("p", "p"), ("p/a", "p/a")], ids=["project", "job"])
def test_paused(paused: str, whom: str) -> None:
    result = planned(JOB, ledger=make.ledger(paused=frozenset({paused})))
    assert result.actions == ()
    state = result.states["p/a"]
    assert (state.reason, state.message) == (Reason.PAUSED, f"{whom} is paused; exq resume {whom} lifts that")
    assert not result.settled


def test_pausing_touches_nothing_that_runs() -> None:
    live = make.attempt()
    ledger = make.ledger(make.record(live), paused=frozenset({"p"}))
    result = planned(JOB, ledger=ledger, attempts={live.path: make.running()})
    assert result.actions == ()
    assert result.states["p/a"].status is JobStatus.RUNNING


@pytest.mark.parametrize(
    "earlier",
    [
        pytest.param((make.over(1, released=False, retry_at=NOW - 1),), id="the-last"),
        pytest.param((make.over(1, released=False), make.over(2, retry_at=NOW - 1)), id="an-older-one"),
    ],
)
def test_an_attempt_that_has_not_let_go_holds_the_next(earlier: tuple[Any, ...]) -> None:
    ledger = make.ledger(make.record(*earlier))
    result = planned(JOB, ledger=ledger, attempts={"p/a/1": Unknown("EIO")})
    assert make.launches(result) == []
    assert result.states["p/a"].message == "attempt 1 has not let go yet"


class TestRetryDelay:
    def waiting(self, retry_in_s: float, reason: Reason = Reason.GPU_OUT_OF_MEMORY) -> Plan:
        ledger = make.ledger(make.record(make.over(1, reason, retry_at=NOW + retry_in_s)))
        return planned(JOB, ledger=ledger)

    def test_the_failure_is_shown_until_then(self) -> None:
        result = self.waiting(60.0)
        state = result.states["p/a"]
        assert (state.status, state.reason, state.until) == (
            JobStatus.FAILED_OOM,
            Reason.GPU_OUT_OF_MEMORY,
            NOW + 60.0,
        )
        assert result.wake_at == NOW + 60.0

    def test_a_lost_launch_is_no_failure_of_the_job(self) -> None:
        assert self.waiting(60.0, Reason.LAUNCH_LOST).states["p/a"].status is JobStatus.PENDING

    @pytest.mark.parametrize("retry_in_s", [0.0, -1.0], ids=["now", "past"])
    def test_then_it_is_launched(self, retry_in_s: float) -> None:
        action = launched(self.waiting(retry_in_s))
        assert action.reason is Reason.REQUEUED
        assert action.message == "again after GpuOutOfMemory in attempt 1 (try 2)"

    def test_a_clock_set_back_a_day_does_not_make_it_a_day(self) -> None:
        assert launched(self.waiting(86_400.0)).attempt == 2


@pytest.mark.parametrize(
    ("record", "status", "reason"),
    [
        pytest.param(make.completed("p/a"), JobStatus.COMPLETED, Reason.SUCCEEDED, id="completed"),
        pytest.param(make.completed("p/a", "g0"), JobStatus.COMPLETED, Reason.SUCCEEDED, id="completed-then-edited"),
        pytest.param(make.record(make.over(1)), JobStatus.STUCK, Reason.CODE_ERROR, id="failed-for-good"),
        pytest.param(JobRecord("p/a", stopped_by="ann"), JobStatus.STUCK, Reason.STOPPED_BY_USER, id="stopped"),
        pytest.param(
            make.record(make.over(1, generation="g0"), stopped_by="ann"),
            JobStatus.STUCK,
            Reason.STOPPED_BY_USER,
            id="stopped-then-edited",
        ),
    ],
)
def test_what_rests(record: JobRecord, status: JobStatus, reason: Reason) -> None:
    result = planned(JOB, ledger=make.ledger(record))
    assert result.actions == ()
    assert (result.states["p/a"].status, result.states["p/a"].reason) == (status, reason)
    assert (result.settled, result.wake_at) == (True, None)


def test_drift_of_a_completed_job_is_reported() -> None:
    state = planned(JOB, ledger=make.ledger(make.completed("p/a", "g0"))).states["p/a"]
    assert state.drift
    assert "its command changed" in state.message


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(make.record(make.over(1), retry_after=1), Reason.RETRY_REQUESTED, id="retry"),
        pytest.param(make.record(make.over(1, generation="g0")), Reason.COMMAND_CHANGED, id="edited"),
        pytest.param(
            make.record(make.over(1, generation="g0", retry_at=NOW + 60)), Reason.COMMAND_CHANGED, id="edited-in-delay"
        ),
        pytest.param(
            make.record(make.over(1, retry_at=NOW + 60), retry_after=1), Reason.RETRY_REQUESTED, id="retry-in-delay"
        ),
    ],
)
def test_what_moves_a_job_on(record: JobRecord, reason: Reason) -> None:
    assert launched(planned(JOB, ledger=make.ledger(record))).reason is reason


def test_going_back_to_a_command_that_failed_is_stuck_again() -> None:
    ledger = make.ledger(make.record(make.over(1), make.over(2, generation="g2")))
    state = planned(JOB, ledger=ledger).states["p/a"]
    assert (state.status, state.attempt) == (JobStatus.STUCK, 1)


def test_no_command() -> None:
    result = planned(make.job(cmd=""))
    assert result.actions == ()
    assert (result.states["p/a"].status, result.states["p/a"].reason) == (JobStatus.STUCK, Reason.NO_COMMAND)


def test_outputs_that_were_there_before_any_attempt() -> None:
    (settle,) = make.settles(planned(JOB, outputs={"p/a": make.outputs("there")}))
    assert (settle.attempt, settle.reason, settle.generation) == (0, Reason.OUTPUT_EXISTS, "g1")
    assert settle.verdict is not None
    assert settle.verdict.status is JobStatus.COMPLETED


def test_outputs_that_are_there_after_a_failure_do_not_complete_it() -> None:
    ledger = make.ledger(make.record(make.over(1)))
    assert planned(JOB, ledger=ledger, outputs={"p/a": make.outputs("there")}).actions == ()


def test_a_stuck_message_counts_the_tries() -> None:
    tries = [make.over(n, Reason.GPU_OUT_OF_MEMORY) for n in (1, 2, 3)]
    ledger = make.ledger(make.record(*tries, make.over(4, Reason.LAUNCH_LOST)))
    assert planned(JOB, ledger=ledger).states["p/a"].message == "because of LaunchLost, after 3 attempts"


@pytest.mark.parametrize(
    ("first", "changes", "since"),
    [
        pytest.param({}, {"retry_after": 1}, "since the last retry", id="retried"),
        pytest.param({"generation": "g0"}, {}, "since its command changed", id="changed"),
    ],
)
def test_and_says_since_when_they_count(first: dict[str, Any], changes: dict[str, Any], since: str) -> None:
    tries = [make.over(1, **first), make.over(2), make.over(3)]
    ledger = make.ledger(make.record(*tries, **changes))
    assert planned(JOB, ledger=ledger).states["p/a"].message == f"because of CodeError, after 2 attempts {since}"


def test_a_screen_that_is_left_is_named() -> None:
    left = make.over(1, released=False, retry_at=NOW - 1, ended_at=NOW - 1)
    ledger = make.ledger(make.record(left))
    result = planned(JOB, ledger=ledger, attempts={left.path: make.ended()}, sessions=(make.session(left),))
    assert result.states["p/a"].message == "attempt 1 has ended, its screen is still there"
