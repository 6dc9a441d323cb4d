"""Outputs that are needed in another place: for the jobs of a later phase on another host, and at home."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.ledger import COLLECTED, JobRecord
from reconciler.model.plan import Transfer
from reconciler.model.spec import Job, Phase, Project
from reconciler.planner.draft import Draft, Refusal


def inputs_refusal(draft: Draft, project: Project, phase: Phase, host: str) -> Refusal | None:
    """Why a job of the phase cannot start on a host: outputs of the phases it needs are still elsewhere.

    Where they are to be brought over, that is put into the plan."""
    if project.shared_fs or len(project.placements) == 1:
        return None
    key = (project.name, phase.name, host)
    if key not in draft.inputs:
        draft.inputs[key] = _inputs_refusal(draft, project, phase, host)
    return draft.inputs[key]


def _inputs_refusal(draft: Draft, project: Project, phase: Phase, host: str) -> Refusal | None:
    just = next((key for key in _completed_just_now(draft, project, phase, host)), None)
    if just is not None:
        draft.wake(draft.now)
        return Refusal(Reason.INPUTS_ELSEWHERE, f"{just} has just completed; its outputs are brought next")
    missing = list(_missing(draft, project, phase, host))
    if not missing:
        return None
    _ask(draft, missing)
    sources = ", ".join(sorted({transfer.source for transfer in missing}))
    jobs = "1 job" if len(missing) == 1 else f"{len(missing)} jobs"
    message = f"outputs of {jobs} that it needs are being brought from {sources} to {host}"
    return Refusal(Reason.INPUTS_ELSEWHERE, message)


def plan_transfers(draft: Draft, project: Project) -> None:
    """What is pushed to later phases, and what is collected, as soon as a job is over."""
    for phase in project.phases:
        places = set(_pushed_to(project, phase))
        if not places and project.collect is None:
            continue
        for job in phase.jobs:
            state = draft.states.get(job.key)
            record = draft.ledger.jobs.get(job.key)
            if state is None or record is None or state.status not in (JobStatus.COMPLETED, JobStatus.STUCK):
                continue
            if state.status is JobStatus.COMPLETED and job.outputs:
                _ask(draft, (t for place in sorted(places) for t in _brought(job, record, place)))
            if project.collect is not None:
                _ask(draft, _brought(job, record, COLLECTED, project.collect))


def _pushed_to(project: Project, phase: Phase) -> Iterator[str]:
    if phase.push and not project.shared_fs:
        for other in project.phases:
            if phase.name in other.depends_on:
                yield from project.hosts_of(other)


def _completed_just_now(draft: Draft, project: Project, phase: Phase, host: str) -> Iterator[str]:
    """Jobs that this very plan completes elsewhere: the ledger does not tell yet where their outputs are."""
    needed = {job.key for name in phase.depends_on for job in project.phase(name).jobs if job.outputs}
    for action in draft.actions:
        if action.kind is ActionKind.COMPLETE and action.job in needed and action.host != host:
            yield action.job


def _missing(draft: Draft, project: Project, phase: Phase, host: str) -> Iterator[Transfer]:
    for name in phase.depends_on:
        for job in project.phase(name).jobs:
            record = draft.ledger.jobs.get(job.key)
            if job.outputs and record is not None:
                yield from _brought(job, record, host)


def _brought(job: Job, record: JobRecord, place: str, folder: str = "") -> Iterator[Transfer]:
    """How a job's files get to a place; nothing when they are there."""
    source, number = _where(record)
    there = source is None or source == place or any(c.place == place and c.attempt == number for c in record.copies)
    if not there and source is not None:
        yield Transfer(job.key, number, source, place, job.cwd, job.outputs, folder)


def _where(record: JobRecord) -> tuple[str | None, int]:
    """The host that has the files of a job, and of which attempt they are (0: they were there before any)."""
    last = record.last
    if record.completed is not None and record.completed_on is not None:
        return record.completed_on, last.number if last is not None else 0
    if last is None or last.verdict is None:
        return None, 0
    return last.host, last.number


def _ask(draft: Draft, transfers: Iterable[Transfer]) -> None:
    for transfer in transfers:
        draft.transfers.setdefault(transfer.key, transfer)
