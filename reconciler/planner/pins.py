"""Snapshots: which commit each job runs from, chosen once, and the work trees that this takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.model.enums import Reason
from reconciler.model.facts import CodeFacts, HostView, SnapshotFacts, Unknown
from reconciler.model.ledger import AttemptRecord, JobRecord
from reconciler.model.needs import code_key, snapshot_key
from reconciler.model.spec import Job, Phase, Project
from reconciler.planner.draft import Draft, Refusal

SNAPSHOT_POLL_S = 0.25
"""How soon to look again while a work tree is being made."""

SNAPSHOT_BROKEN_POLL_S = 10.0
"""How soon to look again where it cannot be made, or while there is no commit to make it of."""

CODE_POLL_S = 1.0
"""How soon to look again while git takes its time with a repository."""


def pin_for(commit: str, project: Project, job: Job, record: JobRecord | None) -> str:
    """A commit, and what it was chosen for: a changed job, a retry by hand or another name choose anew."""
    retry_after = record.retry_after if record is not None else 0
    return f"{commit} {job.generation} {retry_after} {project.snapshot}"


def pinned(project: Project, job: Job, record: JobRecord | None) -> str | None:
    """The commit that was chosen for the job as it is asked for now."""
    commit = commit_of(record)
    return commit if commit and record is not None and record.pin == pin_for(commit, project, job, record) else None


def commit_of(record: JobRecord | AttemptRecord | None) -> str:
    """The commit of a record; empty where it has none."""
    return record.pin.partition(" ")[0] if record is not None else ""


def wants_commit(project: Project, record: JobRecord | None) -> bool:
    """The job may be launched some time, from a commit."""
    return project.snapshot is not None and (record is None or record.completed is None)


def plan_pins(draft: Draft, project: Project) -> None:
    """Choose a commit for every job without one, in closed phases too, and have the work trees made."""
    lacking: dict[Refusal, int] = {}
    for phase, job in _jobs(project) if project.snapshot is not None else ():
        record = draft.ledger.jobs.get(job.key)
        if not wants_commit(project, record):
            continue
        commit = pinned(project, job, record)
        if commit is None:
            found = _choose(draft, project, phase, job)
            if isinstance(found, Refusal):
                draft.unpinned[job.key] = found
                lacking[found] = lacking.get(found, 0) + 1
                continue
            commit = found
            draft.pins[job.key] = pin_for(commit, project, job, record)
        _have_made(draft, project, phase, job, commit)
    for refusal, count in lacking.items():
        if refusal.by_a_person:
            jobs = "1 job waits" if count == 1 else f"{count} jobs wait"
            draft.alert(f"{project.name}: {jobs} for a commit: {refusal.message}")
            draft.wake(draft.now + SNAPSHOT_BROKEN_POLL_S)


def _jobs(project: Project) -> Iterator[tuple[Phase, Job]]:
    for phase in project.phases:
        for job in phase.jobs:
            yield phase, job


def _choose(draft: Draft, project: Project, phase: Phase, job: Job) -> str | Refusal:
    """The commit that the first host which answers has now; or why there is none."""
    refusal: Refusal | None = None
    for host in project.hosts_of(phase):
        view = draft.view(host)
        facts = view if isinstance(view, Unknown) else view.code.get(code_key(project.snapshot or "", job.cwd))
        if isinstance(facts, CodeFacts):
            return _judged(draft, project, host, facts)
        message = facts.message if facts is not None else "its repository is looked at next"
        if not isinstance(view, Unknown):
            draft.wake(draft.now if facts is None else draft.now + CODE_POLL_S)
        reason = Reason.HOST_UNKNOWN if isinstance(view, Unknown) else Reason.SNAPSHOT_NOT_READY
        refusal = refusal or Refusal(reason, message)
    assert refusal is not None, "a phase without hosts"
    return refusal


def _judged(draft: Draft, project: Project, host: str, facts: CodeFacts) -> str | Refusal:
    if facts.problem:
        where = "" if len(project.placements) == 1 else f" on {host}"
        message = f"there is no commit to run from{where}: {facts.problem}"
        return Refusal(Reason.SNAPSHOT_NOT_READY, message, by_a_person=True)
    if facts.changes and not project.snapshot:
        where = facts.root if len(project.placements) == 1 else f"{facts.root} on {host}"
        message = (
            f"{where} has changes that no commit has ({', '.join(facts.changes)}): "
            f"git -C {facts.root} commit -a, or `snapshot: HEAD` to run without them"
        )
        return Refusal(Reason.UNCOMMITTED_CODE, message, by_a_person=True)
    return facts.commit


def _have_made(draft: Draft, project: Project, phase: Phase, job: Job, commit: str) -> None:
    for host in project.hosts_of(phase):
        view = draft.view(host)
        if isinstance(view, HostView):
            facts = view.snapshots.get(snapshot_key(commit, job.cwd))
            if not (isinstance(facts, SnapshotFacts) and facts.ready):
                draft.snapshots[host, job.cwd, commit] = None


def launch_pin(draft: Draft, project: Project, job: Job) -> str:
    """What the record of a new attempt says of its commit; empty without a snapshot."""
    record = draft.ledger.jobs.get(job.key)
    if project.snapshot is None:
        return ""
    return draft.pins.get(job.key) or (record.pin if record is not None else "")


def snapshot_refusal(draft: Draft, project: Project, job: Job, host: str) -> Refusal | None:
    """Why a job cannot run from its commit on a host yet."""
    if project.snapshot is None:
        return None
    if job.key in draft.unpinned:
        return draft.unpinned[job.key]
    commit = launch_pin(draft, project, job).partition(" ")[0]
    view = draft.view(host)
    facts = view.snapshots.get(snapshot_key(commit, job.cwd)) if isinstance(view, HostView) else None
    if isinstance(facts, SnapshotFacts) and facts.ready:
        return None
    if isinstance(facts, Unknown) or (facts is not None and facts.problem):
        again = isinstance(facts, SnapshotFacts) and facts.again
        draft.wake(draft.now + (CODE_POLL_S if again else SNAPSHOT_BROKEN_POLL_S))
        problem = facts.message if isinstance(facts, Unknown) else facts.problem
        message = f"it cannot run from commit {commit[:12]}: {problem}"
        by_a_person = isinstance(facts, SnapshotFacts) and not again
        return Refusal(Reason.SNAPSHOT_NOT_READY, message, by_a_person=by_a_person)
    draft.wake(draft.now + SNAPSHOT_POLL_S)
    runs = "would run" if job.key in draft.pins else "runs"
    message = f"the work tree of commit {commit[:12]} that it {runs} from is made first"
    return Refusal(Reason.SNAPSHOT_NOT_READY, message)


def plan_drops(draft: Draft) -> None:
    """Work trees that no job needs any more. Nothing is dropped while specs are broken: they may ask for more."""
    idle = [
        (host, repository, commit)
        for host, view in draft.observed.hosts.items()
        if isinstance(view, HostView)
        for repository, commit in view.old_snapshots
    ]
    if not idle or any(not error.warning for error in draft.desired.errors):
        return
    needed = set(_needed(draft))
    draft.drops.extend(entry for entry in idle if entry[2] not in needed)


def _needed(draft: Draft) -> Iterable[str]:
    for job in draft.desired.jobs():
        record = draft.ledger.jobs.get(job.key)
        if record is not None and record.completed is None:
            yield commit_of(record)
    yield from map(commit_of, draft.ledger.open_attempts.values())
    for pin in draft.pins.values():
        yield pin.partition(" ")[0]
