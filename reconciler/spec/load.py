"""One spec text into one project. Pure: the text, its name and its base folder come in, nothing is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.spec import MAIN_PHASE, Phase, Project
from reconciler.spec.entry import Entry, Setting, compile_entry
from reconciler.spec.grid import Grid, axes_of, grids_of
from reconciler.spec.hosts import Hosts, phase_hosts, with_hosts
from reconciler.spec.ids import name_problem
from reconciler.spec.jobs import JobMaker, resolved_cwd
from reconciler.spec.nodes import ListNode, MapNode, as_maps, text_of
from reconciler.spec.phases import check_phases, needs_of
from reconciler.spec.reach import check_reach
from reconciler.spec.report import Report
from reconciler.spec.scope import Scope, check_output_words
from reconciler.spec.settings import Settings, collect_folder, flag, read_settings
from reconciler.spec.tracked import check_outputs
from reconciler.spec.yaml_nodes import compose

if TYPE_CHECKING:
    from reconciler.model.spec import Job, SpecError

Loaded = tuple["Project | None", "tuple[SpecError, ...]"]


def load_text(text: str, path: str, base: str, *, schema_checked: bool = False) -> Loaded:
    """The project of a spec text, and everything that is wrong with it (warnings too), by place.

    `path` names the file in messages and, without its ending, the project. A relative `cwd` is taken from `base`.
    `schema_checked`: this very text passed the schema before, so that slow check is left out.
    The project is None when there is a mistake; warnings alone leave it standing. Never raises on any text.
    """
    report = Report(path)
    root = compose(text, report)
    if root is not None and not schema_checked:
        from reconciler.spec.schema import check

        root = check(root, report)
    project = _project(root, path, base, report) if isinstance(root, MapNode) else None
    return None if report.failed else project, report.sorted()


def _project(root: MapNode, path: str, base: str, report: Report) -> Project:
    settings, hosts = with_hosts(read_settings(root, report), root, report)
    setting = Setting(
        project=_project_name(root, path, report),
        phase=MAIN_PHASE,
        base=base,
        hydra=text_of(root.get("args_style")) == "hydra",
        remote=hosts.remote,
        gpus=hosts.gpu_bound(None),
        report=report,
    )
    maker = JobMaker()
    phases = _phases(root, setting, hosts, maker)
    if not any(phase.jobs for phase in phases) and not report.failed:
        report.error((0, 0), "there are no jobs in it: write `jobs:`, `grid:` or `phases:`")
    if maker.without_command:
        count = f"{maker.without_command:,} job{'s have' if maker.without_command > 1 else ' has'}"
        words = f"{count} no command (no `cmd`, and no `default_cmd` to fall back on) and will not be launched"
        report.warn(maker.first_without_command, words)
    project = _assembled(setting, settings, root, path, phases)
    check_reach(project, root, report, doubtful=bool(hosts.lost))
    check_outputs(project, root, report)
    return project


def _assembled(setting: Setting, settings: Settings, root: MapNode, path: str, phases: list[Phase]) -> Project:
    return Project(
        name=setting.project,
        source=path,
        cwd=resolved_cwd(text_of(root.get("cwd")) or ".", setting.base),
        placements=settings.placements,
        gpu_pool=settings.gpu_pool,
        max_parallel=settings.max_parallel,
        gpu_free_threshold_mib=settings.gpu_free_threshold_mib,
        oom_retry=settings.oom_retry,
        failure_retry=settings.failure_retry,
        waves=settings.waves,
        success=settings.success,
        linger_s=settings.linger_s,
        launcher=settings.launcher,
        analyze_on_complete=settings.analyze_on_complete,
        phases=tuple(phases),
        shared_fs=settings.shared_fs,
        provenance=settings.provenance,
        snapshot=settings.snapshot,
        collect=collect_folder(root.get("collect"), setting.project, setting.base, setting.report),
    )


def _project_name(root: MapNode, path: str, report: Report) -> str:
    node = root.get("project")
    name = text_of(node)
    if name is None:
        name = path.rpartition("/")[2].rpartition(".")[0] or path.rpartition("/")[2]
        problem = name_problem(name)
        if problem:
            report.error((0, 0), f"the file's name gives the project its name, and `{name}` {problem}: set `project:`")
    else:
        problem = name_problem(name)
        if problem and node is not None:
            report.error(node.place, f"the project's name `{name}` {problem}")
    return name


def _phases(root: MapNode, setting: Setting, hosts: Hosts, maker: JobMaker) -> list[Phase]:
    """The top-level jobs as phase `main`, then the named phases."""
    scope = Scope((root,))
    holders = as_maps(root.get("phases"))
    phases: list[Phase] = []
    if any(root.get(key) is not None for key in ("jobs", "grid", "template")):
        jobs = _jobs(root, scope, setting, maker)
        phases.append(Phase(MAIN_PHASE, (), jobs, fetch=_flag(scope, "fetch"), push=_flag(scope, "push")))
    else:
        check_output_words(root, setting.report)
    doubtful = scope.lacks("phases") or (not phases and scope.lacks("jobs", "grid", "template"))
    named = check_phases(holders, [phase.name for phase in phases], setting.report, doubtful=doubtful)
    for holder, name in named:
        where = phase_hosts(holder, hosts, setting.report)
        inner = replace(setting, phase=name, gpus=hosts.gpu_bound(where))
        within = scope.inner(holder)
        jobs = _jobs(holder, within, inner, maker)
        if not name:
            continue  # read all the same, for the mistakes in it
        if not jobs and not setting.report.failed:
            words = f"the phase `{name}` has no jobs: write `jobs:` or `grid:` into it"
            setting.report.error(holder.place, words)
        fetch, push = _flag(within, "fetch"), _flag(within, "push")
        phases.append(Phase(name, needs_of(holder), jobs, where, fetch, push))
    return phases


def _flag(scope: Scope, key: str) -> bool:
    return flag(scope.nearest(key), default=False)


def _jobs(holder: MapNode, scope: Scope, setting: Setting, maker: JobMaker) -> tuple[Job, ...]:
    """The jobs of the project's top or of a phase, in the order of the file."""
    check_output_words(holder, setting.report)
    jobs: list[Job] = []
    for key in holder.entries:
        entries: list[Entry] = []
        if key == "jobs":
            entries = _listed(holder, scope, setting.report)
        elif key == "grid" or (key == "template" and holder.get("grid") is None):
            entries = _templated(holder, scope, setting.report)
        for entry in entries:
            check_output_words(entry.own, setting.report)
            jobs += maker.make(compile_entry(entry, setting), setting)
    return tuple(jobs)


def _listed(holder: MapNode, scope: Scope, report: Report) -> list[Entry]:
    entries = []
    for node in as_maps(holder.get("jobs")):
        grid = Grid(axes_of(node.get("params"), report))
        entries.append(Entry(scope.inner(node), node, grid, node.place, is_template=False))
    return entries


def _templated(holder: MapNode, scope: Scope, report: Report) -> list[Entry]:
    grid_node, template = holder.get("grid"), holder.get("template")
    own = template if isinstance(template, MapNode) else MapNode({}, *(grid_node or holder).place)
    fixed = axes_of(own.get("params"), report)
    entries = []
    for grid in grids_of(holder, report):
        names = {axis.name for axis in grid.axes}
        for axis in fixed:
            if axis.name in names:
                report.error(axis.values[0].place, f"`{axis.name}` is a parameter of the grid already")
        axes = (*grid.axes, *[axis for axis in fixed if axis.name not in names])
        one_of_many = isinstance(grid_node, ListNode) and grid.axes
        place = grid.axes[0].values[0].place if one_of_many else own.place
        entries.append(Entry(scope.inner(own), own, Grid(axes, grid.excluded), place, is_template=True))
    return entries
