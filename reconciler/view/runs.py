"""One run of a project: its attempts and times. What a report says is all of one run."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.enums import JobStatus
from reconciler.model.ledger import AttemptRecord, JobRecord, ProjectRun
from reconciler.model.plan import JobState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look


def run_of(snapshot: Snapshot, project: str) -> ProjectRun | None:
    """The newest run of a project; where none is recorded, all its attempts so far; None when nothing ran."""
    known = snapshot.ledger.runs.get(project)
    if known is not None:
        return known
    records = (look.record_of(snapshot, state.job) for state in look.jobs_of(snapshot, project))
    starts = [attempt.intended_at for record in records for attempt in record.attempts]
    return ProjectRun(project, 0, min(starts), "") if starts else None


def run_name(run: ProjectRun | None) -> str:
    """`run 2`; nothing for the first one, which goes without saying."""
    return f"run {run.number}" if run is not None and run.number > 1 else ""


def run_end(snapshot: Snapshot, run: ProjectRun) -> float:
    """When it settled; `now` while it has not."""
    return snapshot.now if run.settled_at is None else run.settled_at


def attempts_in(record: JobRecord, run: ProjectRun | None) -> list[AttemptRecord]:
    """A job's attempts of that run."""
    return [a for a in record.attempts if run is not None and a.intended_at >= run.started_at]


def run_span(snapshot: Snapshot, jobs: Sequence[JobState], run: ProjectRun | None) -> tuple[float, float] | None:
    """From the first start to the last end of any attempt of these jobs in the run, `now` for one that still runs."""
    attempts = [a for state in jobs for a in attempts_in(look.record_of(snapshot, state.job), run)]
    starts = [start for a in attempts if (start := look.started_at(snapshot, a)) is not None]
    if run is None or not starts:
        return None
    ends = [snapshot.now if (end := look.ended_at(a)) is None else end for a in attempts]
    # file times and the loop's clock differ a little: no part of a run is longer than the run
    start = max(min(starts), run.started_at)
    return start, max(start, min(max(ends), run_end(snapshot, run)))


def oom_retries(snapshot: Snapshot, key: str, run: ProjectRun | None) -> int:
    """How many attempts of the run were queued by exq itself because the one before ran out of memory."""
    record = look.record_of(snapshot, key)
    pairs = zip(record.attempts, record.attempts[1:], strict=False)
    inside = {attempt.number for attempt in attempts_in(record, run)}
    return sum(again.number in inside and _requeued(first, again, record) for first, again in pairs)


def _requeued(first: AttemptRecord, again: AttemptRecord, record: JobRecord) -> bool:
    """Without a time for the next try it was stuck: then a user, or another command, brought it back."""
    out_of_memory = first.verdict is not None and first.verdict.status is JobStatus.FAILED_OOM
    asked_for = first.number == record.retry_after or first.generation != again.generation
    return out_of_memory and first.retry_at is not None and not asked_for
