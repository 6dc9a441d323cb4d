"""A snapshot for the verbs that only look: the loop's own eyes, without its hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.context import say

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.paths import StatePaths


def look_now(context: Context, *, results: bool = False) -> Snapshot:
    """Load the specs, observe the hosts and plan, writing nothing. Raises `CliError` without a specs folder.

    `results`: find the output files of completed jobs too."""
    from reconciler import loop

    context.require_specs()
    with loop.open_world(context.specs, context.state, writable=False, env=context.env) as world:
        return loop.look(world, results=results)


def say_if_shared(paths: StatePaths) -> None:
    """Warn on stderr that others could have written what is about to be read; for verbs that run nothing of it."""
    from reconciler.store.errors import StoreError

    try:
        paths.check()
    except StoreError as shared:
        say(f"warning: others could have changed what follows: {shared}")


def has_errors(snapshot: Snapshot) -> bool:
    """Some spec file has more than warnings."""
    return any(not error.warning for error in snapshot.desired.errors)


def say_spec_errors(snapshot: Snapshot) -> None:
    """Print the mistakes in the specs on stderr."""
    for error in snapshot.desired.errors:
        say(str(error))
