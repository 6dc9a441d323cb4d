"""The name of a plan covers what it does, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import ActionKind, Reason
from reconciler.model.plan import Action, Kill, Launch, Milestone, Plan, Settle, Transfer
from reconciler.planner.plan import plan
from reconciler.planner.plan_id import plan_id
from tests.unit import factories as make
from tests.unit.factories import NOW

JOBS = make.desired(make.project(make.job("a"), make.job("b")))


def launch(**changes: Any) -> Launch:
    own = changes.pop("record", {})
    record = replace(make.attempt(1, launched=False, gpus=("GPU-0",)), **own)
    plain = Launch(ActionKind.LAUNCH, "p/a", 1, Reason.NEW_IN_SPEC, "new", "local", ("GPU-0",), (0,), record)
    return replace(plain, **changes)


SETTLE = Settle(ActionKind.REQUEUE, "p/b", 1, Reason.CODE_ERROR, "exit 1", "local", retry_at=NOW)
KILL = Kill(ActionKind.KILL, "p/c", 1, Reason.STALE_SCREEN, "its screen is left", "local", sessions=("7.exq.p.c.1",))
TRANSFER = Transfer("p/d", 1, "gpu1", "gpu2", "/work", ("out.json",))


def named(*actions: Action, **others: Any) -> str:
    return plan_id(Plan("", actions, {}, **others))


FIRST = named(launch(), SETTLE, KILL)


@pytest.mark.parametrize(
    "other",
    [
        launch(kind=ActionKind.ADOPT),
        launch(job="p/z"),
        launch(attempt=2),
        launch(reason=Reason.REQUEUED),
        launch(host="gpu2"),
        launch(gpus=("GPU-1",)),
        launch(gpus=()),
        launch(record={"generation": "g2"}),
        launch(record={"launcher": "process", "session": None}),
        launch(record={"pin": "c0ffee for this"}),
    ],
    ids=["kind", "job", "attempt", "reason", "host", "gpu", "no gpu", "generation", "launcher", "commit"],
)
def test_another_launch_is_another_plan(other: Launch) -> None:
    assert named(other, SETTLE, KILL) != FIRST


@pytest.mark.parametrize(
    "same",
    [
        launch(message="in other words"),
        launch(record={"intended_at": NOW + 99, "revision": "rev2", "daemon": "9-x", "outputs_before": ("print",)}),
    ],
    ids=["message", "what is only noted"],
)
def test_words_and_times_make_no_other_plan(same: Launch) -> None:
    assert named(same, SETTLE, KILL) == FIRST


def test_the_order_does_not_matter_and_what_is_left_out_does() -> None:
    assert named(KILL, launch(), SETTLE) == FIRST
    assert len({FIRST, named(launch(), SETTLE), named(launch()), named()}) == 4


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTLE, revoke=True),
        replace(SETTLE, generation="g2"),
        replace(SETTLE, kind=ActionKind.FAIL),
        replace(KILL, force=True),
        replace(KILL, sessions=("8.exq.p.c.1",)),
    ],
)
def test_another_end_is_another_plan(other: Action) -> None:
    kept = [action for action in (launch(), SETTLE, KILL) if action.job != other.job]
    assert named(*kept, other) != FIRST


def test_when_a_retry_is_due_is_a_time_and_makes_no_other_plan() -> None:
    assert named(launch(), replace(SETTLE, retry_at=NOW + 5), KILL) == FIRST


@pytest.mark.parametrize(
    "others",
    [
        {"transfers": (TRANSFER,)},
        {"transfers": (replace(TRANSFER, place="gpu3"),)},
        {"milestones": (Milestone("p", settled=False),)},
        {"milestones": (Milestone("p", settled=True),)},
        {"pins": {"p/e": "c0ffee x"}},
    ],
)
def test_what_a_plan_does_besides_its_actions_counts(others: dict[str, Any]) -> None:
    every = [{}, *[{"transfers": (TRANSFER,)}, {"milestones": (Milestone("p", settled=True),)}]]
    assert named(launch(), **others) not in {named(launch(), **each) for each in every if each != others}


def test_neither_the_text_of_the_specs_nor_the_time_is_in_it() -> None:
    view, ledger = make.observed(make.seen(JOBS)), make.ledger()
    first = plan(JOBS, view, ledger, NOW)
    again = plan(replace(JOBS, version="v2", revision="rev2"), view, ledger, NOW + 3600)
    assert first.actions
    assert again.plan_id == first.plan_id


def test_what_a_waiting_job_runs_is_not_in_it_yet() -> None:
    """`exq apply` compares the specs besides."""
    one = make.desired(make.project(make.job("a"), make.job("b"), max_parallel=1))
    two = make.desired(make.project(make.job("a"), make.job("b", generation="g2"), max_parallel=1))
    ids = [plan(each, make.observed(make.seen(each)), make.ledger(), NOW).plan_id for each in (one, two)]
    assert ids[0] == ids[1]
