"""The loop itself: tick, then sleep until something happens or a deadline of the plan comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.host.landing.names import LAST
from reconciler.loop.done import Done
from reconciler.loop.tick import tick
from reconciler.loop.world import World
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST

if TYPE_CHECKING:
    from reconciler.host.watch import Waker

RESYNC_S = 15.0
"""The safety net: a full look at the latest this long after the last one, events or not."""

RELEASE_EVERY_S = 1.0
"""The same while ended attempts wait to be let go of."""

FAILED_RETRY_S = 1.0
"""How soon to try a plan again of which nothing could be done (a full disk), however overdue it is."""

UNSETTLED_SPEC_S = 0.3
"""How soon to look again at a spec that is being written."""

SPOOL = "spool"

Report = Callable[[Snapshot, Sequence[Done]], None]


def run(
    world: World,
    *,
    once: bool = False,
    until_settled: bool = False,
    report: Report | None = None,
    stop: Callable[[], bool] = lambda: False,
    waker: Waker | None = None,
) -> Snapshot:
    """Tick until told to stop. The world is opened writable: nobody else works on its state."""
    _audit_start(world)
    if once:
        snapshot, done = tick(world)
        _report(report, snapshot, done)
        return snapshot
    if world.sources is not None:
        world.sources.start()
    from reconciler.host.watch import Waker  # those who only look do without it

    with waker or Waker(watched_folders(world)) as alarm:
        return _ticks(world, alarm, until_settled=until_settled, report=report, stop=stop)


def _ticks(
    world: World, alarm: Waker, *, until_settled: bool, report: Report | None, stop: Callable[[], bool]
) -> Snapshot:
    full, last_full_at = True, float("-inf")
    woken_hosts: frozenset[str] | None = None
    while True:
        started_at = alarm.monotonic()
        snapshot, done = tick(world, full=full, woken=woken_hosts)
        if full:
            last_full_at = started_at
        _report(report, snapshot, done)
        if stop() or (until_settled and not done and finished(snapshot)):
            return snapshot
        wait_s = _wait_s(snapshot, done, world.clock(), stalled=world.stalled)
        move_s = world.moving.wait_s() if world.moving is not None else None
        woken = alarm.wait(
            min(wait_s, RESYNC_S if move_s is None else move_s, max(0.0, last_full_at + RESYNC_S - alarm.monotonic()))
        )
        if stop():
            return snapshot
        # Time that has come, an edit or a request: look at everything. An ended attempt: only at what it changes.
        woken_hosts = _hosts_of(woken) if wait_s > 0.0 else None
        again = any(item.again for item in done)
        full = (
            again or not (wait_s <= 0.0 or woken_hosts) or alarm.monotonic() - last_full_at >= _full_every_s(snapshot)
        )


def _hosts_of(woken: Collection[str]) -> frozenset[str]:
    """The hosts to look at, when nothing but hosts has news."""
    hosts = {LOCAL_HOST if name == SPOOL else name.removeprefix("host:") for name in woken}
    return frozenset(hosts) if all(name == SPOOL or name.startswith("host:") for name in woken) else frozenset()


def watched_folders(world: World) -> dict[str, Path]:
    """The folders whose changes wake the loop, by name."""
    folders = {"specs": world.specs.folder, SPOOL: world.paths.spool, "requests": world.paths.requests}
    # a push puts another folder behind the link, and then notes that beside it
    pushed = Path(os.path.realpath(world.specs.folder)).parent
    return folders | {"pushes": pushed} if (pushed / LAST).exists() else folders


def _report(report: Report | None, snapshot: Snapshot, done: Sequence[Done]) -> None:
    if report is not None:
        report(snapshot, done)


def _wait_s(snapshot: Snapshot, done: Sequence[Done], now: float, *, stalled: bool = False) -> float:
    if any(file.unsettled for file in snapshot.desired.files):
        return UNSETTLED_SPEC_S
    if any(item.again for item in done):
        return 0.0
    wake_at = snapshot.plan.wake_at
    if wake_at is None:
        return RESYNC_S
    in_vain = stalled or (bool(snapshot.plan.actions) and not any(item.ok for item in done))
    return max(FAILED_RETRY_S if in_vain else 0.0, wake_at - now)


def _full_every_s(snapshot: Snapshot) -> float:
    """Only a full look lets go of ended attempts: many events in a row must not put it off for long."""
    ended = any(attempt.verdict is not None for attempt in snapshot.ledger.open_attempts.values())
    return RELEASE_EVERY_S if ended else RESYNC_S


def finished(snapshot: Snapshot) -> bool:
    """Nothing is left to do, to wait for, or to ask."""
    unsettled = any(file.unsettled for file in snapshot.desired.files)
    return snapshot.plan.settled and not snapshot.requests and not unsettled


def _audit_start(world: World) -> None:
    if world.audit is not None:
        notices = [*world.ledger.notices, *world.state.set_aside_damaged()]
        world.audit.write("start", daemon=world.daemon, notices=notices)
