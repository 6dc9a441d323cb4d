"""Phase gates: a phase opens when every job of every phase it needs is completed."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.spec import Phase, Project
from reconciler.planner.draft import Draft, counts_of


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a phase is open; if not, why."""

    open: bool
    reason: Reason = Reason.PHASE_NOT_READY
    message: str = ""


def in_dependency_order(project: Project) -> tuple[Phase, ...]:
    """The project's phases, each after those it needs, otherwise in spec order."""
    done: dict[str, Phase] = {}
    by_name = {phase.name: phase for phase in project.phases}

    def visit(phase: Phase) -> None:
        if phase.name in done:
            return
        for need in phase.depends_on:
            visit(by_name[need])
        done[phase.name] = phase

    for phase in project.phases:
        visit(phase)
    return tuple(done.values())


def gate_of(draft: Draft, project: Project, phase: Phase, gates: dict[str, Gate]) -> Gate:
    """Judge one phase. The phases it needs have been judged, and their jobs have states."""
    waits: list[str] = []
    blocked: list[str] = []
    for name in phase.depends_on:
        needed = next(p for p in project.phases if p.name == name)
        counts = counts_of(draft.states, needed.jobs)
        completed = counts.get(JobStatus.COMPLETED, 0)
        if completed == len(needed.jobs):
            continue
        waits.append(f"{name} ({completed} of {len(needed.jobs)} completed)")
        if counts.get(JobStatus.STUCK, 0):
            blocked.append(f"{name} has {_stuck(draft, needed)}")
        elif gates[name].reason is Reason.NEEDS_STUCK and not gates[name].open:
            blocked.append(f"{name} is blocked: {gates[name].message}")
    if not waits:
        return Gate(open=True)
    if blocked:
        return Gate(open=False, reason=Reason.NEEDS_STUCK, message="; ".join(blocked))
    return Gate(open=False, message=f"waits for {', '.join(waits)}")


def _stuck(draft: Draft, phase: Phase) -> str:
    stuck = [j for j in phase.jobs if draft.states[j.key].status is JobStatus.STUCK]
    first = draft.states[stuck[0].key]
    more = f" and {len(stuck) - 1} more stuck" if len(stuck) > 1 else " stuck"
    return f"{stuck[0].id}{more} ({first.message})"


def phase_state(draft: Draft, project: Project, phase: Phase, gate: Gate) -> PhaseState:
    """The phase as the views show it."""
    counts = counts_of(draft.states, phase.jobs)
    return PhaseState(project.name, phase.name, phase.depends_on, gate.open, counts, gate.message)


def blocked_for_good(state: JobState) -> bool:
    """The job will not move again unless a person does something."""
    return state.status in (JobStatus.COMPLETED, JobStatus.STUCK) or state.reason is Reason.NEEDS_STUCK
