"""The ledger as the loop and the verbs use it: all of it in memory, every change durable before it shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import MappingProxyType, TracebackType

from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger, ProjectRun, was_set_up_in_vain
from reconciler.store.contents import Changes, Contents
from reconciler.store.database import Changed
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths
from reconciler.store.reader import Reader
from reconciler.store.writer import Writer


class LedgerStore:
    """One state folder's ledger. The loop opens it writable, under the daemon lock; everyone else reads."""

    def __init__(self, paths: StatePaths, source: Writer | Reader) -> None:
        self._paths = paths
        self._source = source
        self._version = 0
        self._jobs: dict[str, JobRecord] = {}
        self._runs: dict[str, ProjectRun] = {}
        self._paused: frozenset[str] = frozenset()
        self._open: dict[str, AttemptRecord] = {}
        self._set_up_in_vain: dict[str, None] = {}
        self._accepted: frozenset[str] = frozenset()
        self.identity = ""
        """Another one means that a ledger before this was lost; empty where none was made yet."""
        self.notices: tuple[str, ...] = ()
        """What had to be repaired or could not be read when the file was last loaded, one sentence each."""

    @classmethod
    def open(cls, paths: StatePaths, *, writable: bool, clock: Callable[[], float] = time.time) -> LedgerStore:
        """Load the ledger. Read-only, nothing is made or changed and a missing state folder is an empty ledger.

        Writable, a missing or damaged ledger is made anew from the attempt folders, the damaged file is set aside
        under a name with the `clock`'s time, and `notices` says so. Raises StoreError (also for a ledger of a
        newer exq) or StoreFull."""
        store = cls(paths, Writer(paths, clock) if writable else Reader(paths))
        store._take(*store._source.load())
        return store

    def __enter__(self) -> LedgerStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ledger(self) -> Ledger:
        """The ledger now, at no cost. Its `jobs` are a view that later commits show through; the rest is a snapshot."""
        return Ledger(
            self._version,
            MappingProxyType(self._jobs),
            self._paused,
            MappingProxyType(self._runs),
            MappingProxyType(self._open),
            MappingProxyType(self._set_up_in_vain),
        )

    def commit(
        self,
        jobs: Iterable[JobRecord] = (),
        runs: Iterable[ProjectRun] = (),
        pause: Iterable[str] = (),
        resume: Iterable[str] = (),
        accepted: Iterable[str] = (),
    ) -> None:
        """Store whole records in one transaction that survives a power loss; then, and only then, show them.

        `accepted` are ids of requests whose effects are part of it. Raises StoreFull or StoreError: nothing is
        changed then, and the store can be used again."""
        if not isinstance(self._source, Writer):
            raise StoreError(f"{self._paths.ledger} was opened for reading only")
        changes = Changes(tuple(jobs), tuple(runs), tuple(pause), tuple(resume), tuple(accepted))
        if not changes:
            return
        if not self._source.ready:
            self._take(*self._source.load(self._contents()))
        try:
            self._source.write(changes)
        except Changed as changed:
            self._take(*self._source.load())
            raise StoreError(
                f"another program has changed {self._paths.ledger}: it was read again and nothing was written"
            ) from changed
        self._show(changes)

    def is_accepted(self, request_id: str) -> bool:
        """The effects of this request are in the ledger: a crash may leave its file in the inbox after that."""
        return request_id in self._accepted

    def refresh(self) -> bool:
        """See what the loop has committed since; True when something may have changed. The loop itself needs no such
        call. Raises StoreError."""
        if isinstance(self._source, Writer) or not self._source.changed():
            return False
        self._take(*self._source.load())
        return True

    def close(self) -> None:
        """Let go of the file. What was loaded stays readable."""
        self._source.close()

    def _contents(self) -> Contents:
        return Contents(self._jobs, self._runs, self._paused, self._accepted, self.identity)

    def _take(self, contents: Contents, notices: tuple[str, ...]) -> None:
        self._version += 1
        self._jobs, self._runs = contents.jobs, contents.runs
        self._paused, self._accepted = contents.paused, contents.accepted
        self.identity = contents.identity
        self._open = {a.path: a for record in self._jobs.values() for a in record.attempts if _is_open(a)}
        self._set_up_in_vain = {key: None for key, record in self._jobs.items() if was_set_up_in_vain(record)}
        self.notices = notices

    def _show(self, changes: Changes) -> None:
        self._version += 1
        opened = dict(self._open)
        for record in changes.jobs:
            before = self._jobs.get(record.key)
            for attempt in before.attempts if before else ():
                opened.pop(attempt.path, None)
            opened.update((attempt.path, attempt) for attempt in record.attempts if _is_open(attempt))
            self._jobs[record.key] = record
        self._open = opened
        in_vain = {record.key: None for record in changes.jobs if was_set_up_in_vain(record)}
        if not in_vain.keys() <= self._set_up_in_vain.keys():
            self._set_up_in_vain = {**self._set_up_in_vain, **in_vain}
        self._paused = self._paused.union(changes.pause).difference(changes.resume)
        if changes.accepted:
            self._accepted = self._accepted.union(changes.accepted)
        self._show_runs(changes.runs)

    def _show_runs(self, runs: tuple[ProjectRun, ...]) -> None:
        newest = dict(self._runs)
        for run in runs:
            known = newest.get(run.project)
            if known is None or run.number >= known.number:
                newest[run.project] = run
        self._runs = newest


def _is_open(attempt: AttemptRecord) -> bool:
    return attempt.verdict is None or not attempt.released
