"""How long it may still take, from what the finished attempts took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.times import about_left, spoken

_UNFINISHED = (JobStatus.PENDING, JobStatus.FAILED_OOM, JobStatus.FAILED_OTHER)
_WAITS_FOR_A_PERSON = (Reason.NEEDS_STUCK, Reason.PAUSED, Reason.NO_SUCH_GPU)


def median(values: Sequence[float]) -> float:
    """The middle value (the standard library's `statistics` costs a start-up 10 ms). Raises IndexError on none."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def typical_s(snapshot: Snapshot, jobs: Iterable[JobState]) -> float | None:
    """The median duration of the completed attempts of these jobs; None without any."""
    durations = []
    for state in jobs:
        attempt = look.record_of(snapshot, state.job).last
        hung = state.reason is Reason.HUNG_TAIL  # what it took was the waiting for it
        if state.status is JobStatus.COMPLETED and not hung and attempt and attempt.started_at and attempt.ended_at:
            durations.append(attempt.ended_at - attempt.started_at)
    return median(durations) if durations else None


def job_left_s(snapshot: Snapshot, state: JobState, typical: float | None) -> float | None:
    """What a running job has left if it takes as long as its phase's typical one; never negative."""
    attempt = look.record_of(snapshot, state.job).last
    start = look.started_at(snapshot, attempt) if attempt else None
    if typical is None or start is None:
        return typical
    return max(0.0, typical - (snapshot.now - start))


def job_left_words(snapshot: Snapshot, state: JobState, typical: float | None) -> str:
    """`about 9 min left`, or that it takes longer than the others did; nothing where they tell nothing."""
    left = job_left_s(snapshot, state, typical)
    if left is None or typical is None:
        return ""
    return about_left(left) if left >= 1 else f"longer than the others took (about {spoken(typical)})"


def phase_left_s(snapshot: Snapshot, project: str, phase: str) -> float | None:
    """Seconds until every job of a phase has run, at the parallelism of now; 0 when it is done.

    None without data, and for work that only a person can move."""
    jobs = look.jobs_of(snapshot, project, phase)
    if any(state.is_hold for state in jobs) and not any(_moves(state) for state in jobs):
        return None
    return _left(snapshot, project, jobs)


def _moves(state: JobState) -> bool:
    """It runs, or will run without anybody's doing."""
    waits = state.status in _UNFINISHED and state.reason not in _WAITS_FOR_A_PERSON
    return waits or state.status is JobStatus.RUNNING


def any_runs(snapshot: Snapshot) -> bool:
    """Some job of the specs runs."""
    return any(phase.counts.get(JobStatus.RUNNING) for phase in snapshot.plan.phases)


def _left(snapshot: Snapshot, project: str, jobs: Sequence[JobState]) -> float | None:
    running = [state for state in jobs if state.status is JobStatus.RUNNING]
    waiting = sum(_moves(state) for state in jobs) - len(running)
    if not running and not waiting:
        return 0.0
    typical = typical_s(snapshot, jobs)
    if typical is None:
        return None
    residuals = [job_left_s(snapshot, state, typical) or 0.0 for state in running]
    slots = len(running) or _slots(snapshot, project)
    work = sum(residuals) + waiting * typical
    return max([work / max(1, min(slots, len(running) + waiting)), *residuals])


def _slots(snapshot: Snapshot, project: str) -> int:
    """How many jobs a project may run at a time when none runs now."""
    spec = snapshot.desired.projects.get(project)
    if spec is None:
        return 1
    there = sum(look.room_on(snapshot, spec, placement) or 0 for placement in spec.placements)
    limit = spec.max_parallel
    return (min(limit, there) if limit and there else limit or there) or 1


def project_left_s(snapshot: Snapshot, project: str) -> float | None:
    """Seconds until a project is through: the longest chain of phases; None while a phase on it has no data.

    Work that only a person can move is left out; where there is no other, None."""
    phases = [phase for phase in snapshot.plan.phases if phase.project == project]
    if any(_has_no_data(phase) for phase in phases):
        return None
    by_phase: dict[str, list[JobState]] = {}
    jobs = look.jobs_of(snapshot, project)
    if not any(_moves(state) for state in jobs):
        return None
    for state in jobs:
        by_phase.setdefault(state.phase, []).append(state)
    finish: dict[str, float] = {}
    for phase in in_order(phases):
        left = _left(snapshot, project, by_phase.get(phase.phase, []))
        if left is None:
            return None
        finish[phase.phase] = left + max((finish.get(need, 0.0) for need in phase.depends_on), default=0.0)
    return max(finish.values(), default=None)


def _has_no_data(phase: PhaseState) -> bool:
    """Something of it runs and nothing is completed: told from its counts, without going through its jobs."""
    return not phase.counts.get(JobStatus.COMPLETED) and bool(phase.counts.get(JobStatus.RUNNING))


def in_order(phases: Sequence[PhaseState]) -> list[PhaseState]:
    """Phases with every one behind those it needs."""
    ordered: list[PhaseState] = []
    waiting = list(phases)
    names = {phase.phase for phase in phases}
    while waiting:
        placed = {phase.phase for phase in ordered}
        ready = [p for p in waiting if all(need in placed or need not in names for need in p.depends_on)]
        ordered += ready or waiting
        waiting = [p for p in waiting if p not in ordered]
    return ordered
