"""What to ask a host before deciding: everything that is open, and the jobs that could start next."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger
from reconciler.model.needs import AttemptNeed, Needs, code_key, snapshot_key
from reconciler.model.spec import Desired, Job, Phase, Project
from reconciler.planner.backoff import counted_attempts
from reconciler.planner.pins import pinned, wants_commit

ROTATION_MAX = 256
"""How many waiting jobs are looked at again in one full look, besides those that are next."""

NEXT_UP_MIN = 32
"""How many of the jobs that are next in line are looked at every time."""

Waiting = tuple[tuple[Job, bool], ...]
"""Waiting jobs of a project in spec order, each with whether its phase is open."""

Wanted = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PhaseCommits:
    """What the jobs of a phase with `snapshot` wait for: commits to be chosen, and work trees; as in `Needs`."""

    hosts: Collection[str]
    code: Wanted
    snapshots: Wanted


@dataclass(frozen=True, slots=True)
class OpenJobs:
    """By project, the jobs that wait; and what those with `snapshot` wait for."""

    waiting: Mapping[str, Waiting]
    commits: Sequence[PhaseCommits]


def needs(
    desired: Desired,
    ledger: Ledger,
    previous: Observed | None,
    host: str,
    *,
    full: bool,
    turn: int,
    wanted: Collection[str] = (),
    jobs: OpenJobs | None = None,
) -> Needs:
    """One request for one host. `wanted` is that of the last plan: those jobs are looked at in any case.

    `previous` None: nothing is known of these specs yet, so all waiting jobs are looked at. `jobs` is that of
    `open_jobs`, where the caller has it.

    A full look asks for all probes. A short one, after an event, asks for what an ended attempt changes: live
    attempts and the jobs next in line (and the GPUs, where a project uses them). `turn` counts full looks: waiting
    jobs that are not next in line are looked at again in turns, so that a look costs the same at 100,000 jobs."""
    attempts = tuple(
        AttemptNeed(path, tail=record.verdict is None, scan=full, meant=_in_doubt(record))
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
        if job is not None and _may_run_on(desired.projects[job.project], job, host):
            outputs.update({key: job} if job.outputs else {})
            preconditions.update({key: job} if job.preconditions else {})
    view = previous.hosts.get(host) if previous is not None else None
    known = view if isinstance(view, HostView) else None
    jobs = open_jobs(desired, ledger) if jobs is None else jobs
    uses_gpus = any(record.gpus and record.host == host for record in ledger.open_attempts.values())
    for project in desired.projects.values():
        if project.is_on(host):
            uses_gpus = uses_gpus or project.gpu_pool is not None
            mine = _waiting_for(project, host, jobs.waiting[project.name])
            for job, is_open in _window(project, ledger, known, mine, full=full, turn=turn):
                if job.outputs:
                    outputs[job.key] = job
                if job.preconditions and is_open:
                    preconditions[job.key] = job
    here = [each for each in jobs.commits if host in each.hosts]
    short_screens = uses_gpus and bool(ledger.open_attempts)
    return Needs(
        attempts=attempts,
        outputs=outputs,
        preconditions=preconditions,
        sessions=full or short_screens,
        gpus=uses_gpus,
        disk=True,
        strays=full,
        code=_joined([each.code for each in here]),
        snapshots=_joined([each.snapshots for each in here]),
    )


def open_jobs(desired: Desired, ledger: Ledger) -> OpenJobs:
    """What there is to do yet.

    It takes long with many jobs and depends on the two versions alone, so the loop keeps it while they stay."""
    return OpenJobs(waiting_jobs(desired, ledger), _commits(desired, ledger))


def _commits(desired: Desired, ledger: Ledger) -> tuple[PhaseCommits, ...]:
    """Of jobs with `snapshot`: whose commit is to be chosen now, and which work trees others need."""
    projects = (project for project in desired.projects.values() if project.snapshot is not None)
    found = (_commits_of(project, phase, ledger) for project in projects for phase in project.phases)
    return tuple(each for each in found if each.code or each.snapshots)


def _commits_of(project: Project, phase: Phase, ledger: Ledger) -> PhaseCommits:
    code: dict[str, tuple[str, str]] = {}
    snapshots: dict[str, tuple[str, str]] = {}
    for job in phase.jobs:
        record = ledger.jobs.get(job.key)
        if not wants_commit(project, record):
            continue
        commit = pinned(project, job, record)
        if commit is None:
            ref = project.snapshot or ""
            code[code_key(ref, job.cwd)] = (job.cwd, ref)
        else:
            snapshots[snapshot_key(commit, job.cwd)] = (job.cwd, commit)
    return PhaseCommits(frozenset(project.hosts_of(phase)), code, snapshots)


def _joined(parts: Sequence[Wanted]) -> Wanted:
    if len(parts) == 1:
        return parts[0]
    return {key: wanted for part in parts for key, wanted in part.items()}


def _in_doubt(record: AttemptRecord) -> AttemptRecord | None:
    """A launch whose answer was lost, or told of another's attempt that could not be taken in."""
    return record if record.verdict is None and not record.launched else None


def _may_run_on(project: Project, job: Job, host: str) -> bool:
    return host in project.hosts_of(project.phase(job.phase))


def _waiting_for(project: Project, host: str, waiting: Waiting) -> Waiting:
    """Those whose phase may run on the host."""
    if all(phase.hosts is None for phase in project.phases):
        return waiting
    here = {phase.name for phase in project.phases if host in project.hosts_of(phase)}
    return tuple((job, is_open) for job, is_open in waiting if job.phase in here)


def _window(
    project: Project, ledger: Ledger, known: HostView | None, waiting: Waiting, *, full: bool, turn: int
) -> Iterator[tuple[Job, bool]]:
    if known is None:
        yield from waiting
        return
    next_up = max(NEXT_UP_MIN, 4 * (project.max_parallel or 16))
    unreleased = {record.job for record in ledger.open_attempts.values()}
    for job, is_open in waiting:
        if next_up == 0:
            break
        if is_open and _is_next(ledger, known, job, unreleased):
            next_up -= 1
            yield job, is_open
    if full and waiting:
        start = (turn * ROTATION_MAX) % len(waiting)
        turned = (*waiting[start : start + ROTATION_MAX], *waiting[: max(0, start + ROTATION_MAX - len(waiting))])
        # In a closed phase preconditions are not looked at, and without them a job is not ready to be launched.
        yield from ((job, is_open) for job, is_open in turned if is_open or not job.preconditions)


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


def waiting_jobs(desired: Desired, ledger: Ledger) -> dict[str, Waiting]:
    """By project, the jobs that are neither completed nor live nor stuck, each with whether its phase is open."""
    return {name: tuple(_waiting(project, ledger)) for name, project in desired.projects.items()}


def _waiting(project: Project, ledger: Ledger) -> Iterator[tuple[Job, bool]]:
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


def index_of(desired: Desired, host: str) -> tuple[str, ...]:
    """The projects whose attempts a host is to list at the first contact: all that may run there."""
    return tuple(name for name, project in desired.projects.items() if project.is_on(host))
