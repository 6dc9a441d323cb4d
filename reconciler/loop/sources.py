"""The git source of a loop: opened as exq.yaml asks, and fetched in a thread that never holds the loop up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.source import Fetched
from reconciler.spec.git_run import FETCH_S, GitProblem
from reconciler.store.errors import StoreError

if TYPE_CHECKING:
    from reconciler.spec.exq_yaml import GitSource
    from reconciler.spec.files import SpecFolder
    from reconciler.spec.git_mirror import Mirror
    from reconciler.spec.git_source import GitSpecs
    from reconciler.spec.intake import LastGood, Passed
    from reconciler.store.paths import StatePaths
    from reconciler.store.source import KeptSource

BACKOFF_MAX_S = 900.0
"""After failures, a remote repository is tried again at the latest after this."""
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

    def start(self) -> None:
        """Fetch from now on, beside the loop, whatever source is in use."""
        self._threads_wanted = True
        if self.current is not None and self.current.follower.mirror is not None and self._thread is None:
            last = self._kept.fetched() if self._kept is not None and not self.is_due() else None
            self._thread = _Fetching(self.fetch, self.wait_s, self._wake, last)

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

    def fetch(self, deadline_s: float = FETCH_S) -> Fetched | None:
        """Fetch now, and keep how that went. None where there is nothing to fetch. Never raises for what git says."""
        specs, kept = self.current, self._kept
        mirror = specs.follower.mirror if specs is not None else None
        if mirror is None or kept is None:
            return None
        before, now = kept.fetched() or Fetched(0.0), self._clock()
        try:
            fetched = self._fetched(mirror, before, now, deadline_s)
            kept.keep_fetched(fetched)
        except StoreError as error:
            return replace(before, at=now, problem=str(error), failures=before.failures + 1)
        return fetched

    def _fetched(self, mirror: Mirror, before: Fetched, now: float, deadline_s: float) -> Fetched:
        from reconciler.store.source import make_private

        self._paths.ensure()
        make_private(self._paths.source)
        try:
            mirror.fetch(deadline_s)
        except GitProblem as problem:
            told = {"problem": problem.message, "advice": problem.advice}
            return Fetched(now, before.succeeded_at, before.failures + 1, **told)
        return Fetched(now, now)

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


class _Fetching:
    """The thread: fetch, tell, wait."""

    def __init__(
        self,
        fetch: Callable[[], Fetched | None],
        wait_s: Callable[[Fetched | None], float],
        wake: Callable[[], None],
        last: Fetched | None,
    ) -> None:
        """`last`: a fetch that was made just now, if there was one."""
        self._fetch = fetch
        self._last = last
        self._wait_s = wait_s
        self._wake = wake
        self._closed = False
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._thread.start()

    def now(self) -> None:
        """Fetch as soon as the one on its way is over."""
        self._due.set()

    def close(self) -> None:
        """The thread ends after what it is doing."""
        self._closed = True
        self._due.set()

    def _run(self) -> None:
        fetched = self._last
        while not self._closed:
            if fetched is None or self._due.wait(self._wait_s(fetched)):
                self._due.clear()
            if self._closed:
                return
            fetched = self._fetch() or Fetched(0.0)
            if not self._closed:
                self._wake()
