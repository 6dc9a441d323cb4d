"""Carrying out one plan that was agreed to beforehand, and no other."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.loop.done import Done
from reconciler.loop.tick import step
from reconciler.loop.world import World
from reconciler.model.snapshot import Snapshot


def apply(world: World, agreed: Callable[[Snapshot], bool], *, by: str, note: str) -> tuple[Snapshot, tuple[Done, ...]]:
    """Look once more, and carry out the plan of that very look if it is `agreed` to; else nothing is done.

    The audit trail has it first, with who asked for it (`by`) and a `note`. Raises StoreError."""

    def is_the_plan(snapshot: Snapshot) -> bool:
        if not agreed(snapshot):
            return False
        if world.audit is not None:
            world.audit.write("apply", plan_id=snapshot.plan.plan_id, by=by, message=note)
        return True

    world.last = None  # so that everything is looked at, as it was when the plan was made
    return step(world, agreed=is_the_plan)
