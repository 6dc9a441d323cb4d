"""Random campaigns: a seed gives a scenario, faults and a schedule. A seed that fails is shrunk to what it needs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from tests.sim.acts import Act, happenings_of, random_acts
from tests.sim.explore import Tally, fault_free, judge, replay_line
from tests.sim.faults import KINDS, Fault
from tests.sim.run import Result, Run
from tests.sim.scenarios import ALL

FAULTS_MAX = 6
ALL_KINDS = tuple(dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds))


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that decides a run. `lost_events`: the share of wake-ups that never come."""

    scenario: str
    seed: int
    faults: tuple[Fault, ...] = ()
    lost_events: float = 0.0
    acts: tuple[Act, ...] = ()
    """With acts, only the promises are judged, not the comparison with a run without faults."""

    def line(self) -> str:
        """What to type to see it again."""
        line = replay_line(self.scenario, self.seed, self.faults)
        line += f" --lost-events {self.lost_events}" if self.lost_events else ""
        return line + (" --acts " + ",".join(f"{at}:{name}" for at, name in self.acts) if self.acts else "")

    def run(self, *, record: bool = False) -> Run:
        """Its world, at the start."""
        scenario = ALL[self.scenario]
        if self.acts:
            merged = sorted((*scenario.happenings, *happenings_of(self.acts)), key=lambda entry: entry[0])
            scenario = replace(scenario, happenings=tuple(merged), mixed=True)
        run = Run(scenario, self.seed, self.faults, record=record)
        run.lost_events = self.lost_events
        return run

    def judge(self, result: Result) -> list[str]:
        """What was wrong."""
        if self.acts:
            return list(result.violations)
        return judge(ALL[self.scenario], fault_free(self.scenario), result)


def case_of(seed: int) -> Case:
    """The case that a seed stands for."""
    rng = Random(seed)
    name = rng.choice(sorted(ALL))
    count = rng.choice((0, 1, 1, 2, 2, 3, FAULTS_MAX))
    wanted = dict(_random_fault(rng, fault_free(name)) for _ in range(count))
    faults = tuple(Fault(at, kind) for at, kind in sorted(wanted.items()))
    acts = random_acts(rng) if rng.random() < 0.5 else ()
    return Case(name, seed, faults, rng.choice((0.0, 0.0, 0.5, 1.0)), acts)


def _random_fault(rng: Random, without: Result) -> tuple[int, str]:
    """An operation, and mostly something that can happen to what was done there in the run without faults."""
    at = rng.randint(1, int(without.operations * 1.3))
    fitting = KINDS[without.record[at - 1][0]] if at <= len(without.record) else ALL_KINDS
    return at, rng.choice(fitting if rng.random() < 0.8 else ALL_KINDS)


def run_case(case: Case) -> tuple[Result, list[str]]:
    """Run it; what was wrong."""
    fault_free(case.scenario)
    result = case.run().go()
    return result, case.judge(result)


def shrink(case: Case) -> Case:
    """The same failure with as few faults as possible, and events that arrive, if it fails so too."""
    smaller = True
    while smaller:
        smaller = False
        for fewer in _smaller(case):
            if run_case(fewer)[1]:
                case, smaller = fewer, True
                break
    return case


def _smaller(case: Case) -> Iterable[Case]:
    for index in range(len(case.faults)):
        yield replace(case, faults=case.faults[:index] + case.faults[index + 1 :])
    for index in range(len(case.acts)):
        yield replace(case, acts=case.acts[:index] + case.acts[index + 1 :])
    if case.lost_events:
        yield replace(case, lost_events=0.0)
    if case.seed:
        yield replace(case, seed=0)


def campaign(
    first_seed: int,
    *,
    seeds: int | None = None,
    ticks: int | None = None,
    seconds: float | None = None,
    stop_after: int = 5,
) -> Tally:
    """Seeds from `first_seed` on: so many, until so many ticks are tried, or for so long (wall-clock seconds)."""
    tally = Tally()
    began = time.perf_counter()
    seed = first_seed
    while (
        (seeds is None or seed < first_seed + seeds)
        and (ticks is None or tally.ticks < ticks)
        and (seconds is None or time.perf_counter() - began < seconds)
    ):
        case = case_of(seed)
        result, wrong = run_case(case)
        tally.count(result)
        if wrong:
            small = shrink(case)
            again = run_case(small)[1]
            tally.failures.append(f"{small.line()}\n    {'; '.join(again[:3])}  (seed {seed})")
            if len(tally.failures) >= stop_after:
                break
        seed += 1
    tally.seconds = time.perf_counter() - began
    return tally
