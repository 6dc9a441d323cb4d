"""What is asked of a host: all that is open, and the jobs that could start next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import Reason
from reconciler.model.facts import HostView, Observed, PreconditionFacts, Unknown
from reconciler.model.ledger import JobRecord, Ledger
from reconciler.model.needs import AttemptNeed, Needs
from reconciler.model.spec import Desired, Placement
from reconciler.planner.needs import NEXT_UP_MIN, ROTATION_MAX, needs
from tests.unit import factories as make
from tests.unit.factories import NOW


def batch(count: int, **changes: Any) -> Desired:
    jobs = [make.job(f"j{n:06}", **{"outputs": (f"{n}.json",), **changes}) for n in range(count)]
    return make.desired(make.project(*jobs))


def asked(
    desired: Desired, ledger: Ledger | None = None, before: HostView | None = None, *, full: bool = True, **more: Any
) -> Needs:
    previous = Observed({make.HOST: before}) if before is not None else None
    return needs(desired, ledger or make.ledger(), previous, make.HOST, full=full, **{"turn": 0, **more})


def met(desired: Desired, *unmet: str) -> dict[str, tuple[PreconditionFacts, ...]]:
    return {j.key: (PreconditionFacts(j.key not in unmet),) for j in desired.jobs() if j.preconditions}


def test_the_first_look_asks_for_everything() -> None:
    desired = batch(1_000, preconditions=(make.needs_file("x"),))
    wanted = asked(desired)
    assert (len(wanted.outputs), len(wanted.preconditions)) == (1_000, 1_000)
    assert (wanted.sessions, wanted.gpus, wanted.disk, wanted.strays) == (True, False, True, True)


@pytest.mark.parametrize(("full", "count"), [(True, NEXT_UP_MIN + ROTATION_MAX), (False, NEXT_UP_MIN)])
def test_later_looks_ask_for_the_next_and_a_share_of_the_rest(full: bool, count: int) -> None:
    desired = batch(100_000)
    assert len(asked(desired, before=make.seen(desired), full=full, turn=1).outputs) == count


def test_the_next_are_those_in_front() -> None:
    desired = batch(1_000)
    wanted = asked(desired, before=make.seen(desired), full=False)
    assert list(wanted.outputs) == list(desired.index)[:NEXT_UP_MIN]


def test_many_slots_widen_the_window() -> None:
    project = make.project(*batch(1_000).jobs(), max_parallel=50)
    desired = make.desired(project)
    assert len(asked(desired, before=make.seen(desired), full=False).outputs) == 200


def test_turns_reach_every_waiting_job() -> None:
    desired = batch(2_000)
    looked: set[str] = set()
    for turn in range(9):
        looked |= set(asked(desired, before=make.seen(desired), turn=turn).outputs)
    assert looked == set(desired.index)


@pytest.mark.parametrize("kept", ["paused", "blocked", "unknown", "unreleased"])
def test_those_that_cannot_start_take_no_place_in_front(kept: str) -> None:
    desired = batch(100, preconditions=(make.needs_file("x"),))
    front = list(desired.index)[:60]
    before = make.seen(desired, preconditions=met(desired))
    ledger = make.ledger()
    if kept == "paused":
        ledger = make.ledger(paused=frozenset(front))
    elif kept == "blocked":
        before = make.seen(desired, preconditions=met(desired, *front))
    elif kept == "unknown":
        before = replace(before, outputs={**before.outputs, **{key: Unknown("EIO") for key in front}})
    else:
        left = [make.record(make.over(1, key=key, released=False, retry_at=NOW)) for key in front]
        ledger = make.ledger(*left)
    wanted = asked(desired, ledger, before, full=False)
    assert list(wanted.outputs) == list(desired.index)[60 : 60 + NEXT_UP_MIN]


def test_what_the_last_plan_wants_is_asked_for_in_any_case() -> None:
    desired = batch(1_000, preconditions=(make.needs_file("x"),))
    before = make.seen(desired, preconditions=met(desired))
    wanted = asked(desired, before=before, full=False, wanted=("p/j000999", "gone/x"))
    assert "p/j000999" in wanted.outputs
    assert "p/j000999" in wanted.preconditions


def test_nothing_is_asked_of_a_host_about_another() -> None:
    desired = make.desired(make.project(make.job(outputs=("x",)), placements=(Placement("far"),)))
    wanted = needs(desired, make.ledger(), None, make.HOST, full=True, turn=0, wanted=("p/a",))
    assert (dict(wanted.outputs), wanted.attempts) == ({}, ())


@pytest.mark.parametrize(
    ("record", "waits"),
    [
        (JobRecord("p/a"), True),
        (make.completed("p/a"), False),
        (JobRecord("p/a", stopped_by="ann"), False),
        (make.record(make.over(1)), False),
        (make.record(make.over(1, retry_at=NOW)), True),
        (make.record(make.over(1), retry_after=1), True),
        (make.record(make.over(1, generation="g0")), True),
    ],
    ids=["new", "completed", "stopped", "stuck", "retried", "retry-asked", "edited"],
)
def test_only_jobs_that_may_start_are_looked_at(record: JobRecord, waits: bool) -> None:
    desired = make.desired(make.project(make.job(outputs=("x",))))
    assert bool(asked(desired, make.ledger(record)).outputs) is waits


class TestOpenAttempts:
    desired = make.desired(make.project(make.job(outputs=("x",))))

    def test_a_live_one_is_read_with_its_log_and_outputs(self) -> None:
        wanted = asked(self.desired, make.ledger(make.record(make.attempt())), full=False)
        assert wanted.attempts == (AttemptNeed("p/a/1", tail=True, scan=False),)
        assert list(wanted.outputs) == ["p/a"]

    def test_one_that_is_being_ended_is_searched_for_in_all_processes(self) -> None:
        ending = make.attempt(kill_at=NOW, kill_reason=Reason.STOPPED_BY_USER)
        assert asked(self.desired, make.ledger(make.record(ending))).attempts == (AttemptNeed("p/a/1", True, True),)

    @pytest.mark.parametrize(("full", "attempts"), [(True, 1), (False, 0)])
    def test_one_that_is_over_is_left_to_full_looks(self, full: bool, attempts: int) -> None:
        ledger = make.ledger(make.record(make.over(1, released=False)))
        assert len(asked(self.desired, ledger, make.view(), full=full).attempts) == attempts

    def test_one_on_another_host_is_not_asked_for_here(self) -> None:
        assert asked(self.desired, make.ledger(make.record(make.attempt(host="far")))).attempts == ()

    def test_gpus_are_read_while_an_attempt_holds_one_whatever_the_specs_say_now(self) -> None:
        held = make.ledger(make.record(make.attempt(gpus=("GPU-0",), gpu_indices=(0,))))
        assert asked(self.desired, held).gpus


class TestPhases:
    phases = (
        make.phase("one", [make.job("t")]),
        make.phase("two", [make.job("s", outputs=("s",), preconditions=(make.needs_file("t"),))], "one"),
    )
    desired = make.desired(make.project(phases=phases))

    def test_preconditions_of_a_closed_phase_are_not_run(self) -> None:
        wanted = asked(self.desired)
        assert (list(wanted.outputs), list(wanted.preconditions)) == (["p/s"], [])

    def test_once_it_opens_they_are(self) -> None:
        ledger = make.ledger(make.completed("p/t"))
        wanted = asked(self.desired, ledger, make.seen(self.desired), full=False)
        assert list(wanted.preconditions) == ["p/s"]

    def test_until_then_such_a_job_does_not_count_as_looked_at(self) -> None:
        before = make.seen(self.desired, preconditions={"p/s": (PreconditionFacts(True),)})
        assert list(asked(self.desired, before=before).outputs) == []


def test_no_gpu_project_no_nvidia_smi() -> None:
    with_gpu = make.desired(make.gpu_project(make.job()))
    assert asked(with_gpu).gpus
    assert not asked(make.desired(make.project(make.job()))).gpus
