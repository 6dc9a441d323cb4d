"""Running the git binary: bounded in time, asking nobody, and about no other repository than the one that is meant."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

READ_S = 10.0
"""How long reading from a repository on this machine may take."""
_SLICE_S = 0.25
_GRACE_S = 3.0
"""How long a git that is told to end may take for it."""
Stopped = Callable[[], bool]

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


class GitSilent(GitProblem):
    """It gave no answer in time."""


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


class GitRun:
    """One git command on its way. Start several to have them run side by side."""

    def __init__(self, *arguments: str, text_in: bytes | None = None) -> None:
        """Start it. Raises `GitProblem` where git cannot be run."""
        import subprocess

        self._text_in = text_in
        try:
            self._process = subprocess.Popen(
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

    def answer(
        self, *, deadline_s: float | None = READ_S, silence_s: float | None = None, stopped: Stopped = lambda: False
    ) -> Answer:
        """Wait for its end. `silence_s`: how long it may print nothing at all, neither results nor progress.

        Raises `GitSilent` where a limit is passed (None: there is none), or when `stopped` says so. Then it is ended
        together with what it started."""
        try:
            out, err = self._outputs(deadline_s, silence_s, stopped)
        except BaseException:
            self._end()
            raise
        return Answer(self._process.wait(), out, _complaint(err))

    def _outputs(self, deadline_s: float | None, silence_s: float | None, stopped: Stopped) -> tuple[bytes, bytes]:
        """All that it prints. What it leaves behind, such as a shared connection of ssh, may keep its pipes open after
        its own end: that is not waited for."""
        import subprocess

        process, text_in, begun_at = self._process, self._text_in, time.monotonic()
        heard_at, heard_bytes, ended = begun_at, 0, False
        while True:
            now = time.monotonic()
            since = ((deadline_s, begun_at), (silence_s, heard_at))
            limits = [(limit_s, at + limit_s - now) for limit_s, at in since if limit_s is not None]
            limit_s, left_s = min(limits, key=lambda limit: limit[1], default=(0.0, _SLICE_S))
            if left_s <= 0 and not ended:
                raise GitSilent(f"git gave no answer within {limit_s:.0f} s", "it is tried again")
            try:
                return process.communicate(text_in, timeout=max(0.01, min(_SLICE_S, left_s)))
            except subprocess.TimeoutExpired as so_far:
                text_in = None  # that went on its way with the first call
                out, err = so_far.output or b"", so_far.stderr or b""
            if ended:
                self._close()
                return out, err
            if stopped():
                raise GitSilent("it was broken off", "it is tried again")
            if len(out) + len(err) > heard_bytes:
                heard_at, heard_bytes = time.monotonic(), len(out) + len(err)
            ended = process.poll() is not None  # once more round, for what it printed at last

    def _end(self) -> None:
        """First in a way that lets git take its half-written files along; what does not end by that is killed."""
        import subprocess

        self._signal(signal.SIGTERM)
        until = time.monotonic() + _GRACE_S
        while self._process.returncode is None and time.monotonic() < until:
            # not reaped yet, so that its number still means this group when it is signalled once more
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            time.sleep(0.01)
        self._signal(signal.SIGKILL)
        self._close()
        with suppress(subprocess.TimeoutExpired):  # it is stuck in the kernel: it ends when that lets it go
            self._process.wait(_GRACE_S)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def run_git(*arguments: str, deadline_s: float = READ_S, text_in: bytes | None = None) -> Answer:
    """Run git to its end. Raises `GitProblem` where git is not installed or takes longer than the deadline."""
    return GitRun(*arguments, text_in=text_in).answer(deadline_s=deadline_s)


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
