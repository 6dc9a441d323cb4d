"""Two desired states side by side: what one asks for and the other does not. No host and no ledger is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from reconciler.model.comparison import ABSENT, Change, Comparison, FieldChange, JobChange, PhaseChange, ProjectChange
from reconciler.model.spec import Desired, Job, Phase, Project

_NAMES_OF_JOB = ("key", "project", "id", "source", "generation")
_JOB_FIELDS = tuple(field.name for field in fields(Job) if field.name not in _NAMES_OF_JOB)
_PHASE_FIELDS = tuple(field.name for field in fields(Phase) if field.name not in ("name", "jobs"))
_PROJECT_FIELDS = tuple(field.name for field in fields(Project) if field.name not in ("name", "source", "phases"))


def compare(old: Desired, new: Desired) -> Comparison:
    """What changes from `old` to `new`. Where in a file a job stands is no change, nor are comments.

    The projects of a file that does not load on one side are left out: see `Comparison.not_compared`."""
    unread = dict.fromkeys((*_unread(old), *_unread(new)))
    before = {name: project for name, project in old.projects.items() if project.source not in unread}
    after = {name: project for name, project in new.projects.items() if project.source not in unread}
    found = [_project(before.get(name), project) for name, project in after.items()]
    found += [_whole_project(project, Change.REMOVED) for name, project in before.items() if name not in after]
    return Comparison(tuple(change for change in found if change is not None), tuple(unread))


def _unread(desired: Desired) -> Iterator[str]:
    return (file.path for file in desired.files if file.broken and not file.last_good)


def _project(old: Project | None, new: Project) -> ProjectChange | None:
    if old is None:
        return _whole_project(new, Change.ADDED)
    if old is new:
        return None
    settings = (
        *_changed(old, new, _PROJECT_FIELDS),
        *_order([p.name for p in old.phases], [p.name for p in new.phases]),
    )
    phases, jobs = tuple(_phases(old, new)), tuple(_jobs(old, new))
    if not (settings or phases or jobs):
        return None
    return ProjectChange(new.name, new.source, Change.CHANGED, settings, phases, jobs)


def _whole_project(project: Project, change: Change) -> ProjectChange:
    jobs = tuple(_whole_job(job, change) for job in project.jobs())
    return ProjectChange(project.name, project.source, change, jobs=jobs)


def _whole_job(job: Job, change: Change) -> JobChange:
    return JobChange(job.key, job.phase, change, cmd=job.cmd)


def _phases(old: Project, new: Project) -> Iterator[PhaseChange]:
    before = {phase.name: phase for phase in old.phases}
    for phase in new.phases:
        was = before.pop(phase.name, None)
        if was is None:
            yield PhaseChange(phase.name, Change.ADDED)
            continue
        ids = [job.id for job in was.jobs], [job.id for job in phase.jobs]
        settings = (*_changed(was, phase, _PHASE_FIELDS), *_order(*ids))
        if settings:
            yield PhaseChange(phase.name, Change.CHANGED, settings)
    for phase in before.values():
        yield PhaseChange(phase.name, Change.REMOVED)


def _jobs(old: Project, new: Project) -> Iterator[JobChange]:
    before = {job.key: job for job in old.jobs()}
    for job in new.jobs():
        was = before.pop(job.key, None)
        if was is None:
            yield _whole_job(job, Change.ADDED)
            continue
        found = _job(was, job)
        if found is not None:
            yield found
    for job in before.values():
        yield _whole_job(job, Change.REMOVED)


def _job(old: Job, new: Job) -> JobChange | None:
    changes = tuple(_changed(old, new, _JOB_FIELDS))
    other = old.generation != new.generation
    if other and not changes:
        changes = (FieldChange("generation", old.generation, new.generation),)
    return JobChange(new.key, new.phase, Change.CHANGED, changes, other) if changes else None


def _changed(old: object, new: object, names: Sequence[str]) -> Iterator[FieldChange]:
    for name in names:
        was, now = getattr(old, name), getattr(new, name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            for key in dict.fromkeys((*was, *now)):
                if not _same(was.get(key, ABSENT), now.get(key, ABSENT)):
                    yield FieldChange(f"{name}.{key}", was.get(key, ABSENT), now.get(key, ABSENT))
        elif not _same(was, now):
            yield FieldChange(name, was, now)


def _same(old: object, new: object) -> bool:
    """Equal, and of one type: the parameters 1, 1.0 and true are three different ones."""
    return type(old) is type(new) and old == new


def _order(old: Sequence[str], new: Sequence[str]) -> Iterator[FieldChange]:
    """Where what both have comes in another order: room is given out in the order of the spec."""
    here, there = set(new), set(old)
    pairs = zip((name for name in old if name in here), (name for name in new if name in there), strict=True)
    first = next((pair for pair in pairs if pair[0] != pair[1]), None)
    if first is not None:
        yield FieldChange("order", *first)
