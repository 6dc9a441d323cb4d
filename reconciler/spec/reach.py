"""Whether the outputs of a phase can be where the phases that need it run, and whether what brings them is of use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.spec.nodes import ANY, MapNode, as_maps, as_scalars, text_of
from reconciler.spec.report import listed

if TYPE_CHECKING:
    from reconciler.model.spec import Phase, Project
    from reconciler.spec.nodes import Place
    from reconciler.spec.report import Report

_BRINGS = ("fetch", "push")
_DECIDES = frozenset({"shared_fs", "hosts", *_BRINGS, ANY})


@dataclass(frozen=True, slots=True)
class _Need:
    """A phase that waits for another one, and what decides whether its jobs find what that one wrote."""

    phase: Phase
    needed: Phase
    place: Place
    has_outputs: bool
    hosts: tuple[str, ...]
    """Where the jobs of either may run."""
    doubtful: bool
    """A mistake took something away that may have decided it."""


def check_reach(project: Project, root: MapNode, report: Report, *, doubtful: bool) -> None:
    """Outputs that stay on another host are a mistake, unless something is said about it; useless words are warned of.

    `doubtful`: a mistake took some of the project's hosts away."""
    needs = _needs(project, root, doubtful or not root.lost.isdisjoint(_DECIDES))
    if not project.shared_fs:
        for need in needs:
            if need.has_outputs and len(need.hosts) > 1 and not (need.phase.fetch or need.needed.push):
                report.error(need.place, _unreachable(project, need), doubtful=need.doubtful)
    if not report.failed:
        for key in _BRINGS:
            _warn_of_useless(key, project, root, needs, report)


def _holders(root: MapNode) -> dict[str, MapNode]:
    """The phases as written, by name; of two with one name the first holds."""
    holders: dict[str, MapNode] = {}
    for holder in as_maps(root.get("phases")):
        holders.setdefault(text_of(holder.get("name")) or "", holder)
    return holders


def _needs(project: Project, root: MapNode, doubtful: bool) -> list[_Need]:
    phases = {phase.name: phase for phase in project.phases}
    writes = {name: any(job.outputs for job in phase.jobs) for name, phase in phases.items()}
    holders = _holders(root)
    found = []
    for phase in project.phases:
        holder = holders.get(phase.name)
        for node in as_scalars(holder.get("depends_on")) if holder and phase.depends_on else ():
            needed = phases.get(node.raw)
            if needed is None or needed is phase or holder is None:
                continue
            either = {*project.hosts_of(phase), *project.hosts_of(needed)}
            hosts = tuple(place.host for place in project.placements if place.host in either)
            parts = [part for part in (holder, holders.get(needed.name)) if part]
            unsure = doubtful or any(_is_unsure(part, project) for part in parts)
            found.append(_Need(phase, needed, node.place, writes[needed.name], hosts, unsure))
    return found


def _is_unsure(holder: MapNode, project: Project) -> bool:
    """A mistake that is told already took something away that may decide where the jobs of a phase run."""
    names = [place.host for place in project.placements]
    unknown = [node.raw for node in as_scalars(holder.get("hosts")) if node.raw not in names]
    return bool(unknown) or not holder.lost.isdisjoint(_DECIDES)


def _unreachable(project: Project, need: _Need) -> str:
    here, there = project.hosts_of(need.phase), project.hosts_of(need.needed)
    if here == there:
        where = f"the jobs of both run on {listed(here)}"
    else:
        where = f"that one runs on {listed(there)}, and `{need.phase.name}` on {listed(here)}"
    both = next((host for host in here if host in there), there[0])
    return (
        f"the phase `{need.phase.name}` may not find the outputs of `{need.needed.name}`: {where}. "
        "Write `shared_fs: true` if these hosts share their disks, `fetch: true` to bring the outputs over "
        f"before a job starts, or one host for both phases (`hosts: {both}`)"
    )


def _warn_of_useless(key: str, project: Project, root: MapNode, needs: list[_Need], report: Report) -> None:
    """`fetch` or `push` where it brings nothing: told for each phase that has it, and once for the project's."""
    asking = {phase.name for phase in project.phases if (phase.fetch if key == "fetch" else phase.push)}
    inheriting = set(asking)
    for name, holder in _holders(root).items():
        if holder.get(key) is not None and name in asking:
            inheriting.discard(name)
            _warn_of_one(key, name, {name}, holder.key_place(key), project, needs, report)
    if inheriting:
        _warn_of_one(key, "", inheriting, root.key_place(key), project, needs, report)


def _warn_of_one(
    key: str, name: str, asking: set[str], place: Place, project: Project, needs: list[_Need], report: Report
) -> None:
    """`name` is empty for the word at the top of the file; `asking` are the phases that it holds for."""
    fetches = key == "fetch"
    own = [need for need in needs if (need.phase if fetches else need.needed).name in asking]
    if project.shared_fs:
        why = "with `shared_fs: true` the hosts see the same files"
    elif len(project.placements) == 1:
        why = f"all jobs run on one host, `{project.placements[0].host}`"
    elif not own:
        why = _why_unneeded(name, fetches=fetches)
    elif not any(need.has_outputs for need in own):
        silent = list(dict.fromkeys(need.needed.name for need in own))
        why = f"{listed(silent)} {'has' if len(silent) == 1 else 'have'} no `output_check`"
    elif all(len(need.hosts) == 1 for need in own if need.has_outputs):
        why = "the phases that need each other run on one host"
    else:
        return
    report.warn(place, f"`{key}` has nothing to bring: {why}")


def _why_unneeded(name: str, *, fetches: bool) -> str:
    if fetches:
        return f"the phase `{name}` waits for no other" if name else "no phase that it holds for waits for another"
    return f"no phase waits for `{name}`" if name else "no phase waits for one that it holds for"
