"""What an attempt that is over still keeps: its slot, its GPUs, its job; and the cleaning up after it."""

from __future__ import annotations

from reconciler.model.facts import HostView, Session, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.planner.draft import Draft
from reconciler.planner.limits import GPU_RELEASE_MAX_S, RELEASE_POLL_MAX_S, RELEASE_POLL_S
from reconciler.planner.outcome import sessions_of
from reconciler.planner.placement import may_be_ours
from reconciler.planner.reap import reap_ended

DEFAULT_LINGER_S = 300.0
"""For attempts of projects that the specs no longer name."""


def occupy(draft: Draft, attempt: AttemptRecord) -> None:
    """It is live, or may be: it keeps everything."""
    draft.occupying[attempt.path] = attempt
    draft.hold(attempt)


def release(draft: Draft, attempt: AttemptRecord, view: HostView, ended_at: float) -> None:
    """Free the slot when the tree is gone, the rest when screen and GPU memory are too; clean up what stays behind."""
    facts = view.attempts.get(attempt.path)
    if facts is None or isinstance(facts, Unknown):
        occupy(draft, attempt)
        return
    tree = facts.payload_alive or facts.tree_alive
    sessions = _sessions(attempt, view)
    gone = facts.scanned and not tree and not facts.shim_alive and sessions == ()
    if gone and not _memory_lingers(draft, attempt, view, ended_at):
        draft.released.append(attempt.path)
        return
    if tree:
        draft.occupying[attempt.path] = attempt
    draft.hold(attempt)
    changed_at = max(ended_at, attempt.kill_last_at or ended_at)
    draft.wake(draft.now + _release_poll_s(attempt, draft.now - changed_at))
    project = draft.project_of(attempt.job)
    linger_s = project.linger_s if project else DEFAULT_LINGER_S
    kill = reap_ended(draft.now, attempt, facts, sessions, ended_at, linger_s)
    if kill is not None:
        draft.actions.append(kill)
        draft.wake(draft.now + _release_poll_s(attempt, 0.0))


def _sessions(attempt: AttemptRecord, view: HostView) -> tuple[Session, ...] | None:
    """The attempt's screens; None when they were not looked at or cannot be seen."""
    if not attempt.session:
        return ()
    return sessions_of(attempt, view.sessions) if isinstance(view.sessions, tuple) else None


def _memory_lingers(draft: Draft, attempt: AttemptRecord, view: HostView, ended_at: float) -> bool:
    """The driver still gives back the memory of its GPUs: worth a quick look, for a while."""
    project = draft.project_of(attempt.job)
    if project is None or isinstance(view.gpus, Unknown) or not 0 <= draft.now - ended_at < GPU_RELEASE_MAX_S:
        return False
    threshold_mib = project.gpu_free_threshold_mib
    gpus = (gpu for gpu in view.gpus if gpu.uuid in attempt.gpus and gpu.used_mib is not None)
    return any(may_be_ours(gpu, threshold_mib) for gpu in gpus)


def _release_poll_s(attempt: AttemptRecord, age_s: float) -> float:
    """Soon after an end look often, then less and less: what an attempt left behind may stay for minutes."""
    at_least_s = RELEASE_POLL_S * (1 if attempt.gpus else 4)
    return max(at_least_s, min(RELEASE_POLL_MAX_S, abs(age_s) / 4))
