"""A private bare copy of a remote repository: what has been fetched can be read whatever becomes of the remote."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from reconciler.spec.git_remote import Remote
from reconciler.spec.git_run import GitProblem, GitRun, GitSilent, Stopped, run_git

FETCHED = "refs/exq/fetched"
"""What the followed ref meant at the last fetch that succeeded."""
TAKEN = "refs/exq/taken"
"""Keeps the commit that was last taken from being thrown away when the remote's history is rewritten."""

SILENCE_S = 300.0
"""A fetch goes on for as long as it takes. One that moves nothing and tells of no progress for this long is ended."""
LOCK_S = 120.0
"""How long another process's fetch is waited for, where there is no deadline."""
TIDY_S = 900.0
"""How long git may take to pack the mirror."""
STALE_S = 60.0
"""A lock file of git that is older than this was left behind by one that was killed."""

_LOCK_POLL_S = 0.1
_QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.hooksPath=/dev/null")
_LEFT_BEHIND = ("objects/pack/tmp_*", "objects/[0-9a-f][0-9a-f]/tmp_*", "objects/tmp_*")
_LOCKS = ("*.lock", "refs/exq/*.lock", "objects/pack/*.lock")
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Mirror:
    """The mirror at `folder` of a repository."""

    folder: Path
    remote: Remote
    ref: str
    ref_at: str = "exq.yaml"
    """Where `ref` is written."""

    @property
    def is_there(self) -> bool:
        """Something was, or was about to be, fetched into it."""
        return (self.folder / "HEAD").is_file()

    def fetch(
        self,
        deadline_s: float | None = None,
        clock: Clock = time.monotonic,
        stopped: Stopped = lambda: False,
        silence_s: float | None = None,
    ) -> None:
        """Get what `ref` means now, within a deadline where there is one. Raises `GitProblem`.

        `silence_s`: how long nothing may come; `SILENCE_S` when left out.

        One process at a time: another one's fetch is waited for."""
        until = clock() + (LOCK_S if deadline_s is None else deadline_s)
        with self._locked(until, clock):
            self._make_ready()
            left_s = None if deadline_s is None else max(0.1, until - clock())
            asked = ("fetch", "--progress", self.remote.bare_url, f"+{self.ref}:{FETCHED}")
            run = GitRun(*_QUIET, *self._credentials(), f"--git-dir={self.folder}", *asked)
            try:
                answer = run.answer(deadline_s=left_s, silence_s=silence_s or SILENCE_S, stopped=stopped)
            except GitSilent as silent:
                raise GitSilent(f"it cannot be fetched: {silent.message}", self._by_hand()) from None
        if answer.code != 0:
            raise self._problem(answer.complaint)

    def tidy(self, clock: Clock = time.monotonic, stopped: Stopped = lambda: False) -> None:
        """Let git pack it where that is due: apart from a fetch, which must not be late for it. Raises `GitProblem`."""
        with self._locked(clock() + LOCK_S, clock):
            quiet = ("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false")
            run = GitRun(*quiet, f"--git-dir={self.folder}", "gc", "--auto", "--quiet")
            answer = run.answer(deadline_s=TIDY_S, stopped=stopped)
        if answer.code != 0:
            raise GitProblem(f"git cannot pack {self.folder}: {answer.complaint}")

    def protect(self, commit: str) -> None:
        """Keep a commit, with all that it was made from. Raises `GitProblem`."""
        answer = run_git(f"--git-dir={self.folder}", "update-ref", TAKEN, commit)
        if answer.code != 0:
            raise GitProblem(f"git cannot keep {commit[:7]} in {self.folder}: {answer.complaint}")

    def _make_ready(self) -> None:
        """Make it, or take away what a git that was killed left in it. Under the lock, nobody else is fetching."""
        if not self.is_there:
            made = run_git("init", "--quiet", "--bare", "--template=", str(self.folder))
            if made.code != 0:
                raise GitProblem(f"git cannot make {self.folder}: {made.complaint}")
        for pattern in _LEFT_BEHIND:
            for path in self.folder.glob(pattern):
                _remove(path)
        for pattern in _LOCKS:
            for path in self.folder.glob(pattern):
                if _age_s(path) > STALE_S:
                    _remove(path)

    def _credentials(self) -> tuple[str, ...]:
        """The options with which git finds user and password. They are in no command line, which everybody can read."""
        login_file = self.folder.with_suffix(".login")
        settings, login = self.remote.credentials(str(login_file))
        if not settings:
            return ()
        settings_file = self.folder.with_suffix(".credentials")
        for path, text in ((login_file, login), (settings_file, settings)):
            try:
                _write_private(path, text)
            except OSError as error:
                raise GitProblem(f"{path} cannot be written: {error.strerror or error}") from None
        return ("-c", f"include.path={settings_file}")

    def _problem(self, complaint: str) -> GitProblem:
        words = self.remote.hidden(complaint)
        if "couldn't find remote ref" in words:
            advice = f"correct `ref` in {self.ref_at}; git ls-remote {quote(self.remote.shown)} lists what it has"
            return GitProblem(f"there is no branch or tag `{self.ref}` in it", advice)
        return GitProblem(f"it cannot be fetched: {words}", self._by_hand())

    def _by_hand(self) -> str:
        return f"try it by hand: git ls-remote {quote(self.remote.shown)}"

    @contextmanager
    def _locked(self, until: float, clock: Clock) -> Iterator[None]:
        try:
            handle = os.open(self.folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GitProblem(f"{self.folder.parent} cannot be written: {error.strerror or error}") from None
        try:
            while not self._got(handle):
                if clock() >= until:
                    raise GitProblem("another process is still fetching it", "wait for it, then: exq source --fetch")
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(handle)

    def _got(self, handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise GitProblem(f"{self.folder.parent} cannot be locked: {error.strerror or error}") from None
        return True


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _remove(path: Path) -> None:
    """Away with it. What cannot be removed is no reason not to try; git says what stands in its way."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
