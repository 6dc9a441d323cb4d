"""What a project leaves beside its results: `summary.md` when it settles, `manifest.json` when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import dirname, splitext
from typing import Any

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import CodeVersion
from reconciler.model.ledger import ProjectRun
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.secrets import redacted
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Job, Phase, Project, RetryPolicy
from reconciler.view import look
from reconciler.view.diff_rows import stuck_verb
from reconciler.view.runs import oom_retries, run_end, run_name, run_span
from reconciler.view.times import compact, iso_utc, stamp
from reconciler.view.words import count, sentence_and_word

VERSIONS_SAID_MAX = 3


def summary_markdown(
    snapshot: Snapshot,
    project: str,
    run: ProjectRun | None,
    result_files: Sequence[str],
    versions: Sequence[CodeVersion] = (),
) -> str:
    """The report of one run as Markdown, times in the local zone. `run` is None for a project that never ran here.

    `result_files` below the project's folder are named from there. `versions`: the code that its jobs ran."""
    jobs = look.jobs_of(snapshot, project)
    parts = [
        [*_head(snapshot, project, run), *_code(versions), f"**Jobs**: {_job_counts(snapshot, jobs, run)}"],
        _phases(snapshot, project, run),
        _stuck(snapshot, jobs),
        ["## Results Files", "", *(_files(_as_named(snapshot, project, result_files)) or ["- none"])],
        ["## Next Steps", "", *_next_steps(snapshot, project, jobs)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _head(snapshot: Snapshot, project: str, run: ProjectRun | None) -> list[str]:
    which = f" ({run_name(run)})" if run_name(run) else ""
    lines = ["# Experiment Queue Summary", "", f"**Project**: {project}{which}"]
    if run is None:
        return [*lines, "**Started**: not run here", "**Completed**: -", "**Total wall-clock**: -"]
    settled = run.settled_at
    return [
        *lines,
        f"**Started**: {stamp(run.started_at)}",
        f"**Completed**: {stamp(settled) if settled is not None else 'not yet'}",
        f"**Total wall-clock**: {compact(run_end(snapshot, run) - run.started_at)}"
        f"{'' if settled is not None else ' so far'}",
    ]


def _code(versions: Sequence[CodeVersion]) -> list[str]:
    """One line: the commits, and where they are not all of what ran."""
    if not versions:
        return []
    said = [
        f"{version.commit[:12]}{' with changes that it does not have' if version.changed else ''}"
        for version in versions
    ]
    if len(versions) > 1:
        said = [f"{text} ({count(each.jobs, 'job')})" for text, each in zip(said, versions, strict=True)]
    more = f", and {len(said) - VERSIONS_SAID_MAX} more" if len(said) > VERSIONS_SAID_MAX else ""
    return [f"**Code**: commit {', '.join(said[:VERSIONS_SAID_MAX])}{more}"]


def _job_counts(snapshot: Snapshot, jobs: Sequence[JobState], run: ProjectRun | None) -> str:
    """The seed's three numbers; what still runs or waits is added while there is any."""
    completed = [state for state in jobs if state.status is JobStatus.COMPLETED]
    retried = sum(oom_retries(snapshot, state.job, run) > 0 for state in completed)
    stuck = sum(state.status is JobStatus.STUCK for state in jobs)
    running = sum(state.status is JobStatus.RUNNING for state in jobs)
    waiting = len(jobs) - len(completed) - stuck - running
    parts = [f"{len(completed) - retried} completed", f"{retried} OOM-retried then completed", f"{stuck} stuck"]
    parts += [f"{number} {word}" for number, word in ((running, "running"), (waiting, "waiting")) if number]
    return ", ".join(parts)


def _phases(snapshot: Snapshot, project: str, run: ProjectRun | None) -> list[str]:
    lines = [
        "## Phases",
        "",
        "| Phase | Jobs | Success | OOM retries | Duration |",
        "| --- | --- | --- | --- | --- |",
    ]
    return lines + [_phase_row(snapshot, phase, run) for phase in snapshot.plan.phases if phase.project == project]


def _phase_row(snapshot: Snapshot, phase: PhaseState, run: ProjectRun | None) -> str:
    jobs = look.jobs_of(snapshot, phase.project, phase.phase)
    retries = sum(oom_retries(snapshot, state.job, run) for state in jobs)
    span = run_span(snapshot, jobs, run)
    took = compact(span[1] - span[0]) if span else "-"
    return f"| {_cell(phase.phase)} | {look.total(phase)} | {look.done(phase)} | {retries} | {took} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _stuck(snapshot: Snapshot, jobs: Sequence[JobState]) -> list[str]:
    stuck = [state for state in jobs if state.status is JobStatus.STUCK]
    if not stuck:
        return []
    lines = [f"- `{state.job}`: {sentence_and_word(state.message, state.reason)}" for state in stuck]
    return ["## Stuck Jobs", "", *lines]


def _as_named(snapshot: Snapshot, project: str, paths: Sequence[str]) -> list[str]:
    """Paths as the spec names them: relative to the project's working folder where they are in it."""
    spec = snapshot.desired.projects.get(project)
    return [path.removeprefix(f"{spec.cwd.rstrip('/')}/") if spec else path for path in paths]


def _files(paths: Sequence[str]) -> list[str]:
    """One line per folder and kind: `42 JSON files in `figures/pcdistill_sw_*.json``."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for path in sorted(set(paths)):
        kinds.setdefault((dirname(path), splitext(path)[1]), []).append(path)
    return [_files_line(extension, same) for (_, extension), same in kinds.items()]


def _files_line(extension: str, paths: Sequence[str]) -> str:
    kind = f"{extension[1:].upper()} " if extension else ""
    where = paths[0] if len(paths) == 1 else common_glob(paths)
    return f"- {count(len(paths), f'{kind}file')} in `{where}`" if len(paths) > 1 else f"- 1 {kind}file: `{where}`"


def common_glob(paths: Sequence[str]) -> str:
    """What several paths have in common at either end, with a star between: `figures/pcdistill_sw_*.json`."""
    head = common_start(paths)
    tail = common_start([path[len(head) :][::-1] for path in paths])[::-1]
    return f"{head}*{tail}"


def common_start(texts: Sequence[str]) -> str:
    """The longest text that all of them start with: that of the first and the last in order."""
    first, last = min(texts), max(texts)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _next_steps(snapshot: Snapshot, project: str, jobs: Sequence[JobState]) -> list[str]:
    steps: list[str] = []
    stuck = [state for state in jobs if state.status is JobStatus.STUCK]
    if stuck:
        steps.append(_stuck_step(snapshot, stuck[0]))
    spec = snapshot.desired.projects.get(project)
    if spec is not None and spec.analyze_on_complete:
        steps.append(f"- `{spec.analyze_on_complete}` analyses the results (`analyze_on_complete` in `{spec.source}`)")
    else:
        steps.append("- Analyse the results files; `analyze_on_complete` in the spec names a command that does it")
    return [*steps, f"- `exq report {project} --html {project}.html` makes an HTML page of this"]


def _stuck_step(snapshot: Snapshot, state: JobState) -> str:
    name = look.short_name(snapshot, state.job)
    if state.reason is Reason.NO_COMMAND:
        return f"- `{state.job}` has no command: write one in `{snapshot.desired.index[state.job].source}`"
    return f"- Look into what is stuck: `exq {stuck_verb(state)} {name}`; then `exq retry {name}`"


def manifest(snapshot: Snapshot, project: str) -> dict[str, Any]:
    """Everything a project was asked to run, resolved (`exq.manifest/v1`): what to keep beside its results.

    Raises KeyError for a project that the specs do not name."""
    spec = snapshot.desired.projects[project]
    return {
        "schema": "exq.manifest/v1",
        "as_of": iso_utc(snapshot.now),
        "specs_rev": snapshot.desired.revision,
        "source": spec.source,
        **_settings(spec),
        "phases": [_phase_manifest(phase) for phase in spec.phases],
    }


def _settings(spec: Project) -> dict[str, Any]:
    gpus: Any = "none"
    if spec.gpu_pool is not None:
        gpus = "all" if spec.gpu_pool.ids is None else list(spec.gpu_pool.ids)
    return {
        "project": spec.name,
        "cwd": spec.cwd,
        "hosts": [placement.host for placement in spec.placements],
        "gpus": gpus,
        "max_parallel": spec.max_parallel,
        "gpu_free_threshold_mib": spec.gpu_free_threshold_mib,
        "oom_retry": _policy(spec.oom_retry),
        "failure_retry": _policy(spec.failure_retry),
        "waves": str(spec.waves),
        "success": str(spec.success),
        "linger_s": spec.linger_s,
        "launcher": str(spec.launcher),
        "analyze_on_complete": spec.analyze_on_complete,
    }


def _policy(policy: RetryPolicy) -> dict[str, Any]:
    return {"delay_s": policy.delay_s, "max_attempts": policy.max_attempts}


def _phase_manifest(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "depends_on": list(phase.depends_on),
        "jobs": [_job_manifest(job) for job in phase.jobs],
    }


def _job_manifest(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "phase": job.phase,
        "cmd": job.cmd,
        "cwd": job.cwd,
        "env": redacted(job.env),
        "conda": job.conda,
        "conda_hook": job.conda_hook,
        "venv": job.venv,
        "runner": job.runner,
        "gpus": job.gpus,
        "output_check": list(job.outputs),
        "params": dict(job.params),
        "preconditions": [{"type": str(p.kind), "subject": p.subject} for p in job.preconditions],
        "generation": job.generation,
        "source": job.source,
    }
