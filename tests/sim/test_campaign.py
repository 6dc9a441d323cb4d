"""Random campaigns with fixed seeds; and that a seed means the same run every time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.acts import ACTS
from tests.sim.campaign import Case, campaign, case_of, run_case, shrink
from tests.sim.explore import fault_free
from tests.sim.faults import Fault
from tests.sim.mutants import MUTANTS, applied
from tests.sim.run import Run
from tests.sim.scenarios import Scenario, spec

SEEDS = 400


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [1, 1 + SEEDS])
def test_random_seeds_break_no_promise(first: int) -> None:
    tally = campaign(first, seeds=SEEDS)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.runs == SEEDS
    assert tally.faults > SEEDS / 2


def test_a_seed_is_one_run() -> None:
    for seed in (3, 14, 159):
        case = case_of(seed)
        assert case == case_of(seed)
        first, again = case.run(record=True).go(), case.run(record=True).go()
        assert first.record == again.record
        assert (first.starts, first.ends, first.ticks) == (again.starts, again.ends, again.ticks)


def test_seeds_differ() -> None:
    cases = [case_of(seed) for seed in range(200)]
    assert len({case.scenario for case in cases}) > 10
    assert {name for case in cases for _, name in case.acts} == set(ACTS)
    assert any(case.faults for case in cases)
    assert any(case.lost_events for case in cases)


def test_a_failing_case_is_shrunk_to_what_it_needs() -> None:
    fault_free("oom")
    clutter = (Fault(12, "hang"), Fault(40, "fail"), Fault(90, "crash-after"))
    case = Case("oom", 5, clutter, 0.5, ((3.0, "reboot"), (4.0, "kill-loops")))
    with applied(MUTANTS["a job's own failures do not count"]):
        without = replace(case, acts=())
        assert run_case(without)[1]
        small = shrink(without)
    assert (small.faults, small.lost_events, small.seed) == ((), 0.0, 0)
    assert small.line() == "python -m tests.sim replay oom --seed 0"


def test_a_line_names_everything() -> None:
    case = Case("tiny", 4, (Fault(7, "fail"),), 0.5, ((1.5, "reboot"),))
    assert case.line() == "python -m tests.sim replay tiny --seed 4 --faults 7:fail --lost-events 0.5 --acts 1.5:reboot"


@pytest.mark.parametrize("act", ACTS)
def test_every_act_can_happen_in_the_middle_of_a_run(act: str) -> None:
    result, wrong = run_case(Case("projects", 1, acts=((1.5, act), (2.5, act))))
    assert wrong == []
    assert result.ticks > 3


def test_a_world_that_never_settles_is_found() -> None:
    """The oracle of convergence itself: a loop that cannot do anything does not pass for one that is done."""
    with applied(MUTANTS["what ignores SIGTERM is never forced"]):
        run = Run(Scenario("deaf", "", {"deaf.yaml": spec("deaf", {"a": "deaf 1"})}))
        assert any(text.startswith("L1") for text in run.go().violations)
