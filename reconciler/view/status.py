"""`exq status`: where everything stands, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.diff import alert_lines, file_notes, host_words
from reconciler.view.diff_rows import ALIKE_SHOWN, ROWS_SHOWN, stuck_verb, waiting_words
from reconciler.view.estimate import any_runs, job_left_words, phase_left_s, typical_s
from reconciler.view.hosts import host_lines
from reconciler.view.look import GpuUse
from reconciler.view.serving import TO_SERVE_THESE, others_words, serves_others
from reconciler.view.sort import Alike, draw_together
from reconciler.view.status_json import status_json
from reconciler.view.style import Heading, Line, Row, Style, bar, beside, command, hang, table
from reconciler.view.tick import progress_words
from reconciler.view.times import about_left, clock, mib, short_clock, spoken
from reconciler.view.words import COMMIT_REASONS, count, heading, place, sentence_and_word

__all__ = ["render_status", "status_json"]

RUNNING_SHOWN = 40
GPUS_SHOWN = 24


def render_status(
    snapshot: Snapshot, style: Style, daemon: Mapping[str, object] | None = None, *, hosts: bool = False
) -> str:
    """Progress, running, waiting and stuck jobs, and the GPUs with who uses them.

    `hosts`: all that is known of the hosts, in place of their GPUs alone. `daemon`: the loop that holds the state
    folder (`pid`, `host`, `since` in epoch seconds), empty when there is none; None leaves that line out."""
    states = [state for state in snapshot.plan.states.values() if state.job in snapshot.desired.index]
    moves = daemon is None or bool(daemon) or any_runs(snapshot)
    blocks = [
        _warnings(snapshot, style),
        *_projects(snapshot, style, estimate=moves),
        _running(snapshot, states, style),
        _waiting(snapshot, states, style),
        _stuck(snapshot, states, style),
        _left_alone(snapshot, style),
        *([host_lines(snapshot, style)] if hosts else _gpus(snapshot, style)),
        _footer(snapshot, daemon, style),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def label(snapshot: Snapshot, key: str) -> str:
    """A job as it is named in a list: its id, or `project/id` when several projects are listed."""
    return key if len(snapshot.desired.projects) > 1 else key.partition("/")[2]


def _warnings(snapshot: Snapshot, style: Style) -> list[str]:
    lines: list[str] = []
    for message in look.unknown_notes(snapshot):
        lines += hang(style.paint("?", "cyan"), message, style)
    lines += alert_lines(snapshot, style)
    mistakes = [error for error in snapshot.desired.errors if not error.warning]
    paths = {file.path for file in snapshot.desired.files}
    said = [str(error) for error in mistakes if error.path not in paths]
    if len(said) < len(mistakes):
        said.append(f"{count(len(mistakes) - len(said), 'mistake')} in the specs (exq validate)")
    for words in said:
        lines += hang(style.paint("!", "red"), words, style)
    return lines + file_notes(snapshot, style)


def _projects(snapshot: Snapshot, style: Style, *, estimate: bool) -> list[list[str]]:
    by_project: dict[str, list[PhaseState]] = {}
    for phase in snapshot.plan.phases:
        by_project.setdefault(phase.project, []).append(phase)
    if not by_project:
        return [["The specs ask for no job."]]
    return [_project(snapshot, name, phases, style, estimate=estimate) for name, phases in by_project.items()]


def _project(snapshot: Snapshot, name: str, phases: Sequence[PhaseState], style: Style, *, estimate: bool) -> list[str]:
    paused = "  (paused; exq resume " + name + ")" if name in snapshot.ledger.paused else ""
    progress = progress_words(snapshot, name, phases, estimate=estimate)
    lines = [f"{style.bold(name)}: {progress}{style.paint(paused, 'yellow')}"]
    width = max(len(phase.phase) for phase in phases)
    digits = max(len(f"{look.total(phase)}") for phase in phases)
    for phase in phases:
        alone = look.main_alone(phase, snapshot.plan.phases)
        lead = "" if alone else f"{phase.phase:<{width}}  "
        done, total = look.done(phase), look.total(phase)
        numbers = f"{done:>{digits}}/{total:<{digits}}"
        words = "" if alone else _phase_words(snapshot, phase, estimate=estimate)
        columns = len(f"  {lead}{bar(done, total, Style())} {numbers}  ")
        lines += beside(f"  {lead}{bar(done, total, style)} {numbers}  ", columns, words, style)
    return lines + _analysis(snapshot, name, style)


def _analysis(snapshot: Snapshot, project: str, style: Style) -> list[str]:
    """What became of `analyze_on_complete`."""
    attempt = look.analysis_of(snapshot, project)
    if attempt is None:
        return []
    logs = command(f"exq logs {attempt.job}")
    if attempt.verdict is None:
        return hang("  ", f"analysis started at {short_clock(attempt.intended_at, snapshot.now)}; {logs}", style)
    verdict = attempt.verdict
    how = "completed" if verdict.status is JobStatus.COMPLETED else sentence_and_word(verdict.message, verdict.reason)
    return hang("  ", f"analysis {short_clock(verdict.at, snapshot.now)}: {how}; {logs}", style)


def _phase_words(snapshot: Snapshot, phase: PhaseState, *, estimate: bool) -> str:
    if not phase.open and phase.waiting_on:
        return phase.waiting_on
    shown = [status for status in JobStatus if status not in (JobStatus.PENDING, JobStatus.COMPLETED)]
    words = [f"{phase.counts[status]} {status}" for status in shown if phase.counts.get(status)]
    left = phase_left_s(snapshot, phase.project, phase.phase) if estimate else None
    return ", ".join([*words, about_left(left)] if left is not None and left >= 1 else words)


def _running(snapshot: Snapshot, states: Sequence[JobState], style: Style) -> list[str]:
    running = [state for state in states if state.status is JobStatus.RUNNING]
    shown = running[:RUNNING_SHOWN]
    typical: dict[tuple[str, str], float | None] = {}
    rows: list[Line] = []
    for state in shown:
        place = (state.project, state.phase)
        if place not in typical:
            typical[place] = typical_s(snapshot, [s for s in states if (s.project, s.phase) == place])
        rows.append(_running_row(snapshot, state, typical[place]))
    if len(running) > len(shown):
        rows.append(f"    ... and {len(running) - len(shown):,} more (exq status --json)")
    return table([Heading("running"), *rows], style) if rows else []


def _running_row(snapshot: Snapshot, state: JobState, typical: float | None) -> Row:
    attempt = look.record_of(snapshot, state.job).last
    start = look.started_at(snapshot, attempt) if attempt else None
    pid = look.payload_pid(snapshot, attempt) if attempt else None
    age = spoken(snapshot.now - start) if start is not None else _unseen_age(snapshot, state, attempt)
    number = f"attempt {attempt.number}" if attempt and attempt.number > 1 else ""
    left = job_left_words(snapshot, state, typical) if start else ""
    odd = "" if state.reason in (Reason.RUNNING, Reason.STARTING) else sentence_and_word(state.message, state.reason)
    changed = "command changed since it started; left alone" if state.drift else ""
    words = ", ".join(word for word in (f"pid {pid}" if pid else "", number, left, odd, changed) if word)
    where = place(look.host_shown(snapshot, state.job, attempt.host), attempt.gpu_indices) if attempt else ""
    return Row(" ", (label(snapshot, state.job), where, age, words), "cyan")


def _unseen_age(snapshot: Snapshot, state: JobState, attempt: AttemptRecord | None) -> str:
    """In place of how long it has run, where its start was not seen: on a silent host it may run for long."""
    if attempt is None or state.reason is not Reason.HOST_UNKNOWN:
        return "starting"
    return f"since {short_clock(attempt.intended_at, snapshot.now)}"


def _waiting(snapshot: Snapshot, states: Sequence[JobState], style: Style) -> list[str]:
    """Waiting jobs, drawn together by phase and reason."""
    waiting = draw_together(s for s in states if s.is_hold and s.status is not JobStatus.STUCK)
    lines: list[Line] = [_waiting_row(snapshot, alike) for alike in waiting[:ROWS_SHOWN]]
    if len(waiting) > ROWS_SHOWN:
        hidden = sum(len(alike) for alike in waiting[ROWS_SHOWN:])
        lines.append(f"    ... and {hidden:,} more (exq status --json)")
    return table([Heading("waiting"), *lines], style) if lines else []


def _stuck(snapshot: Snapshot, states: Sequence[JobState], style: Style) -> list[str]:
    """Stuck jobs, with what to type; many that are stuck alike are one row."""
    stuck = draw_together(state for state in states if state.status is JobStatus.STUCK)
    rows: list[Line] = []
    hidden = 0
    for alike in stuck:
        told = [(alike[0], count(len(alike), "job"))] if len(alike) > ALIKE_SHOWN else [(one, "") for one in alike]
        hidden += 0 if len(rows) + len(told) <= ROWS_SHOWN else len(alike)
        rows += [_stuck_row(snapshot, *one) for one in told] if len(rows) + len(told) <= ROWS_SHOWN else []
    if hidden:
        rows.append(f"    ... and {hidden:,} more (exq status --json)")
    return table([Heading("stuck"), *rows], style) if rows else []


def _waiting_row(snapshot: Snapshot, alike: Alike) -> Row:
    first = alike[0]
    phases = [p for p in snapshot.plan.phases if (p.project, p.phase) == (first.project, first.phase)]
    alone = any(look.main_alone(phase, snapshot.plan.phases) for phase in phases)
    name = label(snapshot, first.job) if len(alike) == 1 else count(len(alike), "job")
    failed = first.status is not JobStatus.PENDING
    why = sentence_and_word(first.message, first.reason) if failed else waiting_words(first)
    when = f"; again at {clock(first.until, snapshot.now)}" if first.until else ""
    return Row(".", (name, heading(first.project, first.phase, alone), why + when))


def _stuck_row(snapshot: Snapshot, state: JobState, many: str) -> Row:
    """One stuck job; with `many` (`8 jobs`) it stands for that many."""
    name = look.short_name(snapshot, state.job)
    why = sentence_and_word(state.message, state.reason)
    commands = [command(f"exq {stuck_verb(state)} {name}")]
    if state.reason is not Reason.NO_COMMAND and state.reason not in COMMIT_REASONS:
        commands.append(command(f"exq retry {state.project if many else name}"))
    return Row("!", (many or label(snapshot, state.job), f"{why}; {', '.join(commands)}"))


def _left_alone(snapshot: Snapshot, style: Style) -> list[str]:
    orphans = [state for state in snapshot.plan.states.values() if look.is_orphan(snapshot, state)]
    rows: list[Line] = [Row("~", (state.job, str(state.status), _left(state))) for state in orphans[:ROWS_SHOWN]]
    if len(orphans) > ROWS_SHOWN:
        rows.append(f"    ... and {len(orphans) - ROWS_SHOWN:,} more")
    return table([Heading("not in the specs any more"), *rows], style) if rows else []


def _left(state: JobState) -> str:
    return f"left alone; {command('exq stop')} ends it" if state.status is JobStatus.RUNNING else "it has ended"


def _gpus(snapshot: Snapshot, style: Style) -> list[list[str]]:
    """A line a GPU; a line a host where these would be too many."""
    known: dict[str, list[GpuUse]] = {}
    for host in look.hosts_of(snapshot):
        uses = look.gpu_uses(snapshot, host, look.free_threshold_mib(snapshot))
        if not isinstance(uses, Unknown) and uses:
            known[host] = uses
    if len(known) > 1 and sum(map(len, known.values())) > GPUS_SHOWN:
        rows = [
            Row(" ", (host, f"{sum(use.free for use in uses)} of {len(uses)} free")) for host, uses in known.items()
        ]
        return [table([Heading("GPUs", "exq hosts shows more"), *rows], style)]
    return [
        table([Heading(f"GPUs, {host_words(snapshot, host)}"), *(_gpu_row(use) for use in uses)], style)
        for host, uses in known.items()
    ]


def _gpu_row(use: GpuUse) -> Row:
    gpu = use.gpu
    memory = f"{mib(gpu.used_mib)[:-4]} of {mib(gpu.total_mib)}" if gpu.used_mib is not None else mib(None)
    who = ", ".join(use.ours) or use.holders or use.words
    return Row(" ", (f"{gpu.index}", gpu.name, memory, who), "green" if use.free else "plain")


def _footer(snapshot: Snapshot, daemon: Mapping[str, object] | None, style: Style) -> list[str]:
    lines: list[str] = []
    for request in snapshot.requests[:ROWS_SHOWN]:
        asked = f"asked by {request.by} at {short_clock(request.at, snapshot.now)}"
        lines.append(f"{str(request.kind).replace('_', '-')} {request.target}: {asked}, not carried out yet")
    jobs = sorted(key for key in snapshot.ledger.paused if "/" in key)
    if jobs:
        more = f" and {len(jobs) - 1:,} more" if len(jobs) > 1 else ""
        lines.append(f"paused: {jobs[0]}{more} (exq resume {jobs[0]})")
    if serves_others(daemon):
        assert daemon is not None
        return [*lines, *hang(style.paint("!", "yellow") + " ", f"{others_words(daemon)}: {TO_SERVE_THESE}", style)]
    return lines if daemon is None else [*lines, style.dim(daemon_words(daemon, snapshot))]


def daemon_words(daemon: Mapping[str, object], snapshot: Snapshot) -> str:
    """Whether a loop runs, and which."""
    if not daemon:
        return "No loop is running." + ("" if snapshot.plan.settled else " exq run starts one.")
    where = f" on {daemon['host']}" if daemon.get("host") else ""
    since = daemon.get("since")
    when = f" since {short_clock(since, snapshot.now)}" if isinstance(since, int | float) else ""
    pid = f" (pid {daemon['pid']})" if daemon.get("pid") else ""
    return f"The loop runs{where}{when}{pid}."
