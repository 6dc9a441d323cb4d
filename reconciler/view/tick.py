"""What the loop prints while it runs: a line per action, and where the projects stand."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.plan import Action, Kill, PhaseState, Settle
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.diff_rows import MARKS
from reconciler.view.estimate import project_left_s
from reconciler.view.style import MARK_COLOURS, Style
from reconciler.view.times import about_left, clock, spoken
from reconciler.view.words import on_place, sentence, sentence_and_word


def render_tick(snapshot: Snapshot, actions_done: Sequence[Action], style: Style) -> str:
    """One line per action that was carried out, the first with the plan they are of; empty when there was none."""
    lines = [_line(snapshot, action, style) for action in actions_done]
    if lines:
        lines[0] += "  " + style.dim(f"[plan {snapshot.plan.plan_id}]")
    return "".join(f"{line}\n" for line in lines)


def _line(snapshot: Snapshot, action: Action, style: Style) -> str:
    mark = MARKS[action.kind]
    colour = "green" if action.kind is ActionKind.COMPLETE else MARK_COLOURS[mark]
    what = style.paint(f"{mark} {action.job}", colour)
    return f"{style.dim(clock(snapshot.now, snapshot.now))}  {what}  {done_words(action, snapshot)}"


def done_words(action: Action, snapshot: Snapshot) -> str:
    """What was done, in the past tense."""
    why = sentence(action.message, action.reason)
    if action.kind is ActionKind.LAUNCH:
        new = action.reason is Reason.NEW_IN_SPEC
        where = on_place(look.host_shown(snapshot, action.job, action.host), action.gpu_indices)
        return f"launched{where} (attempt {action.attempt}){'' if new else f': {why}'}"
    if isinstance(action, Kill):
        return _killed(action, why)
    if isinstance(action, Settle) and action.kind is ActionKind.COMPLETE:
        return _completed(action, why)
    if action.reason is Reason.ENVIRONMENT_BROKEN:
        return f"could not be set up: {why}"
    if isinstance(action, Settle) and action.kind is ActionKind.REQUEUE:
        later = action.retry_at is not None and action.retry_at > snapshot.now
        when = f" for {clock(action.retry_at or 0.0, snapshot.now)}" if later else ""
        return f"requeued{when}: {why}"
    if action.kind is ActionKind.FAIL:
        return f"stuck: {sentence_and_word(action.message, action.reason)}; exq logs {_name(snapshot, action)}"
    return f"adopted: {why}"


def _name(snapshot: Snapshot, action: Action) -> str:
    return look.short_name(snapshot, action.job)


def _killed(action: Kill, why: str) -> str:
    if action.reason is Reason.STALE_SCREEN:
        return f"stale screen of attempt {action.attempt} closed: {why}"
    return f"attempt {action.attempt} {'killed' if action.force else 'asked to end'}: {why}"


def _completed(action: Settle, why: str) -> str:
    """`completed after 4.2 s`; with the reason where it was not a plain success."""
    started, ended = action.started_at, action.ended_at
    took = f" after {spoken(ended - started)}" if started is not None and ended is not None else ""
    return f"completed{took}" if action.reason is Reason.SUCCEEDED else f"completed{took}: {why}"


def render_progress_line(snapshot: Snapshot) -> str:
    """Where each project stands, a line each: `digits: 5/14 completed, 2 running, 7 waiting, about 40 s left`."""
    by_project: dict[str, list[PhaseState]] = {}
    for phase in snapshot.plan.phases:
        by_project.setdefault(phase.project, []).append(phase)
    return "\n".join(f"{name}: {progress_words(snapshot, name, phases)}" for name, phases in by_project.items())


def progress_words(snapshot: Snapshot, project: str, phases: Sequence[PhaseState], *, estimate: bool = True) -> str:
    """Counts of a project's jobs by where they stand, and with `estimate` the time left where it can be told."""
    counts = {status: sum(phase.counts.get(status, 0) for phase in phases) for status in JobStatus}
    waiting = counts[JobStatus.PENDING] + counts[JobStatus.FAILED_OOM] + counts[JobStatus.FAILED_OTHER]
    numbers = ((counts[JobStatus.RUNNING], "running"), (waiting, "waiting"), (counts[JobStatus.STUCK], "stuck"))
    words = [f"{counts[JobStatus.COMPLETED]}/{sum(counts.values())} completed"]
    words += [f"{number} {word}" for number, word in numbers if number]
    left = project_left_s(snapshot, project) if estimate and (counts[JobStatus.RUNNING] or waiting) else None
    return ", ".join([*words, about_left(left)] if left is not None and left >= 1 else words)
