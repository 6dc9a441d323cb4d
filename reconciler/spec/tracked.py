"""What a project with `snapshot` cannot have: outputs that would stay behind in the work tree of a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.spec.report import short

if TYPE_CHECKING:
    from reconciler.model.spec import Job, Project
    from reconciler.spec.nodes import MapNode
    from reconciler.spec.report import Report

_STARS = frozenset("*?[")


def check_outputs(project: Project, root: MapNode, report: Report) -> None:
    """Each relative output needs a folder with a plain name: that is linked to the one in the job's own folder."""
    if project.snapshot is None:
        return
    found = next(((job, output) for job in project.jobs() for output in job.outputs if not has_folder(output)), None)
    if found is not None:
        report.error(root.key_place("snapshot"), _words(*found))


def has_folder(output: str) -> bool:
    """It is absolute, or its first component is a folder of a plain name."""
    if output.startswith(("/", "~")):
        return True
    names = [name for name in output.split("/") if name not in ("", ".")]
    return len(names) > 1 and _STARS.isdisjoint(names[0])


def _words(job: Job, output: str) -> str:
    return (
        f"with `snapshot`, outputs must lie in a folder: `{short(output)}` of `{short(job.id)}` would stay in the work "
        f"tree of the commit; write them to a folder such as `results/`, or to an absolute path"
    )
