"""The attempts of a project over time as inline SVG, a lane for each GPU or slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from reconciler.model.enums import JobStatus
from reconciler.model.ledger import AttemptRecord, ProjectRun
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.runs import attempts_in
from reconciler.view.times import HOUR_S, MINUTE_S, clock, compact
from reconciler.view.words import sentence_and_word

WIDTH, LEFT, RIGHT, LANE, TOP = 1000, 64, 12, 26, 8
TICK_STEPS_S = (1, 5, 15, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400)
TICKS_MAX = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One attempt on one lane."""

    lane: str
    start: float
    end: float
    status: str
    title: str


def timeline(snapshot: Snapshot, project: str, run: ProjectRun | None) -> str:
    """The SVG of a run, or nothing when no attempt of it has started."""
    records = (look.record_of(snapshot, state.job) for state in look.jobs_of(snapshot, project))
    attempts = [attempt for record in records for attempt in attempts_in(record, run)]
    started = [(start, a) for a in attempts if (start := look.started_at(snapshot, a)) is not None]
    if not started:
        return ""
    bars = _bars(snapshot, sorted(started, key=lambda pair: (pair[0], pair[1].path)))
    lanes = sorted({bar.lane for bar in bars}, key=lambda lane: (lane.split()[0], int(lane.split()[1])))
    first, last = min(bar.start for bar in bars), max(bar.end for bar in bars)
    return _svg(bars, lanes, first, max(last, first + 1.0), snapshot.now)


def _bars(snapshot: Snapshot, started: Sequence[tuple[float, AttemptRecord]]) -> list[Bar]:
    """Attempts without a GPU take the first slot that was free when they started."""
    slots: list[float] = []
    bars: list[Bar] = []
    for start, attempt in started:
        ended = look.ended_at(attempt)
        end = max(start, snapshot.now if ended is None else ended)
        lanes = [f"GPU {index}" for index in attempt.gpu_indices] or [_slot(slots, start, end)]
        status = str(attempt.verdict.status) if attempt.verdict else str(JobStatus.RUNNING)
        bars += [Bar(lane, start, end, status, _title(snapshot, attempt, start, end)) for lane in lanes]
    return bars


def _slot(slots: list[float], start: float, end: float) -> str:
    for number, busy_until in enumerate(slots):
        if busy_until <= start:
            slots[number] = end
            return f"slot {number + 1}"
    slots.append(end)
    return f"slot {len(slots)}"


def _title(snapshot: Snapshot, attempt: AttemptRecord, start: float, end: float) -> str:
    span = f"{clock(start, snapshot.now)}, {compact(end - start)}"
    verdict = attempt.verdict
    outcome = f"{verdict.status}: {sentence_and_word(verdict.message, verdict.reason)}" if verdict else "running"
    return f"{attempt.path} ({span}) {outcome}"


def _svg(bars: Sequence[Bar], lanes: Sequence[str], first: float, last: float, now: float) -> str:
    scale = (WIDTH - LEFT - RIGHT) / (last - first)
    bottom = TOP + LANE * len(lanes)
    marks = [_tick(at, LEFT + (at - first) * scale, bottom, now, last - first) for at in ticks(first, last)]
    names = [f'<text x="0" y="{TOP + LANE * i + 17}">{escape(lane)}</text>' for i, lane in enumerate(lanes)]
    rows = {lane: TOP + LANE * i + 3 for i, lane in enumerate(lanes)}
    rects = [
        _rect(bar, LEFT + (bar.start - first) * scale, rows[bar.lane], (bar.end - bar.start) * scale) for bar in bars
    ]
    label = f"{len(bars)} attempts on {len(lanes)} lanes over time"
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom + 22}" role="img" aria-label="{label}">'
        + "".join([*marks, *names, *rects])
        + "</svg>"
    )


def _rect(bar: Bar, x: float, y: int, width: float) -> str:
    return (
        f'<rect class="attempt {bar.status}" x="{x:.1f}" y="{y}" width="{max(2.0, width - 1):.1f}" '
        f'height="{LANE - 6}" rx="2"><title>{escape(bar.title)}</title></rect>'
    )


def _tick(at: float, x: float, bottom: int, now: float, span_s: float) -> str:
    text = clock(at, now) if span_s < 20 * MINUTE_S else clock(at, now)[:-3]
    anchor = "start" if x < LEFT + 30 else "end" if x > WIDTH - RIGHT - 30 else "middle"
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{text}</text>'
    )


def ticks(first: float, last: float) -> list[float]:
    """At most eight round times between two times (round in UTC, so in most zones too)."""
    fits = [step for step in TICK_STEPS_S if (last - first) / step <= TICKS_MAX]
    step = fits[0] if fits else max(HOUR_S, int((last - first) / TICKS_MAX))
    start = int(-(-first // step)) * step
    return [float(at) for at in range(start, int(last) + 1, step)]
