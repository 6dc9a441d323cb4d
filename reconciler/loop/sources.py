"""The git source of a loop: opened as exq.yaml asks, and fetched in a thread that never holds the loop up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.source import Fetched
from reconciler.spec.git_run import GitProblem, Stopped
from reconciler.store.errors import StoreError

if TYPE_CHECKING:
    from reconciler.spec.exq_yaml import GitSource
    from reconciler.spec.files import SpecFolder
    from reconciler.spec.git_source import GitSpecs
    from reconciler.spec.intake import LastGood, Passed
    from reconciler.store.paths import StatePaths
    from reconciler.store.source import KeptSource

BACKOFF_MAX_S = 900.0
"""After failures, a remote repository is tried again at the latest after this."""
TIDY_EVERY_S = 3600.0
"""How often git is asked to pack what was fetched, where that is due."""
TIDY_AGAIN_S = 86400.0
"""The same after it could not, such as for lack of room or time."""
JOIN_S = 1.0
"""How long the thread may take to tell its git to end."""
FRESH_S = 10.0
"""A verb that only looks does not fetch again what was fetched less than this ago."""


class Sources:
    """Opens sources, and fetches the one in use."""

    def __init__(
        self,
        paths: StatePaths,
        *,
        plain: SpecFolder,
        last_good: LastGood,
        passed: Passed,
        writable: bool,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._paths = paths
        self._plain = plain
        self._last_good = last_good
        self._passed = passed
        self._writable = writable
        self._clock = clock
        self._wake = wake
        self._threads_wanted = False
        self._thread: _Fetching | None = None
        self._kept: KeptSource | None = None
        self.current: GitSpecs | None = None
        """The source in use; None when there was none so far."""

    def open(self, source: GitSource) -> GitSpecs:
        """The specs of a source, in place of the one before."""
        from reconciler.spec.git_source import GitSpecs, identity_of  # a world without a source does without them
        from reconciler.store.source import KeptSource

        self._kept = KeptSource(self._paths, identity_of(source), writable=self._writable)
        self.current = GitSpecs.open(self._plain.folder, source, self._kept, self._last_good, self._passed)
        self._end_thread()
        if self._threads_wanted:
            self.start()
        return self.current

    def leave(self) -> None:
        """There is no source any more."""
        self._end_thread()
        self.current = self._kept = None

    def start(self) -> None:
        """Fetch from now on, beside the loop, whatever source is in use."""
        self._threads_wanted = True
        if self.current is not None and self.current.follower.mirror is not None and self._thread is None:
            last = self._kept.fetched() if self._kept is not None and not self.is_due() else None
            self._thread = _Fetching(self, self._wake, last)

    def refresh(self) -> None:
        """Fetch soon: somebody said that there is something new."""
        if self._thread is not None:
            self._thread.now()

    def is_due(self) -> bool:
        """It is remote, and what is known of it is not fresh, nor was it found out of reach a moment ago."""
        if self.current is None or self.current.follower.mirror is None:
            return False
        if not self.current.follower.mirror.is_there:
            return True
        known = self._kept.fetched() if self._kept is not None else None
        return known is None or abs(self._clock() - known.at) > FRESH_S

    def fetch(
        self, deadline_s: float | None = None, stopped: Stopped = lambda: False, silence_s: float | None = None
    ) -> Fetched | None:
        """Fetch now, and keep how that went. None where there is nothing to fetch. Never raises.

        Without a deadline it goes on for as long as something comes; `silence_s`: how long nothing may."""
        specs, kept = self.current, self._kept
        mirror = specs.follower.mirror if specs is not None else None
        if mirror is None or kept is None:
            return None
        before, now = kept.fetched() or Fetched(0.0), self._clock()
        fetched = self._fetched(before, now, lambda: mirror.fetch(deadline_s, stopped=stopped, silence_s=silence_s))
        if stopped():  # one that was broken off says nothing of the repository
            return fetched
        try:
            kept.keep_fetched(fetched)
        except StoreError as error:
            return replace(before, at=now, problem=str(error), failures=before.failures + 1)
        return fetched

    def _fetched(self, before: Fetched, now: float, fetch: Callable[[], None]) -> Fetched:
        from reconciler.store.source import make_private

        try:
            self._paths.ensure()
            make_private(self._paths.source)
            fetch()
        except Exception as error:  # whatever it is, it is told: a thread that ends by it says nothing
            problem = _problem_of(error)
            told = {"problem": problem.message, "advice": problem.advice}
            return Fetched(now, before.succeeded_at, before.failures + 1, **told)
        return Fetched(now, now)

    def tidy(self, stopped: Stopped) -> bool:
        """Let git pack what was fetched. Whether it could; where it could not, nothing is lost but room."""
        specs = self.current
        mirror = specs.follower.mirror if specs is not None else None
        try:
            if mirror is not None and mirror.is_there:
                mirror.tidy(stopped=stopped)
        except (GitProblem, OSError):
            return False
        return True

    def wait_s(self, fetched: Fetched | None) -> float:
        """How long after this fetch the next one is due: later and later while they fail."""
        interval_s = self.current.source.interval_s if self.current is not None else BACKOFF_MAX_S
        failures = fetched.failures if fetched is not None else 0
        return (
            interval_s if not failures else max(interval_s, min(interval_s * 2.0 ** min(failures, 20), BACKOFF_MAX_S))
        )

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def close(self) -> None:
        """Fetch no more. One that is on its way is not waited for."""
        self._threads_wanted = False
        self._end_thread()


def _problem_of(error: Exception) -> GitProblem:
    if isinstance(error, GitProblem):
        return error
    if isinstance(error, StoreError):
        return GitProblem(str(error))
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return GitProblem(f"it cannot be fetched: {reason}")


class _Fetching:
    """The thread: fetch, tell, wait."""

    def __init__(self, sources: Sources, wake: Callable[[], None], last: Fetched | None) -> None:
        """`last`: a fetch that was made just now, if there was one."""
        self._sources = sources
        self._last = last
        self._wake = wake
        self._tidy_at = time.monotonic()
        self._closed = False
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._thread.start()

    def now(self) -> None:
        """Fetch as soon as the one on its way is over."""
        self._due.set()

    def close(self) -> None:
        """The thread ends soon, and with it a git that is on its way."""
        self._closed = True
        self._due.set()
        self._thread.join(JOIN_S)

    def _is_closed(self) -> bool:
        return self._closed

    def _run(self) -> None:
        fetched = self._last
        while not self._closed:
            if fetched is None or self._due.wait(self._sources.wait_s(fetched)):
                self._due.clear()
            if self._closed:
                return
            fetched = self._sources.fetch(stopped=self._is_closed) or Fetched(0.0)
            if self._closed:
                return
            self._wake()
            self._tidy(fetched)

    def _tidy(self, fetched: Fetched) -> None:
        """Now and then, and after everybody knows what was fetched."""
        now = time.monotonic()
        if not fetched.problem and now >= self._tidy_at:
            done = self._sources.tidy(self._is_closed)
            self._tidy_at = now + (TIDY_EVERY_S if done else TIDY_AGAIN_S)
