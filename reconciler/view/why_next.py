"""What to type about a job, if a person can do something."""

from __future__ import annotations

from shlex import quote

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import CodeFacts
from reconciler.model.needs import code_key
from reconciler.model.plan import JobState
from reconciler.model.setup import broken_part, setups_of
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.diff_rows import stuck_verb
from reconciler.view.words import COMMIT_REASONS


def next_commands(snapshot: Snapshot, state: JobState) -> list[str]:
    """The next commands, the most useful first."""
    name = _name(snapshot, state)
    if state.reason is Reason.ENVIRONMENT_BROKEN and state.job in snapshot.desired.index:
        return ["exq doctor", *_retry_of_setup(snapshot, state)]
    if state.status is JobStatus.STUCK:
        if state.reason in COMMIT_REASONS:
            return _to_a_commit(snapshot, state)
        if state.reason is Reason.NO_COMMAND:
            job = snapshot.desired.index.get(state.job)
            return [f"write its cmd in {job.source}"] if job is not None else []
        return [f"exq {stuck_verb(state)} {name}", f"exq retry {name}"] if state.attempt else [f"exq retry {name}"]
    if state.reason is Reason.HOST_UNKNOWN:
        hosts = [look.host_of(snapshot, state.job)] if state.status is JobStatus.RUNNING else []
        return [f"exq hosts{''.join(f' {host}' for host in hosts if host)}"]
    if state.status is JobStatus.RUNNING:
        return [f"exq logs -f {name}"]
    if state.reason is Reason.PAUSED:
        paused = state.job if state.job in snapshot.ledger.paused else state.project
        return [f"exq resume {paused}"]
    if state.reason is Reason.NEEDS_STUCK:
        return _blockers(snapshot, state)
    if state.reason is Reason.NO_FREE_GPU:
        return ["exq status"]  # it shows all GPUs with who uses them
    return []


def _to_a_commit(snapshot: Snapshot, state: JobState) -> list[str]:
    """What gives a job a commit that it can run from."""
    job, project = snapshot.desired.index.get(state.job), snapshot.desired.projects.get(state.project)
    if job is None or project is None:
        return []
    views = (look.view_of(snapshot, host) for host in look.possible_hosts(snapshot, state.job))
    told = (view.code.get(code_key(project.snapshot or "", job.cwd)) for view in views if view is not None)
    code = next((each for each in told if isinstance(each, CodeFacts)), None)
    if code is None:  # it has one, of which there can be no work tree: a retry chooses the newest
        return ["exq doctor", f"exq retry {_name(snapshot, state)}"]
    if code.changes and not project.snapshot:
        return [f"git -C {quote(code.root)} commit -a"]
    if project.snapshot:
        return [f"name a commit, branch or tag in `snapshot` of {project.source}", "exq doctor"]
    return ["exq doctor"]


def _blockers(snapshot: Snapshot, state: JobState) -> list[str]:
    """The stuck job that stands in the way."""
    for other in look.jobs_of(snapshot, state.project):
        if other.status is JobStatus.STUCK:
            name = _name(snapshot, other)
            no_command = other.reason is Reason.NO_COMMAND or other.reason in COMMIT_REASONS
            return [f"exq why {name}"] if no_command else [f"exq why {name}", f"exq retry {name}"]
    return []


def _retry_of_setup(snapshot: Snapshot, state: JobState) -> list[str]:
    """The job whose retry tells at once whether what holds this one back is mended: itself, or the one that failed."""
    job = snapshot.desired.index.get(state.job)
    parts = setups_of(job) if job is not None else ()
    for other in (state, *look.jobs_of(snapshot, state.project)):
        last, asked = look.record_of(snapshot, other.job).last, snapshot.desired.index.get(other.job)
        verdict = last.verdict if last is not None else None
        if asked is None or verdict is None or verdict.reason is not Reason.ENVIRONMENT_BROKEN:
            continue
        if broken_part(asked, verdict.message) in parts:
            return [f"exq retry {_name(snapshot, other)}"]
    return []


def _name(snapshot: Snapshot, state: JobState) -> str:
    return look.short_name(snapshot, state.job)
