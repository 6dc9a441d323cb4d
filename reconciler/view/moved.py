"""What has moved since a plan was saved, in words: the specs, the hosts, and every action that is not the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from reconciler.model.comparison import Change, Comparison
from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import Action
from reconciler.model.saved import SavedAction, SavedPlan, Step
from reconciler.model.snapshot import Snapshot
from reconciler.planner.moved import ActionMove, Moved
from reconciler.planner.plan_id import BEGIN_RUN, BRING, END_RUN, PIN
from reconciler.view import look
from reconciler.view.diff import action_json
from reconciler.view.spec_words import change_words, job_change_words
from reconciler.view.style import Row, Style, table
from reconciler.view.times import clock, iso_utc
from reconciler.view.words import place, sentence, sentence_and_word

SHOWN_MAX = 20
GENERATION_DIGITS = 12

Fact = tuple[str, str, str]
"""What kind of thing has moved, whose it is, and how."""


class Done(Protocol):
    """An action that was carried out, and what came of it."""

    @property
    def action(self) -> Action: ...
    @property
    def ok(self) -> bool: ...
    @property
    def message(self) -> str: ...


def moved_facts(moved: Moved, now: Snapshot) -> list[Fact]:
    """Everything that has moved, the cause before what follows from it; nothing where the plan still stands."""
    if not moved:
        return []
    acted = {move.job.partition("/")[0] for move in moved.actions}
    # a run begins and ends with actions of its jobs: where these are told, it goes without saying
    gone, new = (
        [s for s in steps if s[0] not in (BEGIN_RUN, END_RUN) or s[1] not in acted] for steps in (moved.gone, moved.new)
    )
    return [
        *(("specs", error.path, str(error)) for error in moved.broken),
        *(("specs", path, "it is being written just now") for path in moved.unsettled),
        *_specs(moved.specs),
        *(("host", host, f"it gives no answer any more: {_silence(now, host)}") for host in moved.fallen_silent),
        *(("host", host, "it answers now, and did not then") for host in moved.answering),
        *(_action(move, now) for move in moved.actions),
        *(("gone", _whom(step), f"{_step_words(step)}: not any more") for step in gone),
        *(("new", _whom(step), _step_words(step)) for step in new),
    ]


def render_moved(facts: list[Fact], style: Style) -> str:
    """A line for each, the first ones only where there are many."""
    lines: list[Row | str] = [Row("!", fact) for fact in facts[:SHOWN_MAX]]
    more = len(facts) - SHOWN_MAX
    return "\n".join(table([*lines, f"    ... and {more:,} more (--json)"] if more > 0 else lines, style))


def refused_json(saved: SavedPlan, now: Snapshot, facts: list[Fact]) -> dict[str, Any]:
    """`exq.apply/v1` of a plan that is not carried out: `what` is specs, host, gone, new or different."""
    moved = [{"what": what, "name": name, "message": message} for what, name, message in facts]
    return _document(saved.plan_id, now, applied=False, moved=moved, actions=[])


def applied_json(now: Snapshot, done: Sequence[Done]) -> dict[str, Any]:
    """`exq.apply/v1` of a plan that was: its actions as in `exq.diff/v1`, each with what came of it."""
    actions = [
        {**action_json(item.action, now.desired), "ok": item.ok, "message": item.message or item.action.message}
        for item in done
    ]
    return _document(now.plan.plan_id, now, applied=True, moved=[], actions=actions)


def _document(plan_id: str, now: Snapshot, **fields: Any) -> dict[str, Any]:
    return {
        "schema": "exq.apply/v1",
        "as_of": iso_utc(now.now),
        "plan_id": plan_id,
        "specs_rev": now.desired.revision,
        **fields,
    }


def _specs(found: Comparison) -> Iterator[Fact]:
    for project in found.projects:
        if project.change is not Change.CHANGED:
            yield "specs", project.name, "the project is new" if project.change is Change.ADDED else "it is gone"
            continue
        for change in project.settings:
            yield "specs", project.name, change_words(change)
        for phase in project.phases:
            name = f"{project.name} / {phase.name}"
            if phase.change is not Change.CHANGED:
                yield "specs", name, "the phase is new" if phase.change is Change.ADDED else "it is gone"
            for change in phase.settings:
                yield "specs", name, change_words(change)
        for job in project.jobs:
            words = {Change.ADDED: "the job is new", Change.REMOVED: "it is gone"}.get(job.change)
            yield "specs", job.key, words or job_change_words(job)


def _silence(now: Snapshot, host: str) -> str:
    view = now.observed.hosts.get(host)
    return view.message if isinstance(view, Unknown) else "it was not looked at"


def _action(move: ActionMove, now: Snapshot) -> Fact:
    if move.then is None:
        assert move.now is not None
        return "new", move.job, f"{_action_words(move.now)}: {sentence(move.now.message, Reason(move.now.reason))}"
    if move.now is None:
        return "gone", move.job, f"{_action_words(move.then)}: {_why_gone(move.then, now)}"
    return "different", move.job, f"{move.now.kind} {_difference(move.then, move.now)}"


def _action_words(action: SavedAction) -> str:
    where = place("", action.gpu_indices)
    attempt = f" (attempt {action.attempt})" if action.attempt else ""
    return f"{action.kind} on {action.host}{f', {where}' if where else ''}{attempt}"


def _difference(then: SavedAction, now: SavedAction) -> str:
    """What differs of two actions of one kind for one job."""
    pairs = (
        ("attempt", str(then.attempt), str(now.attempt)),
        ("on", then.host, now.host),
        ("on", _gpus(then), _gpus(now)),
        ("because of", then.reason, now.reason),
        ("of generation", then.generation[:GENERATION_DIGITS], now.generation[:GENERATION_DIGITS]),
    )
    words = [f"{name} {new} instead of {old}" for name, old, new in pairs if old != new]
    return ", ".join(words) or "in another way (screen or process, or what is left of it)"


def _gpus(action: SavedAction) -> str:
    return place("", action.gpu_indices) or "no GPU"


def _why_gone(then: SavedAction, now: Snapshot) -> str:
    record = look.record_of(now, then.job)
    attempt = next((each for each in record.attempts if each.number == then.attempt), None)
    if then.kind == ActionKind.LAUNCH and attempt is not None:
        return f"attempt {then.attempt} is there already, {_attempt_words(attempt, now)}"
    state = now.plan.states.get(then.job)
    if then.job not in now.desired.index or state is None:
        return "no spec asks for it any more"
    standing = f"the job is {state.status}: {sentence_and_word(state.message, state.reason)}"
    if then.kind != ActionKind.LAUNCH and attempt is not None and attempt.verdict is not None:
        return f"attempt {then.attempt} is settled ({attempt.verdict.status}); {standing}"
    return standing


def _attempt_words(attempt: AttemptRecord, now: Snapshot) -> str:
    since = f"launched at {clock(attempt.intended_at, now.now)}"
    if attempt.verdict is None:
        return since
    ended = "completed" if attempt.verdict.status is JobStatus.COMPLETED else f"failed ({attempt.verdict.reason})"
    return f"{since} and {ended}"


def _whom(step: Step) -> str:
    return step[1].rpartition("/")[0] if step[0] == BRING else step[1]


def _step_words(step: Step) -> str:
    if step[0] == BRING:
        return f"outputs of {step[1]} from {step[2]} to {step[3] or 'home'}"
    if step[0] == PIN:
        return f"it is to run from commit {step[2].partition(' ')[0][:12]}"
    return "its run begins" if step[0] == BEGIN_RUN else "its run is over, with the summary"
