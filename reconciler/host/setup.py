"""What job.sh does before the command: enter the folder, then the conda or virtual environment, then try the runner.

Whatever fails here ends the script with `SETUP_FAILED_EXIT` and the tool's own words in `setup_failed`: nothing of the
user's code ran. dash and bash run it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote

from reconciler.host.runner import program_of, trial_of
from reconciler.model.setup import FOLDER_PROBLEM, SETUP_FAILED_EXIT, SETUP_FAILED_LINE
from reconciler.model.spec import Job

PREPARE = f"""\
exq_setup_failed() {{
    printf '%s\\n' "$1" >"$EXQ_ATTEMPT_DIR/setup_failed"
    printf '{SETUP_FAILED_LINE}%s\\n' "$1" >&2
    exit {SETUP_FAILED_EXIT}
}}
"""

# A tool's words are kept apart, to be told on one line and still to stand in the log as they were.
_TOLD = """\
exq_told=$EXQ_ATTEMPT_DIR/setup_messages
exq_fail_as_told() {
    cat "$exq_told" >&2
    exq_words=$(tr -s '[:space:]' ' ' <"$exq_told")
    exq_words=${exq_words# }
    exq_setup_failed "$1: ${exq_words:-it gave no reason}"
}
"""

# Where conda is usually installed, in the order in which it is looked for.
_CONDA_ROOTS = (
    "~/anaconda3 ~/miniconda3 /opt/anaconda3 /opt/miniconda3 ~/miniforge3 ~/mambaforge /opt/miniforge3 "
    "/opt/mambaforge /usr/local/anaconda3 /usr/local/miniconda3 /opt/conda ~/conda ~/.conda"
)

# A hook is the conda program, the folder it is installed in, or shell code such as `eval "$(... shell.bash hook)"`.
_CONDA = f"""\
exq_find_conda() {{
    for exq_hook in {_CONDA_ROOTS}; do
        if [ -x "$exq_hook/bin/conda" ]; then return; fi
    done
    exq_hook=${{EXQ_CONDA_HOOK:-${{ARIS_CONDA_HOOK-}}}}
    [ -z "$exq_hook" ] || return 0
    for exq_hook in conda "${{CONDA_EXE-}}" mamba micromamba "${{MAMBA_EXE-}}"; do
        if [ -n "$exq_hook" ] && command -v "$exq_hook" >/dev/null; then return; fi
    done
    exq_hook=conda
}}
exq_find_program() {{
    exq_conda=$exq_hook
    case $exq_conda in '~/'*) exq_conda=$HOME/${{exq_conda#'~/'}} ;; esac
    if [ -d "$exq_conda" ]; then
        for exq_tool in micromamba mamba conda; do
            if [ -x "$exq_conda/bin/$exq_tool" ]; then exq_program=$exq_conda/bin/$exq_tool; fi
        done
        exq_conda=${{exq_program:-$exq_conda/bin/conda}}
    fi
}}
exq_load_conda() {{
    exq_find_program
    exq_shell=posix
    if [ -n "${{BASH_VERSION-}}" ]; then exq_shell=bash; fi
    if command -v "$exq_conda" >/dev/null; then
        exq_code=$(exq_hook_of_program 2>"$exq_told") || exq_fail_as_told "$exq_conda does not start"
        eval "$exq_code"
    else
        case $exq_hook in
            *[[:space:]]*) eval "$exq_hook" 2>"$exq_told" ;;
            *) exq_setup_failed "conda was not found ($exq_hook): install it, or set conda_hook in the spec" ;;
        esac
    fi
}}
exq_hook_of_program() {{
    case ${{exq_conda##*/}} in
        mamba | micromamba) "$exq_conda" shell hook --shell "$exq_shell" && return ;;
    esac
    "$exq_conda" "shell.$exq_shell" hook
}}
exq_activate() {{
    exq_tool=conda
    for exq_name in micromamba mamba conda; do
        # a function has no path
        if [ "$(command -v "$exq_name")" = "$exq_name" ]; then exq_tool=$exq_name; fi
    done
    "$exq_tool" activate "$1" 2>>"$exq_told" || exq_fail_as_told "the conda environment $1 cannot be activated"
    cat "$exq_told" >&2
}}
"""

_VENV = """\
exq_enter_venv() {
    VIRTUAL_ENV=$(CDPATH='' cd -- "$1" 2>"$exq_told" && pwd) || exq_setup_failed "$2 is not there"
    PATH=$VIRTUAL_ENV/bin:$PATH
    export VIRTUAL_ENV PATH
    unset PYTHONHOME
}
"""

# An environment that can be entered may still be dead: moved, or made with a Python that an upgrade took away.
_PYTHON = """\
exq_try_python() {
    exq_python=$1/bin/python
    if [ -L "$exq_python" ] && [ ! -e "$exq_python" ]; then
        exq_setup_failed "$2 is broken: its python is a link to $(readlink "$exq_python"), which is not there"
    elif [ ! -e "$exq_python" ]; then
        [ "$3" != needed ] || exq_setup_failed "$2 has no python: $exq_python is not there"
        return 0
    fi
    "$exq_python" -c '
import os, sys
if not os.path.samefile(sys.prefix, sys.argv[1]): sys.exit("error: it belongs to " + sys.prefix)
' "$1" >/dev/null 2>"$exq_told" && return
    if grep -i error "$exq_told" >"$exq_told.errors"; then exq_told=$exq_told.errors; fi
    exq_fail_as_told "the python of $2 cannot be used"
}
"""

_RUNNER = """\
exq_find_runner() {
    command -v "$1" >/dev/null || exq_setup_failed "the runner $1 was not found: install it, or name it with its path"
}
"""
_CALLS_PYTHON = re.compile(r"(?<![\w./-])python3?(?![\w./-])")


def render_environment(job: Job) -> str:
    """The folder, the environment and the runner of a job, each entered or found to be broken."""
    return enter_folder(job.cwd) + "".join(_environment(job))


def enter_folder(cwd: str) -> str:
    """What makes a script go on in a folder, or end because there is none."""
    message = quote(FOLDER_PROBLEM.format(cwd=cwd))
    return f"cd -- {_path(cwd)} || exq_setup_failed {message}\n"


def sets_up(job: Job) -> bool:
    """It sets something up beside entering its folder."""
    return any((job.conda, job.conda_hook, job.venv, job.runner))


def _environment(job: Job) -> Iterator[str]:
    if sets_up(job):
        yield _TOLD
    if job.conda is not None or job.conda_hook is not None:
        yield _CONDA
        yield f"exq_hook={quote(job.conda_hook)}\n" if job.conda_hook else "exq_find_conda\n"
        yield "exq_load_conda\n"
    if job.conda is not None:
        yield f"exq_activate {quote(job.conda)}\n"
        needed = "needed" if _CALLS_PYTHON.search(job.cmd) else "optional"
        label = quote(f"the conda environment {job.conda}")
        yield f'{_PYTHON}[ -z "${{CONDA_PREFIX-}}" ] || exq_try_python "$CONDA_PREFIX" {label} {needed}\n'
    if job.venv is not None:
        label = quote(f"the virtual environment {job.venv}")
        yield f"{_VENV}exq_enter_venv {_path(job.venv)} {label}\n"
        yield f'{_PYTHON}exq_try_python "$VIRTUAL_ENV" {label} needed\n'
    if job.runner is not None:
        yield from _try_runner(job.runner)


def _try_runner(runner: str) -> Iterator[str]:
    yield f"{_RUNNER}exq_find_runner {program_of(runner)}\n"
    trial = trial_of(runner)
    if trial:
        message = quote(f"{runner} cannot run anything")
        yield f'{trial} </dev/null >/dev/null 2>"$exq_told" || exq_fail_as_told {message}\n'


def _path(text: str) -> str:
    """Quoted for the shell, with a leading `~` left to it."""
    if text == "~":
        return '"$HOME"'
    return f'"$HOME"/{quote(text[2:])}' if text.startswith("~/") else quote(text)
