"""A runner (`uv run`, `apptainer exec image.sif`) before a command: how it is tried, and how the two are joined."""

from __future__ import annotations

import re
import shlex
from shlex import quote

_VARIABLE = r"\$\{?(?:GPU|HOME|USER|EXQ_\w+|CUDA_VISIBLE_DEVICES)\b\}?"
_PLAIN = r"[\w./:=,@%+^~-]"
_SIMPLE_WORD = rf"""(?:{_PLAIN}|'[^']*'|"(?:[^"\\`$]|{_VARIABLE})*"|{_VARIABLE})+"""
_SIMPLE = re.compile(rf"(?![A-Za-z_]\w*=){_SIMPLE_WORD}(?:[ \t]+{_SIMPLE_WORD})*")
_FIRST_WORD = re.compile(r"""(?:[^\s'"\\]|'[^']*'|"(?:[^"\\]|\\.)*"|\\.)+""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_OF_THE_SHELL = re.compile(
    r"[!.:{]|\[\[?|alias|bg|break|builtin|case|cd|command|continue|declare|do|done|elif|else|esac|eval|exec|exit|export"
    r"|false|fg|fi|for|function|getopts|hash|if|in|jobs|kill|let|local|popd|printf|pushd|pwd|read|readonly|return|select"
    r"|set|shift|shopt|source|test|then|time|times|trap|true|type|ulimit|umask|unalias|unset|until|wait|while"
)
"""What no runner finds as a program, or would find another one of."""

# Runners that take any program: the word that makes them one, and their options that have a value.
_TAKES_ANY = {
    "uv": ("run", "--with --with-editable --with-requirements --extra --no-extra --group --no-group --only-group"
           " -p --python --project --directory --package --env-file --index --default-index --index-url --color"),
    "pixi": ("run", "-e --environment -m --manifest-path --color"),
    "poetry": ("run", ""),
    "pdm": ("run", "-p --project -L --lockfile"),
    "conda": ("run", "-n --name -p --prefix --cwd"),
    "mamba": ("run", "-n --name -p --prefix --cwd"),
    "micromamba": ("run", "-n --name -p --prefix -r --root-prefix --cwd"),
    "apptainer": ("exec", "-B --bind -H --home -W --workdir -S --scratch -o --overlay --pwd --cwd --env --env-file"),
    "singularity": ("exec", "-B --bind -H --home -W --workdir -S --scratch -o --overlay --pwd --cwd --env --env-file"),
}  # fmt: skip
_WITH_IMAGE = ("apptainer", "singularity")
_NOT_TRIED = ("-m", "--module", "-s", "--script", "-c", "--gui-script")


def program_of(runner: str) -> str:
    """The word of a runner that names its program, as it is written."""
    return _words(runner)[0]


def trial_of(runner: str) -> str | None:
    """A command that tells whether the runner can run anything; None where that would not be certain."""
    words = _words(runner)
    tool = words[0].rpartition("/")[2]
    verb, with_values = _TAKES_ANY.get(tool, ("", ""))
    if len(words) < 2 or words[1] != verb:
        return None
    others = list(_besides_options(words[2:], with_values.split()))
    wanted = 1 if tool in _WITH_IMAGE else 0
    if len(others) != wanted or (tool != "pixi" and not set(words).isdisjoint(_NOT_TRIED)):
        return None
    return f"{runner} true"


def _besides_options(words: list[str], with_values: list[str]) -> list[str]:
    """The words that are neither an option nor its value."""
    left: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if not word.startswith("-") and before not in with_values:
            left.append(word)
    return left


def _words(runner: str) -> list[str]:
    """From the program on."""
    words = _FIRST_WORD.findall(runner)
    return words[next(i for i, word in enumerate(words) if not _ASSIGNMENT.match(word)) :]


def joined(runner: str, cmd: str) -> str:
    """The runner and the command as one shell text.

    A plain call follows the runner as it would be typed. Anything else is written to a file that the runner has a shell
    read: as an argument some of them (`pixi run`, `conda run`) would change it."""
    if _SIMPLE.fullmatch(cmd) and not _OF_THE_SHELL.fullmatch(shlex.split(cmd)[0]):
        return f"{runner} {cmd}\n"
    return (
        "exq_command=$EXQ_ATTEMPT_DIR/command.sh exq_shell=sh\n"
        "if [ -n \"${BASH_VERSION-}\" ]; then exq_shell='bash -o pipefail'; fi\n"
        f'printf \'%s\\n\' {quote(cmd)} >"$exq_command" || exq_setup_failed "$exq_command cannot be written"\n'
        f'{runner} $exq_shell "$exq_command"\n'
    )
