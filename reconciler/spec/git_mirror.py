"""A private bare copy of a remote repository: what has been fetched can be read whatever becomes of the remote."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.spec.git_run import FETCH_S, GitProblem, run_git

FETCHED = "refs/exq/fetched"
"""What the followed ref meant at the last fetch that succeeded."""
TAKEN = "refs/exq/taken"
"""Keeps the commit that was last taken from being thrown away when the remote's history is rewritten."""

_LOCK_POLL_S = 0.1
_QUIET = ("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false", "-c", "core.hooksPath=/dev/null")


@dataclass(frozen=True, slots=True)
class Mirror:
    """The mirror at `folder` of the repository at `url`; `shown` is that URL as it may be shown."""

    folder: Path
    url: str
    ref: str
    shown: str

    @property
    def is_there(self) -> bool:
        """Something was, or was about to be, fetched into it."""
        return (self.folder / "HEAD").is_file()

    def fetch(self, deadline_s: float = FETCH_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Get what `ref` means now. One process at a time: another one's fetch is waited for. Raises `GitProblem`."""
        until = clock() + deadline_s
        with self._locked(until, clock):
            if not self.is_there:
                made = run_git("init", "--quiet", "--bare", "--template=", str(self.folder))
                if made.code != 0:
                    raise GitProblem(f"git cannot make {self.folder}: {made.complaint}")
            left_s = max(0.1, until - clock())
            asked = (f"--git-dir={self.folder}", "fetch", "--quiet", self.url, f"+{self.ref}:{FETCHED}")
            answer = run_git(*_QUIET, *asked, deadline_s=left_s)
        if answer.code != 0:
            raise self._problem(answer.complaint)

    def protect(self, commit: str) -> None:
        """Keep a commit, with all that it was made from. Raises `GitProblem`."""
        answer = run_git(f"--git-dir={self.folder}", "update-ref", TAKEN, commit)
        if answer.code != 0:
            raise GitProblem(f"git cannot keep {commit[:7]} in {self.folder}: {answer.complaint}")

    def _problem(self, complaint: str) -> GitProblem:
        words = complaint.replace(self.url, self.shown)
        if "couldn't find remote ref" in words:
            return GitProblem(f"there is no branch or tag `{self.ref}` in it", f"git ls-remote {self.shown} lists them")
        return GitProblem(f"it cannot be fetched: {words}", f"try it by hand: git ls-remote {self.shown}")

    @contextmanager
    def _locked(self, until: float, clock: Callable[[], float]) -> Iterator[None]:
        try:
            handle = os.open(self.folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GitProblem(f"{self.folder.parent} cannot be written: {error.strerror or error}") from None
        try:
            while not _got(handle):
                if clock() >= until:
                    raise GitProblem("another process is still fetching it", "it is tried again")
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(handle)


def _got(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
