"""What `retry`, `stop`, `pause` and `resume` may ask for. Pure: a snapshot in, requests and refusals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.cli.resolve import Names, Target, resolve_target
from reconciler.model.enums import JobStatus, Reason, RequestKind
from reconciler.model.snapshot import Snapshot

_ENDED_BADLY = frozenset({JobStatus.FAILED_OOM, JobStatus.FAILED_OTHER, JobStatus.STUCK})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request would make no sense. `done`: what it asks for is so already, which is no mistake."""

    target: str
    message: str
    done: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """The request targets to submit, and what was refused of the things named one by one."""

    targets: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()


def names_of(snapshot: Snapshot) -> Names:
    """Everything a user can name: jobs of the plan first, then those that only the ledger knows."""
    current = tuple(snapshot.plan.states)
    former = tuple(key for key in snapshot.ledger.jobs if key not in snapshot.plan.states)
    left = (name for name in sorted(snapshot.ledger.paused) if "/" not in name)
    return Names(current, tuple(dict.fromkeys((*snapshot.desired.projects, *left))), former)


def wishes(kind: RequestKind, words: Sequence[str], snapshot: Snapshot) -> Wishes:
    """What these words ask for. Without words (pause, resume): everything.

    Raises `CliError` for a name that is unknown or ambiguous: then nothing is asked for at all."""
    if not words:
        return _all(kind, snapshot)
    names = names_of(snapshot)
    targets: dict[str, None] = {}
    refused: list[Refusal] = []
    for target in [resolve_target(word, names) for word in words]:
        found = _of_target(kind, target, snapshot)
        targets.update(dict.fromkeys(found.targets))
        refused += found.refused
    return Wishes(tuple(targets), tuple(refused))


def _all(kind: RequestKind, snapshot: Snapshot) -> Wishes:
    paused = snapshot.ledger.paused
    if kind is RequestKind.RESUME:
        return Wishes(tuple(sorted(paused)))
    return Wishes(tuple(project for project in snapshot.desired.projects if project not in paused))


def _of_target(kind: RequestKind, target: Target, snapshot: Snapshot) -> Wishes:
    if target.project is not None and kind in (RequestKind.PAUSE, RequestKind.RESUME):
        return _project(kind, target.project, snapshot)
    judged = {key: refusal(kind, key, snapshot) for key in target.jobs}
    fit = tuple(key for key, against in judged.items() if against is None)
    against = tuple(item for item in judged.values() if item is not None)
    if target.explicit:
        return Wishes(fit, against)
    if fit:
        return Wishes(fit)
    what = f"none of its {len(judged)} jobs" if target.project else f"none of the {len(judged)} jobs it matches"
    example = f": {against[0].target} {against[0].message}" if against else ""
    # who asks for a retry waits for a result; what shall stop or pause and is over, is as it was wanted
    settled = kind is not RequestKind.RETRY
    return Wishes((), (Refusal(target.word, f"has nothing to {kind} ({what} can be){example}", done=settled),))


def _project(kind: RequestKind, project: str, snapshot: Snapshot) -> Wishes:
    paused = snapshot.ledger.paused
    if kind is RequestKind.PAUSE:
        if project in paused:
            return Wishes((), (Refusal(project, "is paused already", done=True),))
        return Wishes((project,))
    within = tuple(sorted(target for target in paused if target == project or target.startswith(f"{project}/")))
    return Wishes(within) if within else Wishes((), (Refusal(project, "is not paused", done=True),))


def refusal(kind: RequestKind, key: str, snapshot: Snapshot) -> Refusal | None:
    """Why this job cannot be retried, stopped, paused or resumed; None when it can."""
    rule = {
        RequestKind.RETRY: _against_retry,
        RequestKind.STOP: _against_stop,
        RequestKind.PAUSE: _against_pause,
        RequestKind.RESUME: _against_resume,
    }[kind]
    return rule(key, snapshot)


def _against_retry(key: str, snapshot: Snapshot) -> Refusal | None:
    state = snapshot.plan.states.get(key)
    if state is None or key not in snapshot.desired.index:
        return Refusal(key, "is in no spec any more, so nothing would run it; put it back into its spec file")
    if state.status is JobStatus.COMPLETED:
        return Refusal(key, "is completed, and what is completed is not run again")
    if state.status is JobStatus.RUNNING:
        return Refusal(key, f"is running (attempt {state.attempt}); to start it over: exq stop {key}, then this again")
    if state.reason is Reason.NO_COMMAND:
        return Refusal(key, f"has no command to run: {state.message}")
    record = snapshot.ledger.jobs.get(key)
    stopped = record is not None and record.stopped_by is not None
    untried = state.reason is Reason.ENVIRONMENT_BROKEN and not (record is not None and record.attempts)
    if untried:
        return Refusal(key, f"has not been tried itself, retry the job that is named here: {state.message}")
    if state.status in _ENDED_BADLY or stopped:
        return None
    return Refusal(key, f"has not failed, it is {state.status} ({state.reason}): {state.message}")


def _against_stop(key: str, snapshot: Snapshot) -> Refusal | None:
    record = snapshot.ledger.jobs.get(key)
    if record is not None and record.stopped_by is not None:
        return Refusal(key, f"is stopped already, by {record.stopped_by}", done=True)
    state = snapshot.plan.states.get(key)
    if state is None:
        return Refusal(key, "is in no spec any more and nothing of it runs")
    if state.status is JobStatus.COMPLETED:
        return Refusal(key, "is completed: there is nothing to stop")
    if state.status is JobStatus.STUCK:
        return Refusal(key, "is stuck: nothing of it runs, and it stays so until someone retries it", done=True)
    return None


def _against_pause(key: str, snapshot: Snapshot) -> Refusal | None:
    paused = snapshot.ledger.paused
    project = key.partition("/")[0]
    if key in paused or project in paused:
        return Refusal(key, "is paused already" if key in paused else f"is paused already, with all of {project}", True)
    state = snapshot.plan.states.get(key)
    if state is None:
        return Refusal(key, "is in no spec any more, so it will not be launched anyway")
    if state.status is JobStatus.COMPLETED:
        return Refusal(key, "is completed: it will not be launched again anyway")
    return None


def _against_resume(key: str, snapshot: Snapshot) -> Refusal | None:
    paused = snapshot.ledger.paused
    if key in paused:
        return None
    project = key.partition("/")[0]
    if project in paused:
        return Refusal(key, f"is paused with all of {project}; exq resume {project}")
    return Refusal(key, "is not paused", done=True)
