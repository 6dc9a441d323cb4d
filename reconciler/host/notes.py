"""What job.sh notes of its environment before its command: builtins only, so that no job starts later for it."""

from __future__ import annotations

import re
from shlex import quote

from reconciler.host.runner import trial_of
from reconciler.model.spec import Job

_PYTHON = re.compile(r"(?:^|[\s;&|(='\"])((?:~/)?(?:[\w.@%+:,-]*/)*(?:python|pypy)[0-9.]*)(?=\s|$)")

# Of a run by hand nothing is noted: it would overwrite what the attempt ran with. The last line says that it is whole.
_NOTE = """\
exq_note() {{
    [ -n "${{EXQ_SHIM-}}" ] || return 0
    {{
        printf '%s\\n' "pwd=$PWD" "venv=${{VIRTUAL_ENV-}}" "conda_name=${{CONDA_DEFAULT_ENV-}}"
        printf '%s\\n' "conda_prefix=${{CONDA_PREFIX-}}" {runner}
        printf 'python='
        {finds} || printf '\\n'
        printf 'end\\n'
    }} >"$EXQ_ATTEMPT_DIR/environment.txt"
}}
exq_note 2>/dev/null || :
"""


def render_notes(job: Job) -> str:
    """The lines that say which python the command will find, and where."""
    named = python_of(job.cmd)
    words = list(dict.fromkeys([named, "python", "python3"] if named else ["python", "python3"]))
    finds = " || ".join(f"command -v {_word(word)}" for word in words)
    return _NOTE.format(finds=finds, runner=_runner(job.runner))


def python_of(cmd: str) -> str | None:
    """The first python that a command names, as it does."""
    match = _PYTHON.search(cmd)
    return match[1] if match else None


def _word(word: str) -> str:
    return f'"$HOME"/{quote(word[2:])}' if word.startswith("~/") else quote(word)


def _runner(runner: str | None) -> str:
    if runner is None:
        return "runner="
    # one that can be tried can also be asked which python it runs
    return quote(f"{'runner' if trial_of(runner) is None else 'asked'}={' '.join(runner.split())}")
