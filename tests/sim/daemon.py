"""The loop under test in its simulated world: the real planner, loop and ledger on ports that can fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from operator import is_
from typing import Any

from reconciler.loop.done import Done
from reconciler.loop.moving import Moving
from reconciler.loop.run import RESYNC_S, _wait_s
from reconciler.loop.tick import tick
from reconciler.loop.world import MOVED, World
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import Plan
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST
from reconciler.planner.plan import plan
from reconciler.store.contents import Changes, Contents
from reconciler.store.database import Changed
from reconciler.store.errors import StoreError, StoreFull
from reconciler.store.ledger import LedgerStore
from reconciler.store.writer import Writer
from tests.sim import product
from tests.sim.fake_os import OS, Path
from tests.sim.faults import FAIL, SimCrash
from tests.sim.fleet import Fleet
from tests.sim.machine import Machine

SPECS = "/sim/specs"
PATIENCE_S = 1.0
"""As `exq run` waits for hosts."""
PASSED: set[str] = set()
"""Spec texts that the schema was satisfied with, kept over all runs for speed."""


@dataclass(slots=True)
class Database:
    """The ledger file of one state folder: what was committed survives everything but being deleted."""

    contents: Contents | None = None
    identity: str = ""
    version: int = 0
    attempts: dict[str, AttemptRecord] = field(default_factory=dict)


class SimWriter(Writer):
    """sqlite on the simulated disk: a commit is whole and durable, or it did not happen."""

    def __init__(self, machine: Machine, database: Database, paths: Any) -> None:
        self._machine = machine
        self._database = database
        self._where = paths
        self._seen: int | None = None

    @property
    def ready(self) -> bool:
        return self._seen is not None and self._database.contents is not None

    def load(self, known: Contents | None = None) -> tuple[Contents, tuple[str, ...]]:
        database = self._database
        notices: tuple[str, ...] = ()
        if database.contents is None:
            made = known or self._rebuilt()
            database.identity = made.identity
            database.contents = Contents({}, {}, frozenset(), frozenset())
            self._apply(Changes.all_of(made))
            notices = ("the ledger was made anew",)
        self._seen = database.version
        found = database.contents
        return Contents(dict(found.jobs), dict(found.runs), found.paused, found.accepted, database.identity), notices

    def _rebuilt(self) -> Contents:
        rebuilt = product.rebuild.rebuild(self._where)
        identity = f"ledger {self._database.version}"
        return Contents(rebuilt.jobs, {}, rebuilt.paused, rebuilt.accepted, identity)

    def write(self, changes: Changes) -> None:
        kind = self._machine.op("loop", "commit")
        if kind == FAIL or self._machine.disk.full:
            raise StoreFull("no room left")
        if self._seen != self._database.version:
            raise Changed
        self._apply(changes)
        self._seen = self._database.version
        self._machine.done(kind, "commit")

    def _apply(self, changes: Changes) -> None:
        database = self._database
        old = database.contents
        assert old is not None
        for record in changes.jobs:
            self._check_absorbing(old.jobs.get(record.key), record)
            old.jobs[record.key] = record
            database.attempts.update((a.path, a) for a in record.attempts)
        old.runs.update((run.project, run) for run in changes.runs)
        paused = old.paused.union(changes.pause).difference(changes.resume)
        database.contents = Contents(old.jobs, old.runs, paused, old.accepted.union(changes.accepted))
        database.version += 1

    def _check_absorbing(self, before: Any, after: Any) -> None:
        if before is not None and before.completed is not None and after.completed is None:
            self._machine.wrong(f"S11: {after.key} is no longer completed")

    def close(self) -> None:
        self._seen = None


class Audit:
    """The audit trail, in memory; it survives crashes."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.lines: list[tuple[str, dict[str, object]]] = []

    def write(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))


class Witness:
    """Stands where the loop calls `plan`, and remembers the last call: what came of which arguments."""

    def __init__(self) -> None:
        self.last: tuple[Any, ...] = ()

    def __call__(self, desired: Any, observed: Any, ledger: Any, now: float) -> Plan:
        made = plan(desired, observed, ledger, now)
        self.last = (made, desired, observed, ledger, now)
        return made

    def saw(self, snapshot: Snapshot) -> bool:
        """The plan was made in this look, of the very objects that the snapshot shows."""
        shown = (snapshot.plan, snapshot.desired, snapshot.observed, snapshot.ledger)
        return bool(self.last) and all(map(is_, shown, self.last)) and self.last[4] == snapshot.now


WITNESS = Witness()
import_module("reconciler.loop.look").make_plan = WITNESS  # type: ignore[attr-defined]


class Daemon:
    """One loop: it dies, it is started again, and all it keeps is its state folder."""

    def __init__(
        self, fleet: Fleet, machine: Machine, state: str, database: Database, number: int, folder: str = SPECS
    ) -> None:
        self.fleet = fleet
        self.machine = machine
        self.state = state
        self.database = database
        self.number = number
        self.specs = folder
        self.world: World | None = None
        self.audit = Audit()
        self.snapshot: Snapshot | None = None
        self.looked = False
        """The last tick came as far as a plan."""
        self.done: tuple[Done, ...] = ()
        self.loaded: set[str] = set()
        """Spec files that loaded at some time."""
        self.next_at = 0.0
        self.last_full_at = float("-inf")
        self.woken: set[str] = set()
        """What had news since the last tick."""
        self.lives = 0
        self.ticks = 0
        self.paths = product.paths.StatePaths(Path(state))

    def open(self, *, writable: bool = True) -> World:
        """A fresh world over the durable state."""
        machine = self.machine
        texts = product.last_good.LastGoodTexts(self.paths, writable=writable)
        store = LedgerStore(self.paths, SimWriter(machine, self.database, self.paths))
        store._take(*store._source.load())
        self.lives += writable
        world = World(
            specs=product.specs.SpecFolder(Path(self.specs), texts, PASSED),
            texts=texts,
            paths=self.paths,
            state=product.state.StateFolder(self.paths),
            ledger=store,
            audit=self.audit if writable else None,  # type: ignore[arg-type]
            agents={LOCAL_HOST: product.SimAgent(self.state)},
            clock=lambda: machine.now,
            monotonic=lambda: machine.uptime,
            daemon=f"{self.number}-{self.lives}",
            connect=lambda host: self.fleet.connect(host, self),
            seen=product.seen.read_seen(self.paths),
        )
        if writable and len(self.fleet.machines) > 1:
            world.patience_s = PATIENCE_S
            world.wake = self.hear
            world.moving = Moving(
                world.agent_for,
                lambda: self.hear(MOVED),
                now=world.clock,
                monotonic=world.monotonic,
                threads=False,
            )
        return world

    def hear(self, news: str) -> None:
        """There is news: it wakes the loop, unless that gets lost."""
        lost = self.fleet.lost_events
        if not lost or self.machine.rng.random() >= lost:
            self.woken.add(news)

    @property
    def due(self) -> float:
        """The true time of its next tick."""
        return self.next_at + self.machine.epoch

    @property
    def where(self) -> str:
        """Its state folder, and on which machine that is."""
        return f"{self.machine.name}:{self.state}" if self.machine.name else self.state

    def tick(self, *, full: bool, woken: frozenset[str] | None = None) -> bool:
        """One tick; False when the loop died in it."""
        self.ticks += 1
        before = self.world.last if self.world is not None else None
        OS.m = self.machine
        self.woken.clear()
        self.last: Snapshot | None = None
        alive = self._try_tick(full, woken)
        # not by `snapshot`: to what a tick returns it may have added, and one that died returned nothing
        self.looked = self.last is not None and self.last is not before
        return alive

    def _try_tick(self, full: bool, woken: frozenset[str] | None) -> bool:
        machine = self.machine
        try:
            if self.world is None:
                machine.loop_dead = False
                self.paths.ensure()
                self.world = self.open()
                full = True
            self.snapshot, self.done = tick(self.world, full=full, woken=None if full else woken)
            self.last = self.world.last
        except (SimCrash, StoreError):
            # `exq run` ends with the message of a StoreError, and systemd starts it again
            if self.world is not None and self.world.last is not None:
                self.snapshot = self.last = self.world.last
            self.world = None
            return False
        return True

    def rest_s(self) -> float:
        """How long the loop sleeps now, as loop/run.py has it."""
        assert self.snapshot is not None
        world = self.world
        move_s = world.moving.wait_s() if world is not None and world.moving is not None else None
        return min(
            _wait_s(self.snapshot, self.done, self.machine.now, stalled=world is not None and world.stalled),
            RESYNC_S if move_s is None else move_s,
            max(0.0, self.last_full_at + RESYNC_S - self.machine.uptime),
        )
