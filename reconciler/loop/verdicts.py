"""Verdicts that the ledger holds and the attempt folders lack: a loop ended in between, or the disk was full."""

from __future__ import annotations

from reconciler.host import enact
from reconciler.loop.world import World


def repeat_verdicts(world: World) -> None:
    """Write them again, which also takes their markers off the spool. Raises StoreError."""
    world.unwritten = False
    left = world.state.markers()
    for record in list(world.ledger.ledger().jobs.values()) if left else ():
        for attempt in record.attempts:
            if attempt.verdict is not None and world.paths.marker(attempt.path).name in left:
                agent = world.agent_for(attempt.host)
                if not enact.repeat_verdict(agent, attempt, world.patience_s).ok:
                    world.unwritten = True
