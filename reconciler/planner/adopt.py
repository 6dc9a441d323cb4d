"""Live attempts of this state folder that the ledger does not follow: claimed, never launched a second time."""

from __future__ import annotations

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import HostView
from reconciler.model.ledger import AttemptRecord, Ledger
from reconciler.model.names import AttemptRef
from reconciler.model.plan import Action
from reconciler.planner.draft import Draft
from reconciler.planner.release import occupy


def adopt_strays(draft: Draft) -> None:
    """Take every stray into the ledger; its job is running until its facts say otherwise."""
    for name in sorted(draft.observed.hosts):
        view = draft.observed.hosts[name]
        if isinstance(view, HostView):
            for path in view.strays:
                followed = draft.ledger.open_attempts.get(path)
                if followed is None or _is_elsewhere(draft, followed, name):
                    _adopt(draft, name, path)
            for job, number in sorted(view.index.items()):
                _take_in(draft, name, job, number)


def take_over(draft: Draft, attempt: AttemptRecord) -> None:
    """What is in the attempt's folder is not from the launch that the ledger has: another controller was first."""
    message = f"attempt {attempt.number} is another controller's, or of an older ledger"
    kind = ActionKind.ADOPT
    draft.actions.append(Action(kind, attempt.job, attempt.number, Reason.ADOPTED, message, attempt.host))
    draft.adopting.add(attempt.host)
    draft.wake(draft.now)
    occupy(draft, attempt)
    job = draft.desired.index.get(attempt.job)
    if job is not None:
        draft.put(job, JobStatus.RUNNING, Reason.ADOPTED, message, attempt=attempt.number)


def runs_unfollowed(ledger: Ledger, view: HostView) -> bool:
    """An attempt lives there that the ledger does not follow on this host. Only a full look sees such ones."""
    followed = (ledger.open_attempts.get(path) for path in view.strays)
    return any(attempt is None or attempt.host != view.host for attempt in followed)


def all_taken_in(ledger: Ledger, view: HostView) -> bool:
    """The ledger knows all attempts that the host has listed, and all that live there without being listed."""
    listed = all(_is_taken_in(ledger, job, number) for job, number in view.index.items())
    return listed and all(path in ledger.open_attempts for path in view.strays)


def _is_taken_in(ledger: Ledger, job: str, number: int) -> bool:
    record = ledger.jobs.get(job)
    if record is None:
        return False
    return record.completed is not None or (record.last is not None and record.last.number >= number)


def _take_in(draft: Draft, host: str, job: str, number: int) -> None:
    """Attempts that only the host knows of: the ledger was lost, or another controller started them."""
    path = f"{job}/{number}"
    if not _is_taken_in(draft.ledger, job, number) and not any(action.path == path for action in draft.actions):
        message = f"{host} has attempt {number} of it, which is not in the ledger"
        draft.actions.append(Action(ActionKind.ADOPT, job, number, Reason.ADOPTED, message, host))
        draft.unreleased[job] = number
        draft.adopting.add(host)
        draft.wake(draft.now)
        wanted = draft.desired.index.get(job)
        if wanted is not None and job not in draft.states:
            # outputs that are there may be what it left when it failed: how it ended decides
            draft.put(wanted, JobStatus.PENDING, Reason.ADOPTED, message, attempt=number)


def _adopt(draft: Draft, host: str, path: str) -> None:
    try:
        ref = AttemptRef.parse(path)
    except ValueError:
        draft.note_unknown(f"{host}: a process says that it belongs to {path!r}, which is no attempt; it is left alone")
        return
    known = _known(draft, ref)
    if known is not None and _is_elsewhere(draft, known, host):
        _leave(draft, host, ref, known)
        return
    ended = known is not None and known.verdict is not None
    reason = Reason.STRAGGLERS if ended else Reason.ADOPTED
    message = "processes of it run on after its end" if ended else "it runs on the host and is not in the ledger"
    draft.actions.append(Action(ActionKind.ADOPT, ref.job, ref.number, reason, message, host))
    draft.adopting.add(host)
    draft.unreleased[ref.job] = max(ref.number, draft.unreleased.get(ref.job, 0))
    draft.wake(draft.now)
    job = draft.desired.index.get(ref.job)
    if job is not None and not ended:
        draft.put(job, JobStatus.RUNNING, Reason.ADOPTED, message, attempt=ref.number)


def _is_elsewhere(draft: Draft, attempt: AttemptRecord, host: str) -> bool:
    """The ledger's attempt is on another machine than this host."""
    return attempt.host != host and draft.machine_of(attempt.host) != draft.machine_of(host)


def _leave(draft: Draft, host: str, ref: AttemptRef, known: AttemptRecord) -> None:
    """Its number was given to another one: the host was given up when no ledger knew of it any more.

    There is no record for it, so it is not ended either; but its job is not started beside it."""
    words = f"{host} runs an attempt {ref.number} of {ref.job}, and the one that the ledger has is on {known.host}"
    draft.note_unknown(f"{words}; it is left alone: end it there if it is not wanted")
    draft.unreleased[ref.job] = max(ref.number, draft.unreleased.get(ref.job, 0))


def _known(draft: Draft, ref: AttemptRef) -> AttemptRecord | None:
    record = draft.ledger.jobs.get(ref.job)
    return next((a for a in record.attempts if a.number == ref.number), None) if record is not None else None
