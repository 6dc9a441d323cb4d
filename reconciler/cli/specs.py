"""Specs as the files have them now, for the verbs that need no host and no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.model.spec import Desired


class _NothingKept:
    """Remembers no earlier version: a broken file is broken, whatever it once said."""

    def get(self, path: str) -> str | None:
        return None

    def put(self, path: str, text: str) -> None:
        return None


def load_fresh(context: Context) -> Desired:
    """The whole specs folder, without the last good versions. Raises `CliError` when there is no folder."""
    from reconciler.spec.files import load_specs

    context.require_specs()
    return load_specs(context.specs, _NothingKept(), settle=False)


def plural(count: int, word: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
