from __future__ import annotations

import pytest

from reconciler.view.estimate import job_left_words, median, phase_left_s, project_left_s, typical_s
from tests.unit.view import factories as f


@pytest.mark.parametrize(("values", "middle"), [([3], 3), ([4, 1], 2.5), ([9, 1, 2], 2)])
def test_median(values: list[float], middle: float) -> None:
    assert median(values) == middle


def world(
    finished_min: list[int], running_min: list[int], waiting: int, *, slots: int = 2, reason: str = "NoFreeSlot"
) -> f.Snapshot:
    """A phase with jobs that took, have been running for, these minutes."""
    ids = [f"j{i}" for i in range(len(finished_min) + len(running_min) + waiting)]
    wanted = f.desired(f.project("p", {"main": ids}, max_parallel=slots))
    names = iter(ids)
    records, states = [], []
    for minutes in finished_min:
        key = f"p/{next(names)}"
        records.append(f.record(f.ended(key, "10:00", f"10:{minutes:02d}")))
        states.append(f.state(key, "completed", "Succeeded", "exit 0", attempt=1))
    for minutes in running_min:
        key = f"p/{next(names)}"
        records.append(f.record(f.attempt(key, started_at=f.NOW - 60 * minutes)))
        states.append(f.state(key, "running", "Running", "running", attempt=1))
    states += [f.state(f"p/{name}", "pending", reason) for name in names]
    return f.snapshot(wanted, f.plan(wanted, states), f.ledger(*records))


@pytest.mark.parametrize(
    ("finished", "running", "waiting", "minutes"),
    [
        ([], [3], 5, None),
        ([10, 12, 50], [], 0, 0),
        ([10, 12, 50], [2, 4], 3, (10 + 8 + 3 * 12) / 2),
        ([10, 12, 50], [2], 0, 10),
        ([10], [30], 0, 0),
        ([10], [], 4, 20),
        ([10], [], 1, 10),
        ([10], [9, 1], 0, 9),
    ],
    ids=["no data", "done", "two slots", "one left", "overdue", "none runs now", "fewer than slots", "the longest"],
)
def test_phase(finished: list[int], running: list[int], waiting: int, minutes: float | None) -> None:
    left = phase_left_s(world(finished, running, waiting), "p", "main")
    assert left == (None if minutes is None else pytest.approx(60 * minutes))


def test_jobs_behind_a_stuck_one_are_not_waited_for() -> None:
    behind = world([10], [], 4, reason="NeedsStuck")
    assert (phase_left_s(behind, "p", "main"), project_left_s(behind, "p")) == (None, None)
    beside = world([10], [4], 4, reason="NeedsStuck")
    assert (phase_left_s(beside, "p", "main"), project_left_s(beside, "p")) == (6 * 60, 6 * 60)


@pytest.mark.parametrize(
    ("finished", "minutes", "words"),
    [([], 3, ""), ([10], 4, "about 6 min left"), ([10], 12, "longer than the others took (about 10 min)")],
)
def test_a_job(finished: list[int], minutes: int, words: str) -> None:
    snapshot = world(finished, [minutes], 0)
    running = snapshot.plan.states[f"p/j{len(finished)}"]
    assert job_left_words(snapshot, running, typical_s(snapshot, snapshot.plan.states.values())) == words


def test_how_long_one_hung_tells_nothing() -> None:
    wanted = f.desired(f.project("p", {"main": ["a"]}))
    state = f.state("p/a", "completed", "HungTail", attempt=1)
    snapshot = f.snapshot(wanted, f.plan(wanted, [state]), f.ledger(f.record(f.ended("p/a", "10:00", "10:10"))))
    assert typical_s(snapshot, [state]) is None


def test_a_project_is_its_longest_chain() -> None:
    phases = {"z": ["z1", "z2"], "a": ["a1", "a2"], "side": ["s1", "s2"]}
    wanted = f.desired(f.project("p", phases, {"z": ["a"]}, max_parallel=1))
    minutes = {"a": 10, "z": 5, "side": 12}
    records, states = [], []
    for phase, (first, second) in phases.items():
        records.append(f.record(f.ended(f"p/{first}", "10:00", f"10:{minutes[phase]:02d}")))
        states.append(f.state(f"p/{first}", "completed", "Succeeded", "", phase))
        states.append(f.state(f"p/{second}", "pending", "NoFreeSlot", "", phase))
    snapshot = f.snapshot(wanted, f.plan(wanted, states), f.ledger(*records))
    assert project_left_s(snapshot, "p") == 15 * 60
    assert project_left_s(f.snapshot(wanted, f.plan(wanted, states)), "p") is None
