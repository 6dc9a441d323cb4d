"""Renders job.sh: the whole of what an attempt runs, as a script that also runs by hand."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from reconciler.model.ledger import AttemptRecord
from reconciler.model.spec import Job, Project

SETUP_FAILED_EXIT = 96
"""How job.sh ends when it cannot enter its folder or its conda environment: none of the user's code ran."""

_SETUP_FAILED = f"""\
exq_setup_failed() {{
    printf '%s\\n' "$1" >"$EXQ_ATTEMPT_DIR/setup_failed"
    printf 'exq: %s\\n' "$1" >&2
    exit {SETUP_FAILED_EXIT}
}}
"""

# Where conda is usually installed, in the order in which it is looked for.
_CONDA_ROOTS = (
    "~/anaconda3 ~/miniconda3 /opt/anaconda3 /opt/miniconda3 ~/miniforge3 ~/mambaforge "
    "/opt/miniforge3 /opt/mambaforge /opt/conda ~/conda ~/.conda"
)

# A hook is the conda program, the folder it is installed in, or shell code such as `eval "$(... shell.bash hook)"`.
_CONDA_FUNCTIONS = f"""\
exq_find_conda() {{
    for exq_root in {_CONDA_ROOTS}; do
        if [ -x "$exq_root/bin/conda" ]; then exq_hook=$exq_root; return; fi
    done
    exq_hook=${{EXQ_CONDA_HOOK:-${{ARIS_CONDA_HOOK:-conda}}}}
}}
exq_load_conda() {{
    exq_conda=$exq_hook
    case $exq_conda in '~/'*) exq_conda=$HOME/${{exq_conda#'~/'}} ;; esac
    if [ -d "$exq_conda" ]; then exq_conda=$exq_conda/bin/conda; fi
    exq_shell=posix
    if [ -n "${{BASH_VERSION-}}" ]; then exq_shell=bash; fi
    if command -v "$exq_conda" >/dev/null; then
        eval "$("$exq_conda" "shell.$exq_shell" hook)"
    else
        case $exq_hook in
            *[[:space:]]*) eval "$exq_hook" ;;
            *) exq_setup_failed "conda was not found ($exq_hook): install it, or set conda_hook in the spec" ;;
        esac
    fi
}}
exq_activate() {{
    conda activate "$1" 2>"$EXQ_ATTEMPT_DIR/conda_messages" && return
    exq_said=$(tr -s '[:space:]' ' ' <"$EXQ_ATTEMPT_DIR/conda_messages")
    exq_setup_failed "the conda environment $1 cannot be activated:${{exq_said:- conda gave no reason}}"
}}
"""


def render_job_script(job: Job, project: Project, record: AttemptRecord, attempt_dir: str, state: str) -> str:
    """The script of one attempt: exports, working folder, conda, then the command as it was written."""
    sections = (
        _header(job, project, record, attempt_dir),
        _exports(job, record, attempt_dir, state),
        _SETUP_FAILED,
        _enter_folder(job.cwd),
        _conda(job),
        # so that `train | tee log` fails when training does; dash has no such option
        'if [ -n "${BASH_VERSION-}" ]; then set -o pipefail; fi\n',
        f"\n{job.cmd}\n",
    )
    return "".join(sections)


def render_setup(job: Job) -> str:
    """What a job's script does before its command, and nothing more: it ends as that would if it cannot be set up.

    EXQ_ATTEMPT_DIR has to name a folder for its messages."""
    exports = "".join(f"export {name}={quote(value)}\n" for name, value in job.env.items())
    return "#!/usr/bin/env bash\n" + exports + _SETUP_FAILED + _enter_folder(job.cwd) + _conda(job)


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


def _enter_folder(cwd: str) -> str:
    message = quote(f"the working folder {cwd} cannot be entered")
    return f"cd -- {_path(cwd)} || exq_setup_failed {message}\n"


def _path(text: str) -> str:
    """Quoted for the shell, with a leading `~` left to it."""
    if text == "~":
        return '"$HOME"'
    return f'"$HOME"/{quote(text[2:])}' if text.startswith("~/") else quote(text)


def _conda(job: Job) -> str:
    return "".join(_conda_lines(job))


def _conda_lines(job: Job) -> Iterator[str]:
    if job.conda is None and job.conda_hook is None:
        return
    yield _CONDA_FUNCTIONS
    yield f"exq_hook={quote(job.conda_hook)}\n" if job.conda_hook else "exq_find_conda\n"
    yield "exq_load_conda\n"
    if job.conda is not None:
        yield f"exq_activate {quote(job.conda)}\n"


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
    pipefail = 'if [ -n "${BASH_VERSION-}" ]; then set -o pipefail; fi\n'
    command = f"\n{project.analyze_on_complete}\n"
    return header + exports + _SETUP_FAILED + _enter_folder(project.cwd) + pipefail + command
