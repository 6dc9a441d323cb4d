"""Verdicts that the ledger holds and the attempt folders lack: a loop ended in between, or the disk was full."""

from __future__ import annotations

from reconciler.host import enact
from reconciler.loop.world import World
from reconciler.model.facts import HostView
from reconciler.model.ledger import AttemptRecord
from reconciler.model.snapshot import Snapshot


def repeat_verdicts(world: World) -> None:
    """Write them again, which also takes their markers off the spool. Raises StoreError."""
    world.unwritten = False
    left = world.state.markers()
    for record in list(world.ledger.ledger().jobs.values()) if left else ():
        for attempt in record.attempts:
            if attempt.verdict is not None and _marker(world, attempt) in left:
                agent = world.agent_for(attempt.host)
                if not enact.repeat_verdict(agent, attempt).outcome(world.patience_s).ok:
                    world.unwritten = True


def repeat_far_verdicts(world: World, snapshot: Snapshot) -> None:
    """The same on other machines, whose spools a full look tells: the answer to a verdict was lost, or nobody could
    write it when the host was given up. Whether it helped, the next full look tells."""
    for host, view in snapshot.observed.hosts.items():
        left = frozenset(view.markers) if isinstance(view, HostView) and not world.is_local(host) else frozenset()
        for record in list(world.ledger.ledger().jobs.values()) if left else ():
            for attempt in record.attempts:
                if attempt.host == host and attempt.verdict is not None and _marker(world, attempt) in left:
                    enact.repeat_verdict(world.agent_for(host), attempt)


def _marker(world: World, attempt: AttemptRecord) -> str:
    return world.paths.marker(attempt.path).name
