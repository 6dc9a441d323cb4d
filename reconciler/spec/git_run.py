"""Running the git binary: bounded in time, asking nobody, and about no other repository than the one that is meant."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

READ_S = 20.0
"""How long reading from a repository on this machine may take."""
FETCH_S = 120.0
"""How long a fetch may take."""

_CONNECTION_LOST = "Could not read from remote repository"
_OF_OTHER_REPOSITORIES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_TRACE",
)
"""What git sets for its hooks, and what would make it answer for something else."""


class GitProblem(Exception):
    """Why git gives no answer, in words. `advice` is what to type or do next; it may be empty."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.args[0]}; {self.advice}" if self.advice else str(self.args[0])

    @property
    def message(self) -> str:
        """What is wrong, without the advice."""
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Answer:
    """What one git command printed, and how it ended."""

    code: int
    out: bytes
    complaint: str
    """The last line that it wrote to stderr, without git's `fatal:`."""

    @property
    def text(self) -> str:
        """stdout as text, without the last line end."""
        return self.out.decode("utf-8", "replace").rstrip("\n")


def run_git(*arguments: str, deadline_s: float = READ_S, text_in: bytes | None = None) -> Answer:
    """Run git to its end. Raises `GitProblem` where git is not installed or takes longer than the deadline."""
    import subprocess

    try:
        process = subprocess.Popen(
            ["git", *arguments],
            env=git_environment(os.environ),
            stdin=subprocess.DEVNULL if text_in is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # without a terminal, ssh cannot stop to ask; and its helpers end with it
        )
    except FileNotFoundError:
        raise GitProblem("git is not installed", "install it: apt install git") from None
    except OSError as error:
        raise GitProblem(f"git cannot be run: {error.strerror or error}") from None
    try:
        out, err = process.communicate(text_in, timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise GitProblem(f"git gave no answer within {deadline_s:.0f} s", "it is tried again") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Answer(process.returncode, out, _complaint(err))


def git_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, less what a git hook or another tool set for some other repository."""
    kept = {name: value for name, value in env.items() if name not in _OF_OTHER_REPOSITORIES}
    return kept | {
        "GIT_OPTIONAL_LOCKS": "0",  # only looking must not get in the way of the user's own git commands
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": env.get("GIT_ASKPASS", ""),  # empty: no window that nobody will see
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_NO_REPLACE_OBJECTS": "1",  # a commit is what its name says
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_PAGER": "cat",
        "LC_ALL": "C",
    }


def _complaint(err: bytes) -> str:
    """The line that says most: the first `fatal:` one; of a lost connection, what came before it."""
    lines = [line.strip() for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return "git says nothing about it"
    found = next((at for at, line in enumerate(lines) if line.startswith(("fatal: ", "error: "))), len(lines) - 1)
    if found and _CONNECTION_LOST in lines[found]:
        found -= 1
    return lines[found].removeprefix("fatal: ").removeprefix("error: ").removeprefix("ERROR: ")
