"""Outputs that have been brought somewhere are put on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.loop.world import World
from reconciler.model.ledger import JobRecord
from reconciler.planner.transitions import mark_copied

if TYPE_CHECKING:
    from reconciler.loop.moving import Moved


def take_moved(world: World) -> None:
    """Commit what has arrived since the last tick; what failed is said, and tried again. Raises StoreError."""
    moved = world.moving.finished() if world.moving is not None else []
    if not moved:
        return
    jobs = world.ledger.ledger().jobs
    changed: dict[str, JobRecord] = {}
    for each in moved:
        job = each.transfer.job
        record = changed.get(job) or jobs.get(job)
        if each.copy is not None and record is not None:
            changed[job] = mark_copied(record, each.copy)
    world.ledger.commit(jobs=changed.values())
    for each in moved:
        _audit(world, each)


def _audit(world: World, moved: Moved) -> None:
    if world.audit is None:
        return
    transfer, copy = moved.transfer, moved.copy
    world.audit.write(
        "transfer",
        job=transfer.job,
        attempt=transfer.attempt,
        source=transfer.source,
        place=transfer.place or "collected",
        ok=copy is not None,
        files=copy.files if copy is not None else 0,
        bytes=copy.bytes if copy is not None else 0,
        message=moved.error,
    )
