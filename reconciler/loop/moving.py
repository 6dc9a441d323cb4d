"""Brings outputs from host to host beside the loop, which never waits for it."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from reconciler.host.agent import Agent
from reconciler.host.bring import Brought, NotBrought, Progress, bring
from reconciler.host.reply import HostAgent
from reconciler.model.ledger import COLLECTED, Copy
from reconciler.model.plan import Transfer

WORKERS = 4
WORKERS_PER_HOST = 2
FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 300.0
JITTER = 0.25
UNWANTED_S = 60.0
"""A plan that does not ask for a transfer may be followed by one that does."""
SILENT_S = 120.0
HOST_KINDS = frozenset({"unreachable", "lost", "disk_full"})
"""What holds for every transfer of that host."""
_DOUBLINGS_MAX = 16

Key = tuple[str, int, str]
Bring = Callable[[HostAgent, HostAgent, Transfer, Progress], Brought]


@dataclass(frozen=True, slots=True)
class Moved:
    """How a transfer ended: with a copy that is whole, or with `error` (it is tried again while it is wanted)."""

    transfer: Transfer
    copy: Copy | None
    error: str = ""


class _Unwanted(Exception):
    """Nobody wants the transfer any more."""


@dataclass(slots=True)
class _Run:
    """A transfer that a worker is at. Times are of the monotonic clock."""

    transfer: Transfer
    moved_at: float
    unwanted_at: float | None = None


class Delays:
    """When what failed may be tried again: 5 s after the first failure, twice as long after each further one, up to
    5 minutes, each up to a quarter shorter. Not for several threads at once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failed: dict[Hashable, tuple[int, float]] = {}

    def failed(self, what: Hashable) -> None:
        """One more failure. One that comes while the delay of another runs was begun before: it tells nothing new."""
        count, until = self._failed.get(what, (0, 0.0))
        if count and self._monotonic() < until:
            return
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(count, _DOUBLINGS_MAX))
        share = zlib.crc32(repr((what, count)).encode("utf-8", "backslashreplace")) / 2**32
        self._failed[what] = (count + 1, self._monotonic() + delay_s * (1 - JITTER * share))

    def forget(self, what: Hashable) -> None:
        """It worked, or is not wanted any more."""
        self._failed.pop(what, None)

    def wait_s(self, *those: Hashable) -> float:
        """How long until all of them may be tried."""
        until = max((self._failed[what][1] for what in those if what in self._failed), default=0.0)
        return max(0.0, until - self._monotonic())


class FileAgents:
    """The agents that files are moved with: never the ones that the loop asks, which large files would delay."""

    def __init__(self, agent_for: Callable[[str], HostAgent | None]) -> None:
        self._agent_for = agent_for
        self._made: dict[int, tuple[HostAgent, HostAgent]] = {}

    def get(self, host: str) -> HostAgent | None:
        """None for a host that the loop does not reach."""
        first = self._agent_for(host)
        if first is None:
            return None
        if id(first) not in self._made:
            self._made[id(first)] = (first, _further(first))  # `first` is kept, so that its id stays its own
        return self._made[id(first)][1]

    def close(self) -> None:
        """End the further agents."""
        for first, further in self._made.values():
            if further is not first and hasattr(further, "close"):
                further.close()


def _further(first: HostAgent) -> HostAgent:
    if isinstance(first, Agent):
        return Agent(first.state, {})
    open_second = getattr(first, "open_second", None)
    return first if open_second is None else open_second()


class Moving:
    """Transfers that are wanted, under way, and over. All calls return at once; workers are daemon threads.

    `agent_for` is called by `want` only, `wake` by workers when there is something in `finished`. `now` is the epoch.
    Without `threads` the transfers are made one after the other within `want`."""

    def __init__(
        self,
        agent_for: Callable[[str], HostAgent | None],
        wake: Callable[[], None] = lambda: None,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        threads: bool = True,
        bring: Bring = bring,
    ) -> None:
        self._agents = FileAgents(agent_for)
        self._wake = wake
        self._now, self._monotonic = now, monotonic
        self._threads = threads
        self._bring = bring
        self._lock = threading.Lock()
        # everything below is changed by whoever holds `_lock`
        self._wanted: dict[Key, Transfer] = {}
        self._reached: dict[str, HostAgent | None] = {}
        self._running: dict[Key, _Run] = {}
        self._over: dict[Key, Moved] = {}
        self._errors: dict[Key, str] = {}
        self._delays = Delays(monotonic)
        self._workers = 0
        self._closed = False

    def want(self, transfers: Sequence[Transfer]) -> None:
        """What the newest plan asks for, the most urgent first. The rest is forgotten."""
        places = {place for transfer in transfers for place in (transfer.source, transfer.place)}
        reached = {place: self._agents.get(place) for place in sorted(places)}
        with self._lock:
            self._reached = reached
            self._set_wanted({transfer.key: transfer for transfer in transfers})
            new = 0 if self._closed else min(WORKERS - self._workers, self._startable())
            self._workers += new
        for _ in range(new):
            if self._threads:
                threading.Thread(target=self._work, name="exq-move", daemon=True).start()
            else:
                self._work()

    def finished(self) -> list[Moved]:
        """What has ended since the last call."""
        with self._lock:
            over, self._over = list(self._over.values()), {}
        return over

    def problems(self) -> dict[Key, str]:
        """Why wanted transfers are not there yet, where something is wrong."""
        with self._lock:
            found = {key: self._unreached(transfer) for key, transfer in self._wanted.items()}
            found.update((key, text) for key, text in self._errors.items() if key in self._wanted)
            for key, run in self._running.items():
                silent_s = self._monotonic() - run.moved_at
                if silent_s > SILENT_S:
                    found[key] = f"nothing has arrived for {silent_s / 60:.0f} minutes"
        return {key: text for key, text in found.items() if text}

    def wait_s(self) -> float | None:
        """How long until `want` should be called again, whatever happens; None when nothing waits for a time."""
        with self._lock:
            if self._workers < WORKERS and self._next() is not None:
                return 0.0
            waits = [self._wait_s(each) for each in self._wanted.values() if each.key in self._errors]
        return min((wait_s for wait_s in waits if wait_s > 0), default=None)

    def close(self) -> None:
        """Stop. What is under way ends with its next piece, or with the process: nothing waits for it."""
        with self._lock:
            self._closed = True
            self._wanted.clear()
        self._agents.close()

    # --- called with `_lock` held

    def _set_wanted(self, wanted: dict[Key, Transfer]) -> None:
        for key in self._errors.keys() - wanted.keys():
            del self._errors[key]
            self._delays.forget(key)
        self._wanted = wanted
        for key, run in self._running.items():
            if key in wanted:
                run.unwanted_at = None
            elif run.unwanted_at is None:
                run.unwanted_at = self._monotonic()

    def _unreached(self, transfer: Transfer) -> str:
        lost = [p for p in (transfer.source, transfer.place) if self._reached.get(p) is None]
        return f"there is no connection to {lost[0]}" if lost else ""

    def _wait_s(self, transfer: Transfer) -> float:
        return self._delays.wait_s(transfer.key, transfer.source, transfer.place)

    def _next(self) -> Transfer | None:
        """The first that may be started."""
        if self._closed:
            return None
        busy = [place for run in self._running.values() for place in (run.transfer.source, run.transfer.place)]
        full = {place for place in busy if place != COLLECTED and busy.count(place) >= WORKERS_PER_HOST}
        for key, transfer in self._wanted.items():
            if key in self._running or key in self._over or full & {transfer.source, transfer.place}:
                continue
            if not self._unreached(transfer) and self._wait_s(transfer) == 0:
                return transfer
        return None

    def _startable(self) -> int:
        """How many workers there may be something to do for."""
        return 0 if self._next() is None else len(self._wanted)

    # --- the workers

    def _work(self) -> None:
        while True:
            with self._lock:
                transfer = self._next()
                if transfer is None:
                    self._workers -= 1
                    return
                self._running[transfer.key] = _Run(transfer, self._monotonic())
                source, target = self._reached[transfer.source], self._reached[transfer.place]
            assert source is not None and target is not None, "an unreached host is not chosen"
            moved, kind, place = self._move(source, target, transfer)
            with self._lock:
                self._settle(transfer, moved, kind, place)
            self._wake()

    def _move(self, source: HostAgent, target: HostAgent, transfer: Transfer) -> tuple[Moved | None, str, str]:
        """What came of it (None: it is not wanted any more), the kind of the error, and where it was."""
        try:
            brought = self._bring(source, target, transfer, lambda _bytes: self._progress(transfer))
        except NotBrought as error:
            return Moved(transfer, None, str(error)), error.kind, error.place
        except _Unwanted:
            return None, "", ""
        except Exception as error:  # a mistake in here must not end the worker: the others are still to be moved
            return Moved(transfer, None, f"it failed ({type(error).__name__}: {error})"), "failed", ""
        copy = Copy(transfer.place, transfer.attempt, brought.files, brought.bytes, self._now())
        return Moved(transfer, copy), "", ""

    def _progress(self, transfer: Transfer) -> None:
        with self._lock:
            run, at = self._running[transfer.key], self._monotonic()
            run.moved_at = at
            if self._closed or (run.unwanted_at is not None and at - run.unwanted_at > UNWANTED_S):
                raise _Unwanted

    def _settle(self, transfer: Transfer, moved: Moved | None, kind: str, place: str) -> None:
        del self._running[transfer.key]
        self._errors.pop(transfer.key, None)
        if moved is None:
            return
        if moved.copy is not None:
            for what in (transfer.key, transfer.source, transfer.place):
                self._delays.forget(what)
        else:
            self._errors[transfer.key] = moved.error
            self._delays.failed(place if kind in HOST_KINDS else transfer.key)
        # what is asked for now may be something else under the same name
        if self._wanted.get(transfer.key, transfer) == transfer:
            self._over[transfer.key] = moved
