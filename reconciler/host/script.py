"""Renders job.sh: the whole of what an attempt runs, as a script that also runs by hand."""

from __future__ import annotations

from shlex import quote

from reconciler.host.notes import render_notes
from reconciler.host.runner import joined
from reconciler.host.setup import PREPARE, enter_folder, render_environment
from reconciler.model.ledger import AttemptRecord
from reconciler.model.spec import Job, Project

# `pipefail`, so that `train | tee log` fails when training does; dash has no such option
_COMMAND_BEGINS = """\
if [ -n "${BASH_VERSION-}" ]; then set -o pipefail; fi

# what was asked for
"""


def render_job_script(job: Job, project: Project, record: AttemptRecord, attempt_dir: str, state: str) -> str:
    """The script of one attempt: exports, working folder, environment, then the command as it was written."""
    sections = (
        _header(job, project, record, attempt_dir),
        _exports(job, record, attempt_dir, state),
        PREPARE,
        render_environment(job),
        render_notes(job) if project.provenance else "",
        _COMMAND_BEGINS,
        joined(job.runner, job.cmd) if job.runner is not None else f"{job.cmd}\n",
    )
    return "".join(sections)


def render_setup(job: Job) -> str:
    """What a job's script does before its command, and nothing more: it ends as that would if it cannot be set up.

    EXQ_ATTEMPT_DIR has to name a folder for its messages."""
    exports = "".join(f"export {name}={quote(value)}\n" for name, value in job.env.items())
    return "#!/usr/bin/env bash\n" + exports + PREPARE + render_environment(job)


def _header(job: Job, project: Project, record: AttemptRecord, attempt_dir: str) -> str:
    gpus = f"GPU {', '.join(map(str, record.gpu_indices))}" if record.gpu_indices else "no GPU"
    lines = (
        f"{job.key}, attempt {record.number}, on {record.host} with {gpus}",
        f"from {job.source} of {project.source}, revision {record.revision}",
        f"To run it by hand: bash {quote(attempt_dir + '/job.sh')}",
    )
    return "#!/usr/bin/env bash\n" + "".join(f"# {' '.join(line.split())}\n" for line in lines)


def _exports(job: Job, record: AttemptRecord, attempt_dir: str, state: str) -> str:
    devices = [str(index) for index in record.gpu_indices]
    # exq's own come last: a job must not see a GPU that it does not hold
    values = {
        **job.env,
        "EXQ_ATTEMPT": record.path,
        "EXQ_STATE": state,
        "EXQ_PROJECT": job.project,
        "EXQ_JOB": job.id,
        "EXQ_PHASE": job.phase,
        "EXQ_ATTEMPT_NUMBER": str(record.number),
        "EXQ_ATTEMPT_DIR": attempt_dir,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
        "GPU": devices[0] if devices else "",
    }
    return "".join(f"export {name}={quote(value)}\n" for name, value in values.items())


def render_analysis_script(
    project: Project, record: AttemptRecord, run_folder: str, attempt_dir: str, state: str
) -> str:
    """The script of `analyze_on_complete`: the user's command in the project's folder, told where the summary is."""
    values = {
        "EXQ_ATTEMPT": record.path,
        "EXQ_STATE": state,
        "EXQ_PROJECT": project.name,
        "EXQ_ATTEMPT_DIR": attempt_dir,
        "EXQ_RUN_DIR": run_folder,
    }
    exports = "".join(f"export {name}={quote(value)}\n" for name, value in values.items())
    header = f"#!/usr/bin/env bash\n# analyze_on_complete of {' '.join(project.name.split())}, run {record.number}\n"
    return header + exports + PREPARE + enter_folder(project.cwd) + _COMMAND_BEGINS + f"{project.analyze_on_complete}\n"
