"""What to ask a host before deciding: everything that is open, and the jobs that could start next."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.model.ledger import JobRecord, Ledger
from reconciler.model.needs import AttemptNeed, Needs
from reconciler.model.spec import Desired, Job, Phase, Project
from reconciler.planner.backoff import counted_attempts
from reconciler.planner.draft import host_of

ROTATION_MAX = 256
"""How many waiting jobs are looked at again in one full look, besides those that are next."""

NEXT_UP_MIN = 32
"""How many of the jobs that are next in line are looked at every time."""


def needs(
    desired: Desired,
    ledger: Ledger,
    previous: Observed | None,
    host: str,
    *,
    full: bool,
    turn: int,
    wanted: Collection[str] = (),
) -> Needs:
    """One request for one host. `wanted` is that of the last plan: those jobs are looked at in any case.

    A full look asks for all probes. A short one, after an event, asks for what an ended attempt changes: live
    attempts and the jobs next in line (and the GPUs, where a project uses them). `turn` counts full looks: waiting
    jobs that are not next in line are looked at again in turns, so that a look costs the same at 100,000 jobs."""
    attempts = tuple(
        AttemptNeed(path, tail=record.verdict is None, scan=record.verdict is not None or record.kill_at is not None)
        for path, record in sorted(ledger.open_attempts.items())
        if record.host == host and (full or record.verdict is None)
    )
    outputs: dict[str, Job] = {}
    preconditions: dict[str, Job] = {}
    for record in ledger.open_attempts.values():
        job = desired.index.get(record.job)
        if job is not None and record.verdict is None and record.host == host and job.outputs:
            outputs[job.key] = job
    for key in wanted:
        job = desired.index.get(key)
        if job is not None and host_of(desired.projects[job.project]) == host:
            outputs.update({key: job} if job.outputs else {})
            preconditions.update({key: job} if job.preconditions else {})
    uses_gpus = any(record.gpus and record.host == host for record in ledger.open_attempts.values())
    for project in desired.projects.values():
        if host_of(project) == host:
            uses_gpus = uses_gpus or project.gpu_pool is not None
            for job, is_open in _window(desired, project, ledger, previous, full=full, turn=turn):
                if job.outputs:
                    outputs[job.key] = job
                if job.preconditions and is_open:
                    preconditions[job.key] = job
    short_screens = uses_gpus and bool(ledger.open_attempts)
    return Needs(
        attempts=attempts,
        outputs=outputs,
        preconditions=preconditions,
        sessions=full or short_screens,
        gpus=uses_gpus,
        disk=True,
        strays=full,
    )


def _window(
    desired: Desired, project: Project, ledger: Ledger, previous: Observed | None, *, full: bool, turn: int
) -> Iterator[tuple[Job, bool]]:
    view = previous.hosts.get(host_of(project)) if previous is not None else None
    known = view if isinstance(view, HostView) else None
    waiting = list(_waiting(desired, project, ledger))
    if known is None:
        yield from waiting
        return
    next_up = max(NEXT_UP_MIN, 4 * (project.max_parallel or 16))
    unreleased = {record.job for record in ledger.open_attempts.values()}
    rest: list[tuple[Job, bool]] = []
    for job, is_open in waiting:
        if (job.outputs and job.key not in known.outputs) or (is_open and _unchecked(known, job)):
            yield job, is_open
        elif is_open and next_up > 0 and _is_next(ledger, known, job, unreleased):
            next_up -= 1
            yield job, is_open
        elif is_open or not job.preconditions:
            # In a closed phase preconditions are not looked at, and without them a job is not ready to be launched.
            rest.append((job, is_open))
    if full and rest:
        start = (turn * ROTATION_MAX) % len(rest)
        yield from (rest + rest)[start : start + min(ROTATION_MAX, len(rest))]


def _unchecked(view: HostView, job: Job) -> bool:
    return bool(job.preconditions) and job.key not in view.preconditions


def _is_next(ledger: Ledger, view: HostView, job: Job, unreleased: Collection[str]) -> bool:
    """Nothing that is known keeps it from being launched as soon as there is room."""
    if job.key in ledger.paused or job.project in ledger.paused or job.key in unreleased:
        return False
    return not _was_blocked(view, job)


def _was_blocked(view: HostView, job: Job) -> bool:
    if isinstance(view.outputs.get(job.key), Unknown):
        return True
    checks = view.preconditions.get(job.key)
    return checks is not None and any(not getattr(check, "met", False) for check in checks)


def _waiting(desired: Desired, project: Project, ledger: Ledger) -> Iterator[tuple[Job, bool]]:
    """Jobs that are neither completed nor live nor stuck, with whether their phase is open by the ledger alone."""
    for phase in project.phases:
        is_open = _open(project, phase, ledger)
        for job in phase.jobs:
            record = ledger.jobs.get(job.key)
            if record is None or _may_start(job, record):
                yield job, is_open


def _open(project: Project, phase: Phase, ledger: Ledger) -> bool:
    needed = (p for p in project.phases if p.name in phase.depends_on)
    return all(_completed(ledger.jobs.get(job.key)) for other in needed for job in other.jobs)


def _completed(record: JobRecord | None) -> bool:
    return record is not None and record.completed is not None


def _may_start(job: Job, record: JobRecord) -> bool:
    if record.completed is not None or record.stopped_by is not None:
        return False
    counted = counted_attempts(record, job.generation)
    if not counted:
        return True
    last = counted[-1]
    return last.verdict is not None and last.retry_at is not None
