"""What has to be ended: stopped jobs, hung tails, stragglers and stale screens. Never on Unknown facts."""

from __future__ import annotations

from reconciler.model.enums import ActionKind, Reason
from reconciler.model.facts import AttemptFacts, HostView, OutputFacts, Session
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import Kill
from reconciler.model.spec import Job, Project
from reconciler.planner.draft import Draft
from reconciler.planner.limits import CLOCK_DOUBT_S, KILL_GRACE_S, SESSION_GRACE_S
from reconciler.planner.outcome import fresh
from reconciler.planner.placement import is_free


def reap_live(draft: Draft, attempt: AttemptRecord, view: HostView, job: Job | None) -> Kill | None:
    """End a live attempt if a user asked for it, or if it hangs. One that no spec asks for any more may hang."""
    facts = view.attempts[attempt.path]
    assert isinstance(facts, AttemptFacts)
    why = _why_end(draft, attempt, facts, view, job)
    if why is None:
        return None
    reason, message = why
    return _escalate(draft, attempt, reason, message)


def _why_end(
    draft: Draft,
    attempt: AttemptRecord,
    facts: AttemptFacts,
    view: HostView,
    job: Job | None,
) -> tuple[Reason, str] | None:
    if not facts.payload_alive and not facts.tree_alive:
        return None
    if attempt.kill_reason is not None:
        return attempt.kill_reason, "asked to end before, still there"
    record = draft.ledger.jobs.get(attempt.job)
    if record is not None and record.stopped_by is not None:
        return Reason.STOPPED_BY_USER, f"stopped by {record.stopped_by}"
    return None if job is None else _why_hung(draft, attempt, facts, view, job)


def _why_hung(
    draft: Draft, attempt: AttemptRecord, facts: AttemptFacts, view: HostView, job: Job
) -> tuple[Reason, str] | None:
    project = draft.desired.projects[job.project]
    linger_s = project.linger_s
    silent_since = facts.log_at or (facts.started.at if facts.started else attempt.intended_at)
    outputs = view.outputs.get(attempt.job)
    as_asked = job.generation == attempt.generation  # other outputs may be asked for now
    if as_asked and isinstance(outputs, OutputFacts) and outputs.newest_at is not None and fresh(attempt, outputs):
        quiet_since = max(silent_since, outputs.newest_at)
        if not _gpu_memory_released(attempt, view, project):
            return None
        if draft.now - quiet_since >= linger_s:
            return Reason.HUNG_TAIL, f"outputs complete and nothing logged for {linger_s:.0f} s"
        draft.wake(quiet_since + linger_s)
        return None
    if not facts.log_tail:
        return None
    from reconciler.planner.failure import is_out_of_memory  # its patterns take long to compile

    reason = is_out_of_memory(facts.log_tail)
    if reason is None:
        return None
    if draft.now - silent_since >= linger_s:
        return reason, f"out of memory, then nothing logged for {linger_s:.0f} s"
    draft.wake(silent_since + linger_s)
    return None


def _gpu_memory_released(attempt: AttemptRecord, view: HostView, project: Project) -> bool:
    if not attempt.gpus:
        return True
    if not isinstance(view.gpus, tuple):
        return False
    seen = [gpu for gpu in view.gpus if gpu.uuid in attempt.gpus]
    return len(seen) == len(attempt.gpus) and all(is_free(gpu, project.gpu_free_threshold_mib) for gpu in seen)


def reap_ended(
    now: float,
    attempt: AttemptRecord,
    facts: AttemptFacts,
    sessions: tuple[Session, ...] | None,
    ended_at: float,
    linger_s: float,
) -> Kill | None:
    """Clean up after an attempt that is over: its stale screen at once, what it left running after the linger time."""
    if attempt.kill_last_at is not None and 0 <= now - attempt.kill_last_at < KILL_GRACE_S:
        return None
    force = _grace_is_over(attempt, now)
    if facts.payload_alive or facts.tree_alive:
        # a clock that was set back a day must not make it a day
        if abs(now - ended_at) < linger_s and attempt.kill_at is None:
            return None
        pids = ", ".join(str(pid) for pid in facts.tree_pids)
        message = f"left running after the job ended: pid {pids}" if pids else "left running after the job ended"
        return _kill(attempt, Reason.STRAGGLERS, message, force=force, sessions=())
    if sessions and not -CLOCK_DOUBT_S <= now - ended_at < SESSION_GRACE_S:
        addresses = tuple(session.address for session in sessions)
        message = f"its payload is gone, its screen {', '.join(addresses)} is still there"
        return _kill(attempt, Reason.STALE_SCREEN, message, force=force, sessions=addresses)
    return None


def _escalate(draft: Draft, attempt: AttemptRecord, reason: Reason, message: str) -> Kill | None:
    last = attempt.kill_last_at
    if last is not None and 0 <= draft.now - last < KILL_GRACE_S:
        draft.wake(last + KILL_GRACE_S)
        return None
    draft.wake(draft.now + KILL_GRACE_S)
    return _kill(attempt, reason, message, force=_grace_is_over(attempt, draft.now), sessions=())


def _grace_is_over(attempt: AttemptRecord, now: float) -> bool:
    """It was asked to end long enough ago to be made to. After a clock was set back it is asked once more."""
    return attempt.kill_last_at is not None and now - attempt.kill_last_at >= KILL_GRACE_S


def _kill(attempt: AttemptRecord, reason: Reason, message: str, *, force: bool, sessions: tuple[str, ...]) -> Kill:
    return Kill(
        kind=ActionKind.KILL,
        job=attempt.job,
        attempt=attempt.number,
        reason=reason,
        message=message,
        host=attempt.host,
        gpus=attempt.gpus,
        gpu_indices=attempt.gpu_indices,
        force=force,
        sessions=sessions,
    )
