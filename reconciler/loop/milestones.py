"""A project's run as a whole: manifest.json when it begins, summary.md and the analysis when it is over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from reconciler.host import enact
from reconciler.host.observe import ask, view_of
from reconciler.host.script import render_analysis_script
from reconciler.loop.world import World
from reconciler.model.enums import LauncherKind
from reconciler.model.facts import CodeVersion, HostView, OutputFacts
from reconciler.model.ledger import AttemptRecord, ProjectRun
from reconciler.model.names import ANALYSIS_ID
from reconciler.model.needs import Needs
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Project
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
        text = _json_text(manifest(snapshot, project.name))
        failpoint("before_begin_run")
        # The file first: a loop that ends in between leaves a spare one behind, never a run without it.
        _save(world, project, f"{run.folder}/manifest.json", text)
        failpoint("after_manifest")
        world.ledger.commit(runs=[run])
        failpoint("after_begin_run")


def _json_text(manifest: Mapping[str, Any]) -> str:
    """One job a line: to be read by people too, and json's own indentation is slow with thousands of jobs."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in manifest.items() if name != "phases"]
    phases = []
    for phase in manifest["phases"]:
        head = json.dumps({name: value for name, value in phase.items() if name != "jobs"})[:-1]
        jobs = ",\n".join(f"      {json.dumps(job)}" for job in phase["jobs"])
        phases.append(f'    {head}, "jobs": [\n{jobs}\n    ]}}')
    lines.append('  "phases": [\n' + ",\n".join(phases) + "\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def settle_runs(world: World, snapshot: Snapshot) -> None:
    """Close the run of each project that has settled: the summary, then the analysis, once."""
    from reconciler.view.summary import summary_markdown

    for milestone in snapshot.plan.milestones:
        if not milestone.settled:
            continue
        project = snapshot.desired.projects[milestone.project]
        run = replace(snapshot.ledger.runs[project.name], settled_at=snapshot.now)
        results = results_of(world, project)
        failpoint("before_summary")
        text = summary_markdown(snapshot, project.name, run, results.files, results.versions)
        saved = _save(world, project, f"{run.folder}/summary.md", text)
        if saved.unanswered:
            continue  # the host has gone silent just now: the run is settled when it answers again
        failpoint("after_summary")
        analysis = _analyse(world, snapshot, project, run)
        failpoint("after_analysis")
        record = world.ledger.ledger().jobs.get(f"{project.name}/{ANALYSIS_ID}")
        world.ledger.commit(runs=[run], jobs=[with_attempt(record, analysis)] if analysis else ())
        failpoint("after_settle_run")


@dataclass(frozen=True, slots=True)
class Results:
    """The output files of a project, sorted, and the code that its jobs ran."""

    files: tuple[str, ...]
    versions: tuple[CodeVersion, ...]


def results_of(world: World, project: Project) -> Results:
    """The output files of all jobs of a project as they are now, and which code it was."""
    wanted = {job.key: job for job in project.jobs() if job.outputs}
    needs = Needs(outputs=wanted, sessions=False, disk=False, strays=False, versions_of=project.name)
    hosts = [placement.host for placement in project.placements]
    now = world.clock()
    asked = [ask(world.agent_for(host), host, needs, now) for host in hosts]
    paths: set[str] = set()
    versions: Counter[tuple[str, bool]] = Counter()
    for each in asked:
        reply = each.reply.wait(world.patience_s)
        view = view_of(each, reply, now, None) if reply is not None else None
        if isinstance(view, HostView):
            found = (facts.paths for facts in view.outputs.values() if isinstance(facts, OutputFacts))
            prefix = f"{each.host}:" if len(hosts) > 1 else ""
            paths.update(f"{prefix}{path}" for several in found for path in several)
            for version in view.versions:
                versions[version.commit, version.changed] += version.jobs
    counted = tuple(CodeVersion(*which, jobs) for which, jobs in versions.most_common())
    return Results(tuple(sorted(paths)), counted)


def _save(world: World, project: Project, path: str, text: str) -> enact.Outcome:
    outcome = enact.write_file(world.agent_for(project.home_host), path, text, world.patience_s)
    if world.audit is not None:
        world.audit.write("file", project=project.name, path=path, ok=outcome.ok, message=outcome.message)
    return outcome


def _analyse(world: World, snapshot: Snapshot, project: Project, run: ProjectRun) -> AttemptRecord | None:
    """Start `analyze_on_complete` as attempt number `run.number`: the claim lets it run once, however often we try."""
    if project.analyze_on_complete is None:
        return None
    view = world.views.get(project.home_host)
    state = view.state if view is not None and view.state else str(world.paths.root)
    key = f"{project.name}/{ANALYSIS_ID}"
    record = AttemptRecord(
        job=key,
        number=run.number,
        generation="",
        host=project.home_host,
        launcher=str(LauncherKind.PROCESS),
        session=None,
        gpus=(),
        gpu_indices=(),
        intended_at=snapshot.now,
        revision=snapshot.desired.revision,
        daemon=world.daemon,
    )
    script = render_analysis_script(project, record, run.folder, f"{state}/attempts/{record.path}", state)
    outcome = enact.start(world.agent_for(project.home_host), record, script, again=True).outcome(world.patience_s)
    if world.audit is not None:
        world.audit.write(
            "analysis", project=project.name, attempt=record.number, ok=outcome.ok, detail=outcome.message
        )
    return replace(record, launched=outcome.ok or outcome.unanswered)
