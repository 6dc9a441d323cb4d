"""`exq expand`: the jobs that grids, templates and phases turn into, without looking at any host."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, PROBLEM
from reconciler.cli.output import print_json
from reconciler.cli.specs import load_fresh, plural
from reconciler.model.spec import Job, SpecError

EXAMPLES = """\
  exq expand
  exq expand specs/sweep.yaml --json | jq -r '.jobs[].cmd'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="one spec file; default: all of the specs folder")


def run(args: Namespace, context: Context) -> int:
    """Print the jobs of the files that load. Returns 1 when one does not; its mistakes go to stderr."""
    jobs, errors = _of_file(Path(args.file)) if args.file else _of_folder(context)
    for error in errors:
        say(str(error))
    if context.json:
        print_json({"schema": "exq.expand/v1", "jobs": [_json(job) for job in jobs]})
    else:
        _print_table(jobs)
    return PROBLEM if any(not error.warning for error in errors) else OK


def _of_file(path: Path) -> tuple[Sequence[Job], Sequence[SpecError]]:
    from reconciler.spec.files import load_file

    project, errors = load_file(path)
    return tuple(project.jobs()) if project else (), errors


def _of_folder(context: Context) -> tuple[Sequence[Job], Sequence[SpecError]]:
    desired = load_fresh(context)
    return tuple(desired.jobs()), desired.errors


def _print_table(jobs: Sequence[Job]) -> None:
    rows = [("JOB", "PHASE", "COMMAND"), *((job.key, job.phase, " ".join(job.cmd.split()) or "(none)") for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    if jobs:
        for key, phase, cmd in rows:
            print(f"{key:<{widths[0]}}  {phase:<{widths[1]}}  {cmd}")
    say(f"{plural(len(jobs), 'job')}; --json shows all of each")


def _json(job: Job) -> dict[str, Any]:
    """`output_check` is as a spec would write it (one pattern, several, none); `outputs` is always a list."""
    return {
        "key": job.key,
        "project": job.project,
        "id": job.id,
        "phase": job.phase,
        "cmd": job.cmd,
        "output_check": job.outputs[0] if len(job.outputs) == 1 else list(job.outputs) or None,
        "outputs": list(job.outputs),
        "params": dict(job.params),
        "generation": job.generation,
        "cwd": job.cwd,
        "env": dict(job.env),
        "conda": job.conda,
        "venv": job.venv,
        "runner": job.runner,
        "gpus": job.gpus,
        "preconditions": [{"type": str(item.kind), "subject": item.subject} for item in job.preconditions],
        "source": job.source,
    }
