"""When jobs are set up alike, so that what breaks the setup of one breaks that of the other."""

from __future__ import annotations

import re

from reconciler.model.spec import Job

SETUP_FAILED_EXIT = 96
"""How job.sh ends when it cannot enter its folder or its environment: none of the user's code ran."""

SETUP_FAILED_LINE = "exq: "
"""How the last line of the log begins then."""

FOLDER_PROBLEM = "the working folder {cwd} cannot be entered"
"""Why an attempt failed before anything of its environment was tried."""

SNAPSHOT_PROBLEM = "its snapshot cannot be used: "
"""How it begins why a job cannot be started from the work tree of its commit."""

Setup = tuple[str, ...]
"""A working folder, an environment, or a job's place in a work tree: equal for the jobs that share it."""

_FOLDER_PROBLEM_BEGINS = FOLDER_PROBLEM.partition("{")[0]
_STEERING = re.compile(
    r"PATH|HOME|TMPDIR|VIRTUAL_ENV|PYTHON\w+|(?:CONDA|MAMBA|UV|PIXI|POETRY|PDM|PIP|LD|APPTAINER|SINGULARITY)_\w+"
)
"""Variables by which a job's `env` can change how its environment comes out."""


def folder_of(job: Job) -> Setup:
    """Its working folder."""
    return ("folder", job.cwd)


def environment_of(job: Job) -> Setup:
    """Its environment. Jobs without one share that they have none."""
    named = f"{job.conda_hook or ''} {job.runner or ''}"
    variables = [f"{name}={job.env[name]}" for name in sorted(job.env) if _STEERING.fullmatch(name) or name in named]
    # a runner looks for its project in the working folder
    by_folder = job.runner is not None or not (job.venv or "/").startswith(("/", "~"))
    place = job.cwd if by_folder else ""
    parts = (job.conda, job.conda_hook, job.venv, job.runner)
    return ("environment", place, *(part or "" for part in parts), *variables)


def snapshot_of(job: Job) -> Setup:
    """Its place in the work tree of a commit. What is wrong there is due to its own outputs alone."""
    return ("snapshot", job.key)


def setups_of(job: Job) -> tuple[Setup, ...]:
    """All that may be to blame when it cannot be set up."""
    return (folder_of(job), environment_of(job), snapshot_of(job))


def broken_part(job: Job, message: str) -> Setup:
    """What it was that could not be set up, by the message of an attempt."""
    if message.startswith(FOLDER_PROBLEM.format(cwd=job.cwd)):
        return folder_of(job)
    # another folder than its own is one in a work tree: those who run in the original one are not concerned
    in_snapshot = message.startswith((SNAPSHOT_PROBLEM, _FOLDER_PROBLEM_BEGINS))
    return snapshot_of(job) if in_snapshot else environment_of(job)
