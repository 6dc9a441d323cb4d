"""`exq diff --rev`: two revisions of the specs side by side, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.model.comparison import Change, Comparison, JobChange, PhaseChange, ProjectChange
from reconciler.model.spec import Desired, SpecError
from reconciler.view.diff import error_json
from reconciler.view.spec_words import change_json, change_words, job_change_words
from reconciler.view.style import Heading, Line, Row, Style, hang, table
from reconciler.view.words import count, some

ROWS_SHOWN = 12
"""Of the jobs of each phase."""
NAMES_SHOWN = 4
_MARKS = {Change.ADDED: "+", Change.REMOVED: "-", Change.CHANGED: "~"}
_STAY = "completed and running ones stay as they are, others get new tries"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: what it asks for, and where that comes from."""

    name: str
    """As the user named it: a revision, or the working tree."""
    commit: str | None
    """All its digits; None for the working tree."""
    shown: str
    """The commit for people; empty for the working tree."""
    desired: Desired

    def __str__(self) -> str:
        return f"{self.name} ({self.shown})" if self.shown and self.shown != self.name else self.name

    @property
    def errors(self) -> list[SpecError]:
        """The mistakes in it; warnings are none."""
        return [error for error in self.desired.errors if not error.warning]


def render_comparison(old: Side, new: Side, found: Comparison, style: Style, *, verbose: bool = False) -> str:
    """What changes, project by project; it ends with one line that sums it up. `verbose` leaves nothing out."""
    blocks = [
        [f"specs from {old} to {new}"],
        _broken(old, style, "red" if not new.errors else "yellow"),
        _broken(new, style, "red"),
        table([line for project in found.projects for line in _project(project, verbose)], style),
        _notes(found, style),
        [style.bold(_summary(found))],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _broken(side: Side, style: Style, colour: str) -> list[str]:
    if not side.errors:
        return []
    return [style.bold(f"broken in {side}"), *(style.paint(str(error), colour) for error in side.errors)]


def _project(project: ProjectChange, verbose: bool) -> Iterator[Line]:
    jobs: dict[str, list[JobChange]] = {}
    for job in project.jobs:
        jobs.setdefault(job.phase, []).append(job)
    whole = {Change.ADDED: "new", Change.REMOVED: "removed"}.get(project.change)
    yield Heading(project.name, f"{whole}: {project.source}" if whole else project.source)
    yield from (Row("~", ("settings", change_words(change))) for change in project.settings)
    phases = {phase.name: phase for phase in project.phases}
    for name in dict.fromkeys([*phases, *jobs]):
        if name in phases or len(jobs) > 1 or name != "main":
            yield Heading(f"{project.name} / {name}", _phase_note(phases.get(name)))
        yield from (Row("~", ("settings", change_words(c))) for c in (phases[name].settings if name in phases else ()))
        yield from _job_rows(jobs.get(name, []), verbose)


def _phase_note(phase: PhaseChange | None) -> str:
    return {Change.ADDED: "new phase", Change.REMOVED: "removed"}.get(phase.change, "") if phase is not None else ""


def _job_rows(jobs: Sequence[JobChange], verbose: bool) -> Iterator[Line]:
    """A row a job; jobs with the very same changes are drawn into one."""
    alike: dict[tuple[object, ...], list[JobChange]] = {}
    for job in jobs:
        own = (job.key,) if verbose or job.change is not Change.CHANGED else ()
        alike.setdefault((job.change, job_change_words(job), job.new_generation, *own), []).append(job)
    groups = list(alike.values())
    shown = groups if verbose else groups[:ROWS_SHOWN]
    for same in shown:
        yield _job_row(same)
    hidden = sum(map(len, groups)) - sum(map(len, shown))
    if hidden:
        yield f"    ... and {hidden:,} more (--all)"


def _job_row(same: Sequence[JobChange]) -> Row:
    first = same[0]
    names = some([job.key.partition("/")[2] for job in same], NAMES_SHOWN)
    if first.change is not Change.CHANGED:
        return Row(_MARKS[first.change], (names, first.cmd if first.change is Change.ADDED else ""))
    return Row("~", (names, job_change_words(first)))


def _notes(found: Comparison, style: Style) -> list[str]:
    lines: list[str] = []
    anew = sum(job.new_generation for job in found.jobs(Change.CHANGED))
    if anew:
        lines += hang(
            style.paint("!", "yellow"),
            f"what {count(anew, 'job')} {'run' if anew > 1 else 'runs'} changes: {_STAY}",
            style,
        )
    gone = len(found.jobs(Change.REMOVED))
    if gone:
        lines += hang(
            style.paint("!", "yellow"),
            f"{count(gone, 'job')} removed: what of them runs goes on, and is listed as Orphan",
            style,
        )
    for path in found.not_compared:
        lines += hang(style.paint("?", "cyan"), f"{path} does not load on one side: its jobs are not compared", style)
    return lines


def _summary(found: Comparison) -> str:
    numbers = _numbers(found)
    if not found.projects:
        return "The specs ask for the same." if not found.not_compared else "What could be compared is the same."
    parts = [f"{count(numbers['added'], 'job')} added", f"{numbers['removed']:,} removed"]
    parts.append(f"{numbers['changed']:,} changed ({numbers['new_generation']:,} in what they run)")
    return f"Specs: {', '.join(parts)}; {count(numbers['settings'], 'setting')} changed."


def _numbers(found: Comparison) -> dict[str, int]:
    numbers = {str(change): len(found.jobs(change)) for change in Change}
    anew = sum(job.new_generation for job in found.jobs(Change.CHANGED))
    return {**numbers, "new_generation": anew, "settings": found.settings}


def comparison_json(old: Side, new: Side, found: Comparison) -> dict[str, Any]:
    """The same for programs (`exq.compare/v1`)."""
    return {
        "schema": "exq.compare/v1",
        "old": _side_json(old),
        "new": _side_json(new),
        "summary": _numbers(found),
        "projects": [_project_json(project) for project in found.projects],
        "not_compared": list(found.not_compared),
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "commit": side.commit,
        "files": [{"path": file.path, "broken": file.broken} for file in side.desired.files],
        "errors": [error_json(error) for error in side.desired.errors],
    }


def _project_json(project: ProjectChange) -> dict[str, Any]:
    return {
        "project": project.name,
        "path": project.source,
        "change": str(project.change),
        "settings": [change_json(change) for change in project.settings],
        "phases": [
            {"phase": p.name, "change": str(p.change), "settings": [change_json(change) for change in p.settings]}
            for p in project.phases
        ],
        "jobs": [_job_json(job) for job in project.jobs],
    }


def _job_json(job: JobChange) -> dict[str, Any]:
    found: dict[str, Any] = {"job": job.key, "phase": job.phase, "change": str(job.change)}
    if job.change is Change.CHANGED:
        return {
            **found,
            "new_generation": job.new_generation,
            "fields": [change_json(c, of_job=True) for c in job.fields],
        }
    return {**found, "cmd": job.cmd}
