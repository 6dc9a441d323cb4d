"""The summary of a project, made now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.ledger import ProjectRun

if TYPE_CHECKING:
    from reconciler.loop import World
    from reconciler.model.snapshot import Snapshot


def summary_now(world: World, snapshot: Snapshot, project: str, run: ProjectRun | None = None) -> str:
    """The Markdown of a project's newest run; of its attempts so far when no run is recorded."""
    from reconciler.loop.milestones import results_of
    from reconciler.view.runs import run_of
    from reconciler.view.summary import summary_markdown

    known = run or run_of(snapshot, project)
    results = results_of(world, snapshot.desired.projects[project])
    return summary_markdown(snapshot, project, known, results.files, results.versions)


def fresh_summaries(world: World, before: Snapshot, after: Snapshot) -> list[tuple[str, str, str]]:
    """(project, markdown, path of summary.md) of the projects whose run ended between two looks."""
    found = []
    for name, run in world.ledger.ledger().runs.items():
        earlier = before.ledger.runs.get(name)
        ended_before = earlier is not None and earlier.number == run.number and earlier.settled_at is not None
        if run.settled_at is not None and not ended_before and name in after.desired.projects:
            found.append((name, summary_now(world, after, name, run), f"{run.folder}/summary.md"))
    return found
