"""Which loop works on this state folder, if any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reconciler.cli.exits import HELD, CliError

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.store.lock import Holder


def running_loop(context: Context) -> dict[str, object] | None:
    """`pid`, `host`, `since` (epoch seconds) and `command` of the loop that holds the state folder, if one does."""
    from reconciler.store.lock import holder
    from reconciler.store.paths import StatePaths

    found = holder(StatePaths(context.state))
    return None if found is None else _facts(found)


def _facts(holder: Holder) -> dict[str, object]:
    return {"pid": holder.pid, "host": holder.host, "since": holder.since, "command": holder.command}


def held_by(context: Context, holder: Holder) -> CliError:
    """Exit 75, and who it is that holds the state folder."""
    hint = "exq status shows what it does; it takes up changed specs by itself, so there is no need for a second one"
    words = words_of(holder)
    return CliError(f"another loop ({words}) holds the state folder {context.state}", hint, HELD)


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
