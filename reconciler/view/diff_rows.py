"""The rows of `exq diff`, group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.plan import Action, JobState, Kill, PhaseState, Settle
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.sort import NOT_IN_SPECS, Alike, Place, Sorted
from reconciler.view.style import Heading, Line, Row, command
from reconciler.view.times import clock
from reconciler.view.words import count, heading, on_place, sentence, sentence_and_word

ROWS_SHOWN = 12
"""Of each kind (actions, changed, stuck, waiting) in each phase."""

ALIKE_SHOWN = 3
"""More jobs than this with the same words are drawn into one row; waiting ones always are."""

NAME_WIDTH = 13
WHAT_WIDTH = 26

MARKS = {
    ActionKind.LAUNCH: "+",
    ActionKind.KILL: "-",
    ActionKind.REQUEUE: "~",
    ActionKind.ADOPT: "~",
    ActionKind.COMPLETE: "~",
    ActionKind.FAIL: "!",
}

RowOf = Callable[[Snapshot, JobState, str], Row]

Counted = tuple[Row, int]
"""A row, and how many jobs it stands for."""


def group_lines(snapshot: Snapshot, found: Sorted, verbose: bool) -> list[Line]:
    """One group per phase that has something to tell, in spec order; then what no spec asks for any more."""
    held = _by_place(found.holds)
    drifted = _by_place(found.drifted)
    phases = {(phase.project, phase.phase): phase for phase in snapshot.plan.phases}
    lines: list[Line] = []
    for place in dict.fromkeys([*phases, *found.actions, *held, *drifted]):
        if place == NOT_IN_SPECS:
            continue
        rows = _group_rows(snapshot, found.actions.get(place, []), drifted.get(place, []), held.get(place, []), verbose)
        if rows:
            lines += [_heading(place, phases.get(place), snapshot), *rows]
    return lines + _orphan_lines(snapshot, found, verbose)


def _by_place(sorted_jobs: Sequence[Alike]) -> dict[Place, list[Alike]]:
    places: dict[Place, list[Alike]] = {}
    for alike in sorted_jobs:
        places.setdefault((alike[0].project, alike[0].phase), []).append(alike)
    return places


def _heading(place: Place, phase: PhaseState | None, snapshot: Snapshot) -> Heading:
    if phase is None:
        return Heading(" / ".join(part for part in place if part))
    text = heading(*place, look.main_alone(phase, snapshot.plan.phases))
    if not phase.open and phase.waiting_on:
        return Heading(text, phase.waiting_on)
    return Heading(text, f"{look.done(phase):,} of {look.total(phase):,} completed")


def _group_rows(
    snapshot: Snapshot, actions: list[Action], drifted: list[Alike], held: list[Alike], verbose: bool
) -> list[Line]:
    failed = [alike for alike in held if alike[0].status is not JobStatus.PENDING]
    waiting = [alike for alike in held if alike[0].status is JobStatus.PENDING]
    lines = _cut(_action_rows(snapshot, actions, verbose), len(actions), verbose)
    for listed, row_of in ((drifted, _drift_row), (failed, _failed_row), (waiting, _waiting_row)):
        lines += _cut(_job_rows(snapshot, listed, row_of, verbose), sum(map(len, listed)), verbose)
    return lines


def _cut(rows: Iterator[Counted], total: int, verbose: bool) -> list[Line]:
    """The first rows, and how many more of `total` there are. What is not shown is not built either."""
    shown = list(rows if verbose else islice(rows, ROWS_SHOWN))
    hidden = total - sum(number for _, number in shown)
    lines: list[Line] = [row for row, _ in shown]
    return [*lines, f"    ... and {hidden:,} more (exq diff --all)"] if hidden else lines


def _job_rows(snapshot: Snapshot, listed: list[Alike], row_of: RowOf, verbose: bool) -> Iterator[Counted]:
    """One row for all that stand alike, or a row each where they are few or everything is wanted."""
    for alike in listed:
        shown = 1 if alike[0].status is JobStatus.PENDING else ALIKE_SHOWN
        if len(alike) > shown and not verbose:
            yield row_of(snapshot, alike[0], count(len(alike), "job")), len(alike)
        else:
            for state in alike:
                yield row_of(snapshot, state, _id(state.job)), 1


def _id(key: str) -> str:
    return key.partition("/")[2]


def _action_rows(
    snapshot: Snapshot, actions: list[Action], verbose: bool, name_of: Callable[[str], str] = _id
) -> Iterator[Counted]:
    """The same for actions. Launches are told one by one: each takes a slot of its own."""
    together: dict[tuple[object, ...], list[Action]] = {}
    for number, action in enumerate(actions):
        alone = number if verbose or action.kind is ActionKind.LAUNCH else -1
        # what completes a job names its own files: the reason alone says that they are alike
        message = "" if action.kind is ActionKind.COMPLETE else action.message
        words = (action.kind._value_, action.reason._value_, message, getattr(action, "retry_at", None))
        together.setdefault((*words, alone), []).append(action)
    for same in together.values():
        if len(same) > ALIKE_SHOWN:
            first = same[0]
            if any(action.message != first.message for action in same):
                first = replace(first, message="")
            yield _action_row(snapshot, first, count(len(same), "job")), len(same)
        else:
            for action in same:
                yield _action_row(snapshot, action, name_of(action.job)), 1


def _action_row(snapshot: Snapshot, action: Action, name: str) -> Row:
    why = sentence(action.message, action.reason)
    if action.kind is ActionKind.FAIL:
        why = sentence_and_word(action.message, action.reason)
    return Row(MARKS[action.kind], (name, action_words(action, snapshot), why))


def action_words(action: Action, snapshot: Snapshot) -> str:
    """What is to be done, in the imperative."""
    now = snapshot.now
    if action.kind is ActionKind.LAUNCH:
        return f"launch{on_place(look.host_shown(snapshot, action.job, action.host), action.gpu_indices)}"
    if isinstance(action, Kill):
        return kill_words(action)
    if isinstance(action, Settle) and action.kind is ActionKind.REQUEUE:
        later = action.retry_at is not None and action.retry_at > now
        return f"requeue at {clock(action.retry_at or now, now)}" if later else "requeue"
    if action.kind is ActionKind.FAIL:
        return "give up" if action.attempt else "fail"
    return str(action.kind)


def kill_words(action: Kill) -> str:
    """A kill of processes, or the closing of a screen that nothing runs in."""
    if action.reason is Reason.STALE_SCREEN:
        return "kill its stale screen"
    return f"kill attempt {action.attempt}" + (" by force" if action.force else "")


def _drift_row(snapshot: Snapshot, state: JobState, name: str) -> Row:
    since = "started" if state.status is JobStatus.RUNNING else "ran"
    return Row("~", (name, str(state.status), f"command changed since it {since}; left alone"))


def _failed_row(snapshot: Snapshot, state: JobState, name: str) -> Row:
    """Stuck, or failed and to be tried again."""
    why = sentence_and_word(state.message, state.reason)
    if state.status is JobStatus.STUCK:
        look_into = command(f"exq {stuck_verb(state)} {look.short_name(snapshot, state.job)}")
        return Row("!", (name, "stuck", f"{why}; {look_into}"))
    again = f"again at {clock(state.until, snapshot.now)}" if state.until else "to be tried again"
    return Row(".", (name, again, why))


def stuck_verb(state: JobState) -> str:
    """What to look at first for a stuck job: its log where it ran, else its reason."""
    return "logs" if state.attempt else "why"


def _waiting_row(snapshot: Snapshot, state: JobState, name: str) -> Row:
    what = f"pending until {clock(state.until, snapshot.now)}" if state.until else "pending"
    return Row(".", (name, what, waiting_words(state)))


def waiting_words(state: JobState) -> str:
    """Why it waits; what keeps a phase closed stands in the phase's own line."""
    if state.reason in (Reason.PHASE_NOT_READY, Reason.NEEDS_STUCK):
        return sentence("", state.reason)
    return sentence(state.message, state.reason)


def _orphan_lines(snapshot: Snapshot, found: Sorted, verbose: bool) -> list[Line]:
    acted, orphans = found.actions.get(NOT_IN_SPECS, []), found.orphans
    if not acted and not orphans:
        return []
    shown = orphans if verbose else orphans[:ROWS_SHOWN]
    rows = _cut(_action_rows(snapshot, acted, verbose, str), len(acted), verbose)
    rows += [Row("~", (each.job, _orphan_words(snapshot, each), _left(each))) for each in shown]
    if len(orphans) > len(shown):
        rows.append(f"    ... and {len(orphans) - len(shown):,} more (exq diff --all)")
    return [Heading("not in the specs"), *rows]


def _left(state: JobState) -> str:
    left = f"left alone ({command('exq stop')} ends it)" if state.status is JobStatus.RUNNING else "it has ended"
    return f"no spec asks for it; {left}"


def _orphan_words(snapshot: Snapshot, state: JobState) -> str:
    attempt = look.record_of(snapshot, state.job).last
    where = on_place(look.host_shown(snapshot, state.job, attempt.host), attempt.gpu_indices) if attempt else ""
    return f"{state.status}{where}"
