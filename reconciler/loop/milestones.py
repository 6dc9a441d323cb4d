"""A project's run as a whole: manifest.json when it begins, summary.md and the analysis when it is over."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

from reconciler.host import enact
from reconciler.host.observe import observe
from reconciler.host.script import render_analysis_script
from reconciler.loop.world import World
from reconciler.model.enums import LauncherKind
from reconciler.model.facts import HostView, OutputFacts
from reconciler.model.ledger import AttemptRecord, ProjectRun
from reconciler.model.names import ANALYSIS_ID
from reconciler.model.needs import Needs
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Project
from reconciler.planner.draft import host_of
from reconciler.planner.transitions import with_attempt
from reconciler.store.failpoint import failpoint


def begin_runs(world: World, snapshot: Snapshot) -> None:
    """Open a run for each project that is about to launch its first job, and save what it resolved to."""
    from reconciler.view.summary import manifest

    for milestone in snapshot.plan.milestones:
        if milestone.settled:
            continue
        project = snapshot.desired.projects[milestone.project]
        before = snapshot.ledger.runs.get(project.name)
        number = before.number + 1 if before is not None else 1
        stamp = datetime.fromtimestamp(snapshot.now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        run = ProjectRun(project.name, number, snapshot.now, f"{project.cwd}/experiment_queue/{stamp}")
        text = json.dumps(manifest(snapshot, project.name), indent=2) + "\n"
        failpoint("before_begin_run")
        # The file first: a loop that ends in between leaves a spare one behind, never a run without it.
        _save(world, project, f"{run.folder}/manifest.json", text)
        failpoint("after_manifest")
        world.ledger.commit(runs=[run])
        failpoint("after_begin_run")


def settle_runs(world: World, snapshot: Snapshot) -> None:
    """Close the run of each project that has settled: the summary, then the analysis, once."""
    from reconciler.view.summary import summary_markdown

    for milestone in snapshot.plan.milestones:
        if not milestone.settled:
            continue
        project = snapshot.desired.projects[milestone.project]
        run = replace(snapshot.ledger.runs[project.name], settled_at=snapshot.now)
        files = result_files(world, project)
        failpoint("before_summary")
        _save(world, project, f"{run.folder}/summary.md", summary_markdown(snapshot, project.name, run, files))
        failpoint("after_summary")
        analysis = _analyse(world, snapshot, project, run)
        failpoint("after_analysis")
        record = world.ledger.ledger().jobs.get(f"{project.name}/{ANALYSIS_ID}")
        world.ledger.commit(runs=[run], jobs=[with_attempt(record, analysis)] if analysis else ())
        failpoint("after_settle_run")


def result_files(world: World, project: Project) -> list[str]:
    """The output files of all jobs of a project, as they are now."""
    agent = world.agent_for(host_of(project))
    if agent is None:
        return []
    wanted = {job.key: job for job in project.jobs() if job.outputs}
    asked = Needs(outputs=wanted, sessions=False, disk=False, strays=False)
    view = observe(agent, host_of(project), asked, None)
    if not isinstance(view, HostView):
        return []
    found = (facts.paths for facts in view.outputs.values() if isinstance(facts, OutputFacts))
    return sorted({path for paths in found for path in paths})


def _save(world: World, project: Project, path: str, text: str) -> None:
    agent = world.agent_for(host_of(project))
    outcome = enact.write_file(agent, path, text) if agent else enact.Outcome(ok=False, message="host not reachable")
    if world.audit is not None:
        world.audit.write("file", project=project.name, path=path, ok=outcome.ok, message=outcome.message)


def _analyse(world: World, snapshot: Snapshot, project: Project, run: ProjectRun) -> AttemptRecord | None:
    """Start `analyze_on_complete` as attempt number `run.number`: the claim lets it run once, however often we try."""
    agent = world.agent_for(host_of(project))
    if project.analyze_on_complete is None or agent is None:
        return None
    key = f"{project.name}/{ANALYSIS_ID}"
    record = AttemptRecord(
        job=key,
        number=run.number,
        generation="",
        host=host_of(project),
        launcher=str(LauncherKind.PROCESS),
        session=None,
        gpus=(),
        gpu_indices=(),
        intended_at=snapshot.now,
        revision=snapshot.desired.revision,
        daemon=world.daemon,
    )
    state = str(world.paths.root)
    script = render_analysis_script(project, record, run.folder, f"{state}/attempts/{record.path}", state)
    outcome = enact.start(agent, record, script)
    if world.audit is not None:
        world.audit.write(
            "analysis", project=project.name, attempt=record.number, ok=outcome.ok, detail=outcome.message
        )
    return replace(record, launched=outcome.ok)
