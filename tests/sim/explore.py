"""Every single fault in a scenario, pairs of them, and random campaigns; each failure is one line that replays it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random

from tests.sim.faults import COSTS_ATTEMPTS, KINDS, Fault
from tests.sim.run import Result, Run
from tests.sim.scenarios import ALL, Scenario

Faults = Sequence[Fault]


@dataclass(slots=True)
class Tally:
    """What was tried. `failures` are lines: how to replay, and what was wrong."""

    runs: int = 0
    ticks: int = 0
    operations: int = 0
    faults: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, result: Result) -> None:
        """One more run."""
        self.runs += 1
        self.ticks += result.ticks
        self.operations += result.operations
        self.faults += len(result.hit)

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.ticks += other.ticks
        self.operations += other.operations
        self.faults += other.faults
        self.failures += other.failures
        self.seconds += other.seconds


@cache
def fault_free(name: str) -> Result:
    """The run that all others are measured against."""
    return Run(ALL[name], record=True).go()


def replay_line(name: str, seed: int, faults: Iterable[Fault]) -> str:
    """What to type to see it again."""
    given = ",".join(map(str, faults))
    return f"python -m tests.sim replay {name} --seed {seed}" + (f" --faults {given}" if given else "")


def judge(scenario: Scenario, base: Result, result: Result) -> list[str]:
    """What a run did wrong, compared with the fault-free one too."""
    wrong = list(result.violations)
    costly = result.disasters - base.disasters + sum(fault.kind in COSTS_ATTEMPTS for fault in result.hit)
    for key, count in result.starts.items():
        if key[1] not in scenario.racy and count > base.starts.get(key, 0) + costly + result.forgotten:
            wrong.append(f"S6: {key[1]} ran {count} times, without faults {base.starts.get(key, 0)}")
    if not wrong:
        for key, status in base.ends.items():
            if key[1] in scenario.racy:
                continue
            got = result.ends.get(key, "missing")
            if costly and got == "completed":
                continue  # its exit code was lost, and its output decided
            if got != status:
                wrong.append(f"L1: {key[1]} ended {got}, without faults {status}")
    return wrong


def attempt(name: str, faults: Faults, seed: int = 0, audit_every: int = 7) -> tuple[Result, list[str]]:
    """One run with faults."""
    scenario = ALL[name]
    result = Run(scenario, seed, faults, audit_every=audit_every).go()
    return result, judge(scenario, fault_free(name), result)


def single_faults(name: str) -> Iterator[Fault]:
    """Everything that can happen at each operation of the fault-free run."""
    for number, (group, _) in enumerate(fault_free(name).record, 1):
        for kind in KINDS[group]:
            yield Fault(number, kind)


def run_all(name: str, plans: Iterable[Faults], seed: int = 0, stop_after: int = 10) -> Tally:
    """Run each plan; stop when there are many failures."""
    tally = Tally()
    began = time.perf_counter()
    for faults in plans:
        result, wrong = attempt(name, faults, seed)
        tally.count(result)
        if wrong:
            tally.failures.append(f"{replay_line(name, seed, faults)}\n    {'; '.join(wrong[:3])}")
            if len(tally.failures) >= stop_after:
                break
    tally.seconds = time.perf_counter() - began
    return tally


def all_singles(name: str, stop_after: int = 10) -> Tally:
    """Every single fault of a scenario."""
    return run_all(name, ([fault] for fault in single_faults(name)), stop_after=stop_after)


def second_faults(name: str, first: Fault) -> list[Fault]:
    """All that can happen after a first fault, at each operation of the run as that fault made it."""
    record = Run(ALL[name], 0, [first], record=True).go().record
    later = enumerate(record[first.at :], first.at + 1)
    return [Fault(number, kind) for number, (group, _) in later for kind in KINDS[group]]


def pairs(name: str, count: int | None = None, seed: int = 0, *, part: int = 0, parts: int = 1) -> Iterator[Faults]:
    """All pairs of faults, or `count` of them chosen by `seed`; of these those of one `part` of `parts`."""
    firsts = list(single_faults(name))
    if count is None:
        for first in firsts[part::parts]:
            yield from ([first, second] for second in second_faults(name, first))
        return
    for number in range(part, count, parts):
        rng = Random(f"{seed} {number}")
        first = rng.choice(firsts)
        later = second_faults(name, first)
        yield [first, *([rng.choice(later)] if later else [])]
