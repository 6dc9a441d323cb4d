"""Sorting a plan for display in one pass over its jobs: what is acted on, what is held, what is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.model.enums import ActionKind, JobStatus
from reconciler.model.plan import Action, JobState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look

Place = tuple[str, str]
"""Project and phase."""

NOT_IN_SPECS: Place = "", ""
"""Where the jobs stand that no spec asks for."""


Alike = list[JobState]
"""Jobs of one phase that stand the same way for the same reason; never empty."""


@dataclass(slots=True)
class Sorted:
    """`summary` counts actions by kind, and the jobs without an action by where they stand."""

    actions: dict[Place, list[Action]]
    holds: list[Alike]
    drifted: list[Alike]
    orphans: list[JobState]
    summary: dict[str, int]
    total: int

    def first(self, what: str) -> str | None:
        """The key of the first job that is `stuck` or `waiting`."""
        for alike in self.holds:
            if (alike[0].status is JobStatus.STUCK) == (what == "stuck"):
                return alike[0].job
        return None


def place_of(action: Action, snapshot: Snapshot) -> Place:
    """The project and phase an action belongs to."""
    if action.job not in snapshot.desired.index and not look.is_analysis(action.job):
        return NOT_IN_SPECS
    state = snapshot.plan.states.get(action.job)
    return (state.project, state.phase) if state else (action.job.partition("/")[0], "")


def sort_plan(snapshot: Snapshot) -> Sorted:
    """Every job falls in exactly one class: acted on, waiting, stuck, unchanged (running or completed)."""
    actions: dict[Place, list[Action]] = {}
    for action in snapshot.plan.actions:
        actions.setdefault(place_of(action, snapshot), []).append(action)
    acted = {action.job for action in snapshot.plan.actions}
    orphans: list[JobState] = []
    held: list[JobState] = []
    drifted: list[JobState] = []
    tally = dict.fromkeys(JobStatus, 0)
    asked_for = snapshot.desired.index
    for state in snapshot.plan.states.values():
        if state.job in acted:
            continue
        if state.job not in asked_for:
            orphans += [] if look.is_analysis(state.job) else [state]
            continue
        status = state.status
        tally[status] += 1
        if status is not JobStatus.RUNNING and status is not JobStatus.COMPLETED:
            held.append(state)
        elif state.drift:
            drifted.append(state)
    summary = _summary(snapshot, tally)
    total = sum(key in asked_for for key in snapshot.plan.states)
    return Sorted(actions, draw_together(held), draw_together(drifted), orphans, summary, total)


def draw_together(states: Iterable[JobState]) -> list[Alike]:
    """Jobs with the same phase, status, reason, message and time, in the order of the first of each."""
    found: dict[tuple[object, ...], Alike] = {}
    for state in states:
        # plain strings: hashing an enum member costs a Python call
        status, reason = state.status._value_, state.reason._value_
        key = (state.project, state.phase, status, reason, state.message, state.until)
        found.setdefault(key, []).append(state)
    return list(found.values())


def _summary(snapshot: Snapshot, tally: dict[JobStatus, int]) -> dict[str, int]:
    kinds = [action.kind for action in snapshot.plan.actions]
    numbers = {
        str(kind): kinds.count(kind)
        for kind in (
            ActionKind.LAUNCH,
            ActionKind.REQUEUE,
            ActionKind.KILL,
            ActionKind.COMPLETE,
            ActionKind.ADOPT,
            ActionKind.FAIL,
        )
    }
    running, completed, stuck = tally[JobStatus.RUNNING], tally[JobStatus.COMPLETED], tally[JobStatus.STUCK]
    return {
        **numbers,
        "waiting": sum(tally.values()) - running - completed - stuck,
        "stuck": stuck,
        "unchanged": running + completed,
        "running": running,
        "completed": completed,
    }
