"""A ledger is what was committed to it, through restarts, readers, lost files and damage."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger, ProjectRun
from reconciler.store.ledger import LedgerStore
from reconciler.store.paths import StatePaths
from tests.unit.store.samples import SUCCEEDED, attempt, run_of

KEYS = [f"p/{name}" for name in "abcd"]


@st.composite
def records(draw: st.DrawFn) -> JobRecord:
    key = draw(st.sampled_from(KEYS))
    numbers = sorted(draw(st.sets(st.integers(1, 4), max_size=3)))
    verdict = st.sampled_from([None, SUCCEEDED])
    tried = tuple(attempt(key, number, draw(verdict), released=draw(st.booleans())) for number in numbers)
    return JobRecord(key, tried, retry_after=draw(st.integers(0, 3)))


class LedgerMachine(RuleBasedStateMachine):
    """The store against plain dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.paths = StatePaths(Path(self.folder.name) / "state")
        self.store = LedgerStore.open(self.paths, writable=True)
        self.reader = LedgerStore.open(self.paths, writable=False)
        self.jobs: dict[str, JobRecord] = {}
        self.runs: dict[str, ProjectRun] = {}
        self.paused: frozenset[str] = frozenset()
        self.accepted: set[str] = set()

    @rule(changed=st.lists(records(), max_size=3), number=st.integers(0, 3), request=st.sampled_from("xyz"))
    def commit(self, changed: list[JobRecord], number: int, request: str) -> None:
        runs = [run_of("p", number)] if number else []
        self.store.commit(changed, runs, accepted=request)
        self.jobs.update((record.key, record) for record in changed)
        self.runs.update((run.project, run) for run in runs if run.number >= self._newest())
        self.accepted.add(request)

    def _newest(self) -> int:
        return self.runs["p"].number if self.runs else 0

    @rule(pause=st.sets(st.sampled_from(KEYS)), resume=st.sets(st.sampled_from(KEYS)))
    def pause_and_resume(self, pause: set[str], resume: set[str]) -> None:
        self.store.commit(pause=pause, resume=resume)
        self.paused = (self.paused | pause) - resume

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = LedgerStore.open(self.paths, writable=True)
        assert self.store.notices == ()

    @rule(how=st.sampled_from(["removed", "damaged"]))
    def lose_the_file(self, how: str) -> None:
        """Under the loop's hands: it still has everything in memory."""
        if how == "damaged":
            self.store.close()
            self.paths.ledger.write_bytes(b"damage" * 999)
        else:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.paths.ledger}{suffix}").unlink(missing_ok=True)
        self.store.commit(accepted=["x"])
        self.accepted.add("x")

    @rule(fresh=st.booleans())
    def read(self, fresh: bool) -> None:
        if fresh:
            self.reader.close()
            self.reader = LedgerStore.open(self.paths, writable=False)
        else:
            self.reader.refresh()
        assert self.reader.notices == ()
        self.check(self.reader)

    @invariant()
    def holds(self) -> None:
        self.check(self.store)

    def check(self, store: LedgerStore) -> None:
        ledger: Ledger = store.ledger()
        assert (ledger.jobs, ledger.runs, ledger.paused) == (self.jobs, self.runs, self.paused)
        assert ledger.open_attempts == self.open_attempts()
        assert {request for request in "xyz" if store.is_accepted(request)} == self.accepted

    def open_attempts(self) -> dict[str, AttemptRecord]:
        every = (attempt for record in self.jobs.values() for attempt in record.attempts)
        return {a.path: a for a in every if a.verdict is None or not a.released}

    def teardown(self) -> None:
        self.reader.close()
        self.store.close()
        self.folder.cleanup()


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=10, deadline=None)
test_the_ledger_is_what_was_committed = LedgerMachine.TestCase
