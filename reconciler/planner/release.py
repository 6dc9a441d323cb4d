"""What an attempt that is over still keeps: its slot, its GPUs, its job; and the cleaning up after it."""

from __future__ import annotations

from math import ceil

from reconciler.model.enums import Reason
from reconciler.model.facts import AttemptFacts, HostView, Session, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.planner.draft import Draft
from reconciler.planner.limits import (
    CLOCK_DOUBT_S,
    FINISH_POLL_S,
    GPU_RELEASE_MAX_S,
    KILL_GRACE_S,
    RELEASE_POLL_MAX_S,
    RELEASE_POLL_S,
    SESSION_GRACE_S,
)
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
    sessions = screens_of(attempt, view)
    unlisted = facts.unlisted and attempt.session is not None
    gone = facts.scanned and not tree and not facts.shim_alive and sessions == () and not unlisted
    if gone and not _memory_lingers(draft, attempt, view, ended_at):
        draft.released.append(attempt.path)
        return
    if tree:
        draft.occupying[attempt.path] = attempt
    draft.hold(attempt)
    draft.left[attempt.path] = what_is_left(draft.now, attempt, facts, sessions, ended_at, _linger_s(draft, attempt))
    changed_at = max(ended_at, attempt.kill_last_at or ended_at)
    draft.wake(draft.now + (FINISH_POLL_S if unlisted else _release_poll_s(attempt, draft.now - changed_at)))
    _wake_for_reaping(draft, attempt, ended_at, _linger_s(draft, attempt))
    kill = reap_ended(draft.now, attempt, facts, sessions, ended_at, _linger_s(draft, attempt))
    if kill is not None:
        draft.actions.append(kill)
        draft.wake(draft.now + _release_poll_s(attempt, 0.0))


def _linger_s(draft: Draft, attempt: AttemptRecord) -> float:
    if attempt.verdict is not None and attempt.verdict.reason is Reason.HOST_FORGOTTEN:
        return 0.0  # its job has started elsewhere
    project = draft.project_of(attempt.job)
    return project.linger_s if project else DEFAULT_LINGER_S


def what_is_left(
    now: float,
    attempt: AttemptRecord,
    facts: AttemptFacts,
    sessions: tuple[Session, ...] | None,
    ended_at: float,
    linger_s: float,
) -> str:
    """In words, why an attempt that has ended is not let go of: `pid 9858 of it is left (ended in 4 min)`."""
    if facts.payload_alive or facts.tree_alive:
        pids = ", ".join(str(pid) for pid in facts.tree_pids)
        what = f"pid {pids} of it" if pids else "some process of it"
        due_s = linger_s - abs(now - ended_at)
        when = "being ended" if attempt.kill_at is not None or due_s <= 0 else f"ended in {in_words(due_s)}"
        return f"{what} {'are' if len(facts.tree_pids) > 1 else 'is'} left ({when})"
    if sessions:
        return "its screen is still there"
    if facts.shim_alive or not facts.scanned or sessions is None or facts.unlisted:
        return "it is looked whether all of it is gone"
    return "its GPU memory is not released yet"


def in_words(duration_s: float) -> str:
    """`40 s`, `4 min`, `2 h`: never less than it is."""
    if duration_s <= 90:
        return f"{ceil(duration_s)} s"
    return f"{ceil(duration_s / 60)} min" if duration_s <= 90 * 60 else f"{ceil(duration_s / 3600)} h"


def _wake_for_reaping(draft: Draft, attempt: AttemptRecord, ended_at: float, linger_s: float) -> None:
    """At the very moments that `reap_ended` waits for, so that a plan does not outlast them."""
    asked_at = attempt.kill_last_at
    moments = [ended_at + linger_s, ended_at + SESSION_GRACE_S, *([asked_at + KILL_GRACE_S] if asked_at else [])]
    for at in moments:
        if at > draft.now:
            draft.wake(at)


def screens_of(attempt: AttemptRecord, view: HostView) -> tuple[Session, ...] | None:
    """The attempt's screens; None when they were not looked at or cannot be seen."""
    if not attempt.session:
        return ()
    return sessions_of(attempt, view.sessions) if isinstance(view.sessions, tuple) else None


def _memory_lingers(draft: Draft, attempt: AttemptRecord, view: HostView, ended_at: float) -> bool:
    """The driver still gives back the memory of its GPUs: worth a quick look, for a while."""
    project = draft.project_of(attempt.job)
    fresh = -CLOCK_DOUBT_S <= draft.now - ended_at < GPU_RELEASE_MAX_S
    if project is None or isinstance(view.gpus, Unknown) or not fresh:
        return False
    threshold_mib = project.gpu_free_threshold_mib
    gpus = (gpu for gpu in view.gpus if gpu.uuid in attempt.gpus and gpu.used_mib is not None)
    return any(may_be_ours(gpu, threshold_mib) for gpu in gpus)


def _release_poll_s(attempt: AttemptRecord, age_s: float) -> float:
    """Soon after an end look often, then less and less: what an attempt left behind may stay for minutes."""
    at_least_s = RELEASE_POLL_S * (1 if attempt.gpus else 4)
    return max(at_least_s, min(RELEASE_POLL_MAX_S, abs(age_s) / 4))
