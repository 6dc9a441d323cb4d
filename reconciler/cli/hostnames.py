"""From what a user types to a host."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from reconciler.cli.exits import CliError
from reconciler.cli.resolve import listed


def resolve_host(word: str, hosts: Sequence[str]) -> str:
    """The host of this name. Raises `CliError` with close names when neither specs nor open attempts name it."""
    if word in hosts:
        return word
    close = difflib.get_close_matches(word, hosts, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {listed(hosts)}"
    raise CliError(f"no spec and no running job names a host {word!r}", hint)
