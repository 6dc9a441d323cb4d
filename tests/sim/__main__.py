"""`python -m tests.sim`: replay a run, try all single faults or pairs of a scenario, or random seeds for some time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tests.sim.acts import Act
from tests.sim.campaign import Case, campaign, case_of, run_case
from tests.sim.explore import Tally, all_singles, fault_free, pairs, run_all
from tests.sim.faults import Fault
from tests.sim.quick import hurried
from tests.sim.run import Run
from tests.sim.scenarios import ALL, SCENARIOS

T = TypeVar("T")


def main(argv: Sequence[str]) -> int:
    """0 when no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seed", type=int, help="replay the case of a random campaign")
    parser.add_argument("--workers", type=int, default=2, help="processes for singles, pairs and soak")
    verbs = parser.add_subparsers(dest="verb")
    replay = verbs.add_parser("replay", help="one run of a scenario with given faults, told step by step")
    replay.add_argument("scenario", choices=sorted(ALL))
    replay.add_argument("--seed", type=int, default=0, dest="run_seed")
    replay.add_argument("--faults", default="")
    replay.add_argument("--lost-events", type=float, default=0.0)
    replay.add_argument("--acts", default="")
    singles = verbs.add_parser("singles", help="every single fault of the scenarios")
    singles.add_argument("scenario", nargs="*", choices=[*sorted(ALL), []])
    both = verbs.add_parser("pairs", help="all pairs of faults of a scenario, or some")
    both.add_argument("scenario", choices=sorted(ALL), nargs="?", default="tiny")
    both.add_argument("--count", type=int)
    soak = verbs.add_parser("soak", help="random seeds")
    soak.add_argument("--seconds", type=float, default=60.0)
    soak.add_argument("--ticks", type=int, help="so many of them, however long it takes")
    soak.add_argument("--from", type=int, default=1, dest="first")
    verbs.add_parser("speed", help="ticks a second of a scenario with 20 jobs")
    args = parser.parse_args(argv)
    with hurried():
        code = _carry_out(args)
    if code is None:
        parser.print_help()
    return 2 if code is None else code


def _carry_out(args: argparse.Namespace) -> int | None:
    if args.verb == "replay":
        faults = tuple(Fault.parse(text) for text in args.faults.split(",") if text)
        acts = tuple(_act(text) for text in args.acts.split(",") if text)
        return _replay(Case(args.scenario, args.run_seed, faults, args.lost_events, acts))
    if args.verb == "singles":
        return _report(_spread(args.workers, all_singles, args.scenario or list(SCENARIOS)), "single faults")
    if args.verb == "pairs":
        shards = [(args.scenario, args.count, shard, args.workers) for shard in range(args.workers)]
        return _report(_spread(args.workers, _pairs, shards), f"pairs of faults in {args.scenario}")
    if args.verb == "soak":
        ticks = args.ticks and args.ticks // args.workers
        starts = [(args.first + shard * 10_000_000, args.seconds, ticks) for shard in range(args.workers)]
        return _report(_spread(args.workers, _soak, starts), "random runs")
    if args.verb == "speed":
        return _speed()
    if args.seed is not None:
        return _replay(case_of(args.seed))
    return None


def _spread(workers: int, work: Callable[[T], Tally], shards: Iterable[T]) -> Tally:
    whole = Tally()
    with ProcessPoolExecutor(workers) as pool:
        for tally in pool.map(work, shards):
            whole.add(tally)
    return whole


def _pairs(shard: tuple[str, int | None, int, int]) -> Tally:
    name, count, part, parts = shard
    return run_all(name, pairs(name, count, part=part, parts=parts))


def _soak(shard: tuple[int, float, int | None]) -> Tally:
    first, seconds, ticks = shard
    return campaign(first, ticks=ticks) if ticks else campaign(first, seconds=seconds)


def _report(tally: Tally, what: str) -> int:
    for failure in tally.failures:
        print(failure)
    speed = tally.ticks / tally.seconds if tally.seconds else 0.0
    print(
        f"{tally.runs:,} {what}: {tally.ticks:,} ticks, {tally.operations:,} operations, {tally.faults:,} faults, "
        f"{len(tally.failures)} failures ({speed:,.0f} ticks a second on one core)"
    )
    return 1 if tally.failures else 0


def _replay(case: Case) -> int:
    fault_free(case.scenario)
    run = case.run(record=True)
    result = run.go()
    print(case.line())
    for fault in result.hit:
        group, name = result.record[fault.at - 1]
        print(f"  fault {fault}: {group} {name}")
    for daemon in run.daemons:
        print(f"loop on {daemon.state}: {daemon.lives} lives, {daemon.ticks} ticks")
        for event, fields in daemon.audit.lines:
            told = {key: value for key, value in fields.items() if key not in ("plan_id", "revision", "host")}
            print(f"  {event} {told}")
    for start in run.machine.starts:
        print(f"  ran {start.attempt} of {start.state} on {', '.join(start.gpus) or 'no GPU'}")
    wrong = case.judge(result)
    print("\n".join(f"WRONG {text}" for text in wrong) or "no promise was broken")
    assert run_case(case)[1] == wrong, "the same case came out differently: the simulation is not deterministic"
    return 1 if wrong else 0


def _act(text: str) -> Act:
    at, _, name = text.partition(":")
    return float(at), name


def _speed() -> int:
    from time import process_time

    Run(ALL["twenty"], audit_every=0).go()  # all is loaded, and the specs are read
    ticks, began = 0, process_time()
    while process_time() - began < 5.0:
        ticks += Run(ALL["twenty"], ticks, audit_every=0).go().ticks
    print(f"{ticks / (process_time() - began):,.0f} ticks a second of processor time, 20 jobs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
