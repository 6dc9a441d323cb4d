"""Which loop works on this state folder, if any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from reconciler.cli.exits import HELD, CliError

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.store.lock import Holder


def running_loop(context: Context) -> dict[str, object] | None:
    """The loop that holds the state folder, if any does: `pid`, `host`, `since` (epoch), `command`, `specs` (its
    folder, or None) and `serves` (whether that is the folder of these specs, as far as known)."""
    from reconciler.store.lock import holder
    from reconciler.store.paths import StatePaths

    found = holder(StatePaths(context.state))
    return None if found is None else {**_facts(found), "serves": _serves(context, found)}


def _facts(holder: Holder) -> dict[str, object]:
    facts = {"pid": holder.pid, "host": holder.host, "since": holder.since, "command": holder.command}
    return {**facts, "specs": holder.specs or None}


def _serves(context: Context, holder: Holder) -> bool:
    return not holder.specs or os.path.realpath(context.specs) == os.path.realpath(holder.specs)


def held_by(context: Context, holder: Holder) -> CliError:
    """Exit 75, and who it is that holds the state folder."""
    from reconciler.view.serving import TO_SERVE_THESE

    words = f"another loop ({words_of(holder)}) holds the state folder {context.state}"
    if not _serves(context, holder):
        return CliError(f"{words}, and serves the specs in {holder.specs}", TO_SERVE_THESE, HELD)
    hint = "exq status shows what it does; it takes up changed specs by itself, so there is no need for a second one"
    return CliError(words, hint, HELD)


def words_of(holder: Holder) -> str:
    """`loop_words` of whoever holds the state folder."""
    return loop_words(_facts(holder))


def loop_words(holder: Mapping[str, object]) -> str:
    """`pid 123 on box, since 2026-04-16 11:36:29`; a holder that is just starting may not have said yet."""
    from reconciler.view.times import stamp

    if holder.get("pid") is None:
        return "it has not said which"
    since = holder.get("since")
    when = f", since {stamp(since)}" if isinstance(since, int | float) else ""
    return f"pid {holder['pid']} on {holder['host']}{when}"
