"""`exq report --html`: one page that explains itself, to keep beside the results or to send to a colleague."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reconciler.model.enums import JobStatus
from reconciler.model.ledger import ProjectRun
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.estimate import phase_left_s, project_left_s
from reconciler.view.report_page import page
from reconciler.view.runs import run_end, run_name, run_of
from reconciler.view.timeline import timeline
from reconciler.view.times import about_left, compact, stamp
from reconciler.view.words import count, gpu_list, sentence, sentence_and_word

FAILED = (JobStatus.STUCK, JobStatus.FAILED_OOM, JobStatus.FAILED_OTHER)


def report_html(snapshot: Snapshot, project: str) -> str:
    """The page. Raises KeyError for a project that the specs do not name."""
    spec = snapshot.desired.projects[project]
    jobs = look.jobs_of(snapshot, project)
    phases = [phase for phase in snapshot.plan.phases if phase.project == project]
    run = run_of(snapshot, project)
    which = f", {run_name(run)}" if run_name(run) else ""
    meta = f"{escape(spec.source)} at {escape(snapshot.desired.revision)}, as of {stamp(snapshot.now)}{which}"
    drawn = timeline(snapshot, project, run)
    body = [
        f'<header><h1>{escape(project)}</h1><p class="meta">{meta}</p></header>',
        _tiles(snapshot, project, jobs, run),
        _section("Phases", "".join(_phase(snapshot, phase) for phase in phases)),
        _section("Failures", _failures(snapshot, jobs)),
        _section("Attempts over time", f'<div class="scroll lanes">{drawn}</div>{_legend()}' if drawn else ""),
        _section("Jobs", _jobs(snapshot, jobs)),
        "<footer>Made by exq. Hover over an attempt to see what it was.</footer>",
    ]
    return page(f"{escape(project)}: experiments", "\n".join(part for part in body if part))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _tiles(snapshot: Snapshot, project: str, jobs: Sequence[JobState], run: ProjectRun | None) -> str:
    numbers = {status: sum(state.status is status for state in jobs) for status in JobStatus}
    waiting = len(jobs) - sum(numbers[s] for s in (JobStatus.COMPLETED, JobStatus.RUNNING, JobStatus.STUCK))
    tiles = [(f"{numbers[JobStatus.COMPLETED]} of {len(jobs)}", "completed")]
    tiles += [
        (str(number), word)
        for number, word in (
            (numbers[JobStatus.RUNNING], "running"),
            (waiting, "waiting"),
            (numbers[JobStatus.STUCK], "stuck"),
        )
        if number
    ]
    tiles += [(compact(run_end(snapshot, run) - run.started_at), "wall-clock")] if run else []
    left = project_left_s(snapshot, project) if numbers[JobStatus.RUNNING] else None
    words = about_left(left).removeprefix("about ").removesuffix(" left") if left is not None and left >= 1 else ""
    tiles += [(words, "left (estimate)")] if words else []
    return f'<ul class="tiles">{"".join(f"<li><b>{number}</b><span>{word}</span></li>" for number, word in tiles)}</ul>'


def _phase(snapshot: Snapshot, phase: PhaseState) -> str:
    total = look.total(phase)
    done = look.done(phase)
    order = (JobStatus.COMPLETED, JobStatus.RUNNING, JobStatus.FAILED_OOM, JobStatus.FAILED_OTHER, JobStatus.STUCK)
    parts = [
        f'<i class="{status}" style="width:{100 * phase.counts[status] / total:.2f}%"></i>'
        for status in order
        if phase.counts.get(status)
    ]
    bar = (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{done}" '
        f'aria-label="{escape(phase.phase)}">{"".join(parts)}</div>'
    )
    return (
        f'<div class="phase"><span class="name">{escape(phase.phase)}</span>{bar}'
        f'<span class="number">{done} of {total}</span>{_phase_note(snapshot, phase)}</div>'
    )


def _phase_note(snapshot: Snapshot, phase: PhaseState) -> str:
    words = [] if phase.open else [phase.waiting_on]
    words += [f"{phase.counts[status]} {status}" for status in (JobStatus.RUNNING, *FAILED) if phase.counts.get(status)]
    left = phase_left_s(snapshot, phase.project, phase.phase)
    words += [about_left(left)] if left and left >= 1 and phase.counts.get(JobStatus.RUNNING) else []
    text = ", ".join(word for word in words if word)
    return f'<span class="note">{escape(text)}</span>' if text else ""


def _failures(snapshot: Snapshot, jobs: Sequence[JobState]) -> str:
    rows = [
        f"<tr><td class='tight mono'>{escape(state.job.partition('/')[2])}</td><td class='tight'>{_status(state)}</td>"
        f'<td class="why">{escape(sentence_and_word(state.message, state.reason))}</td>'
        f'<td class="tight"><code>exq why {escape(look.short_name(snapshot, state.job))}</code></td></tr>'
        for state in jobs
        if state.status in FAILED
    ]
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Job", "Status", "Reason", "More"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _status(state: JobState) -> str:
    return f'<span class="dot {state.status}" aria-hidden="true"></span>{state.status}'


def _legend() -> str:
    names = {"completed": "completed", "running": "running", "out of memory or failed": "failed_oom"}
    return (
        '<ul class="legend">'
        + "".join(f'<li><span class="dot {word}" aria-hidden="true"></span>{name}</li>' for name, word in names.items())
        + "</ul>"
    )


def _jobs(snapshot: Snapshot, jobs: Sequence[JobState]) -> str:
    statuses = [status for status in JobStatus if any(state.status is status for state in jobs)]
    options = "".join(f"<option>{status}</option>" for status in statuses)
    controls = (
        '<div class="filter" hidden><label>Filter <input id="words" type="search" placeholder="N512 seed42"></label>'
        f'<label>Status <select id="status"><option value="">any</option>{options}</select></label>'
        f'<output id="shown">{count(len(jobs), "job")}</output></div>'
    )
    gpus = any(job.gpus for job in snapshot.desired.index.values())
    names = ("Job", "Phase", "Status", "Attempts", *(("GPU",) if gpus else ()), "Started", "Took", "Reason")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "".join(_job(snapshot, state, gpus) for state in jobs)
    table = f'<table id="jobs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'{controls}<div class="scroll">{table}</div>'


def _job(snapshot: Snapshot, state: JobState, gpus: bool) -> str:
    attempt = look.record_of(snapshot, state.job).last
    start = look.started_at(snapshot, attempt) if attempt else None
    end = look.ended_at(attempt) if attempt else None
    took = "" if start is None else compact((snapshot.now if end is None else end) - start)
    cells = [
        ("tight mono", state.job.partition("/")[2]),
        ("tight", state.phase),
        ("tight", str(look.attempts_ran(snapshot, state.job) or "")),
        *([("tight", gpu_list(attempt.gpu_indices).removeprefix("GPU ") if attempt else "")] if gpus else []),
        ("tight", stamp(start) if start is not None else ""),
        ("tight", took),
        ("why", sentence(state.message, state.reason)),
    ]
    html = [f'<td class="{kind}">{escape(text)}</td>' for kind, text in cells]
    html.insert(2, f'<td class="tight">{_status(state)}</td>')
    return f'<tr data-status="{state.status}">{"".join(html)}</tr>'
