"""`exq why JOB`: where a job stands, the chain of reasons, and what would move it."""

from __future__ import annotations

from typing import Any

from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import JobState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.style import Line, Row, Style, hang, table
from reconciler.view.times import clock, compact, iso_utc
from reconciler.view.why_chain import chain_of
from reconciler.view.why_next import next_commands
from reconciler.view.words import STATUS_COLOURS, count, place, sentence_and_word

ATTEMPTS_SHOWN = 8
LONG_MESSAGE = 30
"""Characters. What is shorter may stand there twice."""


def render_why(snapshot: Snapshot, job_key: str, style: Style) -> str:
    """The first line is `project/id is STATUS: Reason`. Raises KeyError for a job that the plan does not know."""
    state = snapshot.plan.states[job_key]
    colour = STATUS_COLOURS[state.status]
    lines = [f"{style.bold(job_key)} is {style.paint(str(state.status), colour)}: {state.reason}"]
    chain = chain_of(snapshot, state)
    for link in chain:
        lines += hang("  ", link, style)
    lines += _attempt_lines(snapshot, state, style, " ".join(chain))
    commands = next_commands(snapshot, state)
    return "\n".join([*lines, *([f"  next: {', '.join(commands)}"] if commands else [])]) + "\n"


def _attempt_lines(snapshot: Snapshot, state: JobState, style: Style, told: str) -> list[str]:
    """The newest attempts. What was `told` already is not told again."""
    attempts = look.record_of(snapshot, state.job).attempts
    shown = attempts[-ATTEMPTS_SHOWN:]
    if not shown:
        return []
    lines: list[Line] = ["  attempts:"]
    if len(attempts) > len(shown):
        earlier = count(len(attempts) - len(shown), "earlier one")
        lines.append(f"    {earlier}: exq history {look.short_name(snapshot, state.job)}")
    return table([*lines, *(_attempt_row(snapshot, attempt, told) for attempt in shown)], style)


def _attempt_row(snapshot: Snapshot, attempt: AttemptRecord, told: str) -> Row:
    start, end = look.started_at(snapshot, attempt), look.ended_at(attempt)
    when = clock(attempt.intended_at if start is None else start, snapshot.now)
    took = compact(end - start) if start is not None and end is not None else ""
    where = place(look.host_shown(snapshot, attempt.job, attempt.host), attempt.gpu_indices)
    if attempt.verdict is None:
        return Row(" ", (str(attempt.number), when, took, where, "not over"))
    verdict = attempt.verdict
    known = len(verdict.message) > LONG_MESSAGE and verdict.message in told
    how = verdict.reason if known else sentence_and_word(verdict.message, verdict.reason)
    outcome = f"{verdict.status}: {how}"
    return Row(" ", (str(attempt.number), when, took, where, outcome))


def why_json(snapshot: Snapshot, job_key: str) -> dict[str, Any]:
    """The same for programs (`exq.why/v1`). Raises KeyError for a job that the plan does not know."""
    state = snapshot.plan.states[job_key]
    return {
        "schema": "exq.why/v1",
        "as_of": iso_utc(snapshot.now),
        "job": job_key,
        "project": state.project,
        "phase": state.phase,
        "status": str(state.status),
        "reason": str(state.reason),
        "message": state.message,
        "until": iso_utc(state.until),
        "drift": state.drift,
        "chain": chain_of(snapshot, state),
        "attempts": _attempts_json(snapshot, job_key),
        "next": next_commands(snapshot, state),
    }


def _attempts_json(snapshot: Snapshot, key: str) -> list[dict[str, Any]]:
    return [_attempt_json(snapshot, attempt) for attempt in look.record_of(snapshot, key).attempts]


def _attempt_json(snapshot: Snapshot, attempt: AttemptRecord) -> dict[str, Any]:
    ended, exit_code = look.end_of(snapshot, attempt)
    return {
        "number": attempt.number,
        "host": attempt.host,
        "gpus": list(attempt.gpu_indices),
        "session": attempt.session,
        "pid": look.payload_pid(snapshot, attempt),
        "started": iso_utc(look.started_at(snapshot, attempt)),
        "ended": iso_utc(ended),
        "exit_code": exit_code,
        "status": str(attempt.verdict.status) if attempt.verdict else "running",
        "reason": str(attempt.verdict.reason) if attempt.verdict else None,
        "message": attempt.verdict.message if attempt.verdict else "",
    }
