"""Phase gates: completed needs open a phase, nothing else does."""

from __future__ import annotations

import pytest

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import PreconditionFacts, Unknown
from reconciler.model.ledger import JobRecord
from reconciler.model.plan import Plan
from reconciler.model.spec import Phase
from reconciler.planner.phases import in_dependency_order
from reconciler.planner.plan import plan
from tests.unit import factories as make
from tests.unit.factories import NOW

TEACHERS = make.phase("teachers", [make.job("t1"), make.job("t2")])
STUDENTS = make.phase("students", [make.job("s1")], "teachers")
REPORT = make.phase("report", [make.job("r1")], "students")


def planned(*records: JobRecord, phases: tuple[Phase, ...] = (TEACHERS, STUDENTS, REPORT)) -> Plan:
    desired = make.desired(make.project(phases=phases, max_parallel=8))
    return plan(desired, make.observed(make.seen(desired)), make.ledger(*records), NOW)


DONE = [make.completed("p/t1"), make.completed("p/t2")]
RUNNING_T2 = make.record(make.attempt(1, "p/t2"))
STUCK_T2 = make.record(make.over(1, key="p/t2"))
RETRYING_T2 = make.record(make.over(1, Reason.GPU_OUT_OF_MEMORY, "p/t2", retry_at=NOW + 60))


@pytest.mark.parametrize(
    ("records", "opens", "reason"),
    [
        pytest.param([], False, Reason.PHASE_NOT_READY, id="nothing-yet"),
        pytest.param(DONE[:1], False, Reason.PHASE_NOT_READY, id="half"),
        pytest.param([DONE[0], RUNNING_T2], False, Reason.PHASE_NOT_READY, id="running"),
        pytest.param([DONE[0], RETRYING_T2], False, Reason.PHASE_NOT_READY, id="waits-for-retry"),
        pytest.param([DONE[0], STUCK_T2], False, Reason.NEEDS_STUCK, id="stuck-is-not-completed"),
        pytest.param([DONE[0], JobRecord("p/t2", stopped_by="ann")], False, Reason.NEEDS_STUCK, id="stopped"),
        pytest.param([make.completed("p/t1", "g0"), DONE[1]], True, None, id="completed-with-an-older-command"),
        pytest.param(DONE, True, None, id="completed"),
    ],
)
def test_gate(records: list[JobRecord], opens: bool, reason: Reason | None) -> None:
    result = planned(*records)
    assert ("p/s1" in make.launches(result)) is opens
    if reason is not None:
        assert result.states["p/s1"].reason is reason
        assert result.states["p/s1"].status is JobStatus.PENDING


def test_the_message_counts_what_is_missing() -> None:
    assert planned(DONE[0]).states["p/s1"].message == "waits for teachers (1 of 2 completed)"


def test_a_stuck_need_is_named_down_the_chain() -> None:
    states = planned(DONE[0], STUCK_T2).states
    assert states["p/s1"].message == "teachers has t2 stuck (because of CodeError)"
    assert states["p/r1"].reason is Reason.NEEDS_STUCK
    assert "teachers has t2 stuck" in states["p/r1"].message


def test_a_phase_opens_in_the_plan_that_completes_its_last_need() -> None:
    last = make.attempt(1, "p/t2")
    desired = make.desired(make.project(phases=(TEACHERS, STUDENTS), max_parallel=8))
    view = make.seen(desired, attempts={last.path: make.ended(0)})
    result = plan(desired, make.observed(view), make.ledger(DONE[0], make.record(last)), NOW)
    assert make.launches(result) == ["p/s1"]
    assert result.phases[1].open


def test_but_not_before_its_preconditions_were_looked_at() -> None:
    last = make.attempt(1, "p/t2")
    student = make.job("s1", outputs=("s1.json",), preconditions=(make.needs_file("t2.pt"),))
    desired = make.desired(make.project(phases=(TEACHERS, make.phase("students", [student], "teachers"))))
    view = make.seen(desired, attempts={last.path: make.ended(0)})
    result = plan(desired, make.observed(view), make.ledger(DONE[0], make.record(last)), NOW)
    assert make.launches(result) == []
    assert result.states["p/s1"].reason is Reason.PRECONDITION_UNKNOWN
    assert result.wake_at is not None
    assert result.wake_at <= NOW + 1


def test_outputs_that_exist_complete_a_job_of_a_closed_phase() -> None:
    phases = (TEACHERS, make.phase("students", [make.job("s1", outputs=("s1.json",))], "teachers"))
    desired = make.desired(make.project(phases=phases))
    view = make.seen(desired, outputs={"p/s1": make.outputs("there")})
    result = plan(desired, make.observed(view), make.ledger(), NOW)
    assert result.states["p/s1"].reason is Reason.OUTPUT_EXISTS


def test_phases_may_be_listed_in_any_order() -> None:
    phases = (REPORT, STUDENTS, TEACHERS)
    assert [p.name for p in in_dependency_order(make.project(phases=phases))] == ["teachers", "students", "report"]
    assert make.launches(planned(phases=phases)) == ["p/t1", "p/t2"]
    assert [p.phase for p in planned(phases=phases).phases] == ["report", "students", "teachers"]


def test_a_phase_without_jobs_holds_nothing() -> None:
    empty = make.phase("empty", [])
    phases = (empty, make.phase("next", [make.job("n")], "empty"))
    assert make.launches(planned(phases=phases)) == ["p/n"]


def test_a_phase_needs_all_that_it_names() -> None:
    both = make.phase("both", [make.job("b")], "teachers", "other")
    phases = (TEACHERS, make.phase("other", [make.job("o")]), both)
    assert planned(*DONE, phases=phases).states["p/b"].message == "waits for other (0 of 1 completed)"


def test_counts() -> None:
    counts = planned(DONE[0], STUCK_T2).phases[0].counts
    assert counts == {JobStatus.COMPLETED: 1, JobStatus.STUCK: 1}


def test_a_precondition_that_is_not_met_is_said() -> None:
    check = make.needs_file("x.pt")
    desired = make.desired(make.project(make.job(preconditions=(check, check))))
    unmet = (PreconditionFacts(False, "x.pt is missing"), PreconditionFacts(False, "y.pt is missing"))
    view = make.seen(desired, preconditions={"p/a": unmet})
    state = plan(desired, make.observed(view), make.ledger(), NOW).states["p/a"]
    assert (state.reason, state.message) == (Reason.PRECONDITION_NOT_MET, "x.pt is missing; y.pt is missing")

    view = make.seen(desired, preconditions={"p/a": (PreconditionFacts(True), Unknown("timed out"))})
    result = plan(desired, make.observed(view), make.ledger(), NOW)
    assert result.states["p/a"].reason is Reason.PRECONDITION_UNKNOWN
    assert "timed out" in result.unknown[0]

    view = make.seen(desired, preconditions={"p/a": (PreconditionFacts(True), PreconditionFacts(True))})
    assert make.launches(plan(desired, make.observed(view), make.ledger(), NOW)) == ["p/a"]
