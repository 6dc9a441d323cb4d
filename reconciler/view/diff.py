"""`exq diff`: the plan as text and as JSON. What the loop prints as it carries it out is in `tick.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import HostView
from reconciler.model.plan import Action, Settle
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired, SpecError
from reconciler.view import look
from reconciler.view.diff_rows import ALIKE_SHOWN, NAME_WIDTH, WHAT_WIDTH, group_lines
from reconciler.view.serving import TO_SERVE_THESE, others_words, serves_others
from reconciler.view.sort import Sorted, sort_plan
from reconciler.view.source import broken_words, file_json, source_json
from reconciler.view.style import Style, hang, table
from reconciler.view.times import iso_utc, spoken
from reconciler.view.transfers import jobs_to_bring, transfer_json, transfer_lines
from reconciler.view.words import COMMIT_REASONS, UNKNOWN_REASONS, count

ERRORS_SHOWN = 10


def render_diff(
    snapshot: Snapshot,
    style: Style,
    *,
    verbose: bool = False,
) -> str:
    """The plan for people: what would be done, what is not done and why. `verbose` leaves nothing out.

    It ends with one line that sums it up."""
    found = sort_plan(snapshot)
    blocks = [
        _header(snapshot, style),
        _spec_errors(snapshot, style, verbose),
        alert_lines(snapshot, style),
        _unknown(snapshot, found, style),
        table(group_lines(snapshot, found, verbose) + transfer_lines(snapshot), style, (NAME_WIDTH, WHAT_WIDTH)),
        [style.bold(_summary_line(snapshot, found, jobs_to_bring(snapshot.plan.transfers)))],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _header(snapshot: Snapshot, style: Style) -> list[str]:
    desired = snapshot.desired
    sizes = f"{count(len(desired.files), 'file')}, {count(len(desired.index), 'job')}"
    asked = f"specs at {desired.revision or 'no revision'} ({sizes})" if _has_specs(desired) else "no specs"
    return hang("", ", ".join([asked, *(host_words(snapshot, name) for name in look.hosts_of(snapshot))]), style)


def _has_specs(desired: Desired) -> bool:
    """A commit without a spec in it is worth its name; a folder without one has none."""
    return bool(desired.files or desired.index or (desired.source is not None and desired.source.commit))


def host_words(snapshot: Snapshot, name: str) -> str:
    """How old the facts of a host are, or that there are none."""
    heard = look.heard_at(snapshot, name)
    ago = f"{spoken(snapshot.now - heard)} ago" if heard is not None else ""
    if isinstance(snapshot.observed.hosts.get(name), HostView):
        return f"{name} observed {ago}"
    return f"{name} could not be observed" + (f" (last heard of {ago})" if ago else "")


def _spec_errors(snapshot: Snapshot, style: Style, verbose: bool) -> list[str]:
    errors = snapshot.desired.errors
    shown = errors if verbose else errors[:ERRORS_SHOWN]
    lines = [style.paint(str(error), "yellow" if error.warning else "red") for error in shown]
    if len(errors) > len(shown):
        lines.append(f"... and {count(len(errors) - len(shown), 'more mistake')} (exq validate)")
    return lines + file_notes(snapshot, style)


def alert_lines(snapshot: Snapshot, style: Style) -> list[str]:
    """What a person should know at once, a line each."""
    return [line for alert in look.alerts_of(snapshot) for line in hang(style.paint("!", "red"), alert, style)]


def file_notes(snapshot: Snapshot, style: Style) -> list[str]:
    """What is done about files that could not be taken as they are."""
    lines: list[str] = []
    for file in snapshot.desired.files:
        if file.broken and file.last_good:
            lines += hang("", f"{broken_words(file)}.", style)
        elif file.broken:
            lines += hang("", f"{file.path} has mistakes: nothing is changed for its jobs until it loads.", style)
        elif file.unsettled:
            lines += hang("", f"{file.path} is being written, or git is at work: it is taken when that is over.", style)
    return lines


def _unknown(snapshot: Snapshot, found: Sorted, style: Style) -> list[str]:
    """Probes without an answer, and what is left undone because of it."""
    notes = look.unknown_notes(snapshot)
    if not notes:
        return []
    lines = [style.bold("not known now: nothing that depends on it is launched, requeued or killed")]
    for message in notes:
        lines += hang(f"  {style.paint('?', 'cyan')}", message, style)
    held: dict[Reason, int] = {}
    for alike in found.holds:
        if alike[0].reason in UNKNOWN_REASONS:
            held[alike[0].reason] = held.get(alike[0].reason, 0) + len(alike)
    if held:
        waiting = ", ".join(f"{count(number, 'job')} ({reason})" for reason, number in held.items())
        lines += hang("  ", f"held because of it: {waiting}", style)
    return lines


def next_step(snapshot: Snapshot, daemon: Mapping[str, object] | None = None, saved_as: str | None = None) -> str:
    """What to type next, or that the loop `daemon` does it anyway; empty when there is nothing to say.

    `saved_as`: the file that the plan was written to."""
    found = sort_plan(snapshot)
    if daemon and serves_others(daemon):
        return f"! {others_words(daemon)}: {TO_SERVE_THESE}"
    if (found.actions or snapshot.plan.transfers) and daemon:
        pid = f" (pid {daemon['pid']})" if daemon.get("pid") else ""
        return f"The loop{pid} will carry it out."
    if saved_as and (snapshot.plan.actions or snapshot.plan.milestones):
        return f"Next: exq apply {saved_as}"
    following = _next_command(snapshot, found)
    lines = [f"{saved_as} has no action in it: there is nothing to apply."] if saved_as else []
    return "\n".join([*lines, *([f"Next: {following}"] if following else [])])


def _summary_line(snapshot: Snapshot, found: Sorted, to_bring: int) -> str:
    numbers = found.summary
    standing = [f"{numbers[word]} {word}" for word in ("waiting", "stuck") if numbers[word]]
    if not found.actions and not to_bring:
        if not found.total:
            return "Nothing to do: the specs ask for no job."
        if numbers["completed"] == found.total:
            return f"Nothing to do: {_all_completed(found.total)}."
        standing += [f"{numbers[word]} {word}" for word in ("running", "completed") if numbers[word]]
        return f"Nothing to do now: {', '.join(standing)}."
    to_do = [f"{numbers[word]} to {word}" for word in ("launch", "requeue", "kill")]
    to_do += [f"{numbers[word]} to {word}" for word in ("complete", "adopt", "fail") if numbers[word]]
    to_do += [f"outputs of {count(to_bring, 'job')} to bring"] if to_bring else []
    rest = ", ".join([*standing, f"{numbers['unchanged']} unchanged"])
    return f"Plan: {', '.join(to_do)}; {rest}. ({snapshot.plan.plan_id})"


def _all_completed(total: int) -> str:
    return "the one job is completed" if total == 1 else f"all {count(total, 'job')} are completed"


def _next_command(snapshot: Snapshot, found: Sorted) -> str:
    """What to type next: carry the plan out, look into what is stuck, or ask what a waiting job waits for."""
    if found.actions or snapshot.plan.transfers:
        return "exq run"
    stuck = found.first("stuck")
    if stuck:
        name = look.short_name(snapshot, stuck)
        reason = snapshot.plan.states[stuck].reason
        if reason is Reason.NO_COMMAND or reason in COMMIT_REASONS:
            return f"exq why {name}"
        return f"exq why {name}, exq logs {name}, exq retry {_stuck_together(found, stuck) or name}"
    waiting = found.first("waiting")
    return f"exq why {look.short_name(snapshot, waiting)}" if waiting else ""


def _stuck_together(found: Sorted, stuck: str) -> str:
    """The project of a stuck job where many jobs of it are stuck: they may be retried all at once."""
    project = stuck.partition("/")[0]
    number = sum(len(same) for same in found.holds if same[0].status is JobStatus.STUCK and same[0].project == project)
    return project if number > ALIKE_SHOWN else ""


def diff_json(snapshot: Snapshot) -> dict[str, Any]:
    """The plan for programs (`exq.diff/v1`). Times are UTC, `gpus` are indices, `job` is `project/id`."""
    found = sort_plan(snapshot)
    return {
        "schema": "exq.diff/v1",
        "as_of": iso_utc(snapshot.now),
        "plan_id": snapshot.plan.plan_id,
        "specs_rev": snapshot.desired.revision,
        "summary": found.summary,
        "source": source_json(snapshot.desired.source),
        "files": [file_json(file) for file in snapshot.desired.files],
        "actions": [action_json(action, snapshot.desired) for action in snapshot.plan.actions],
        "holds": [
            {
                "job": state.job,
                "status": str(state.status),
                "reason": str(state.reason),
                "message": state.message,
                "until": iso_utc(state.until),
            }
            for state in snapshot.plan.holds
        ],
        "transfers": [transfer_json(transfer) for transfer in snapshot.plan.transfers],
        "unknown": list(snapshot.plan.unknown),
        "alerts": list(snapshot.plan.alerts),
        "errors": [error_json(error) for error in snapshot.desired.errors],
    }


def action_json(action: Action, desired: Desired) -> dict[str, Any]:
    """One action; `retry_at` tells when a requeued job may run again, `revision` what its job comes from."""
    line = {
        "action": str(action.kind),
        "job": action.job,
        "reason": str(action.reason),
        "message": action.message,
        "host": action.host,
        "gpus": list(action.gpu_indices),
        "attempt": action.attempt,
        "revision": desired.revision_of(action.job.partition("/")[0]),
    }
    if isinstance(action, Settle) and action.kind is ActionKind.REQUEUE:
        line["retry_at"] = iso_utc(action.retry_at)
    return line


def error_json(error: SpecError) -> dict[str, Any]:
    """A mistake in a spec, with its place: null where it concerns the file as a whole."""
    return {
        "path": error.path,
        "line": error.line or None,
        "column": error.column or None,
        "message": error.message,
        "warning": error.warning,
    }
