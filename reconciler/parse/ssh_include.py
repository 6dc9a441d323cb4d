"""`Include` in ssh_config files, worked out for one host; pure: what reads files and judges blocks is passed in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable

from reconciler.parse.ssh_config import BadConfig

DEPTH_MAX = 16
"""As OpenSSH has it."""

_LINE = re.compile(r"\s*(?P<key>\w+)(?:\s*=\s*|\s+)(?P<value>.+)")
_EVERYWHERE = "Host *"

Read = Callable[[str], Iterable[str]]
"""The texts of the files that a pattern matches."""
Applies = Callable[[str, str], bool]
"""Whether a `Host` or `Match` line holds for the host, after the text before it."""


def without_includes(text: str, read: Read, applies: Applies) -> str:
    """The text as if all that holds for the host stood in one file. Raises BadConfig."""
    lines: list[str] = []
    _add(lines, _EVERYWHERE, text, read, applies, 0)
    return "\n".join(lines) + "\n"


def _add(lines: list[str], block: str, text: str, read: Read, applies: Applies, depth: int) -> None:
    """`block`: the line that begins what the text stands in."""
    if depth > DEPTH_MAX:
        raise BadConfig(f"its files include one another, more than {DEPTH_MAX} deep")
    for line in text.splitlines():
        match = _LINE.match(line)
        key = match["key"].lower() if match is not None else ""
        if match is None or key != "include":
            block = line if key in ("host", "match") else block
            lines.append(line)
        elif applies("\n".join(lines), block):
            for pattern in _words(match["value"]):
                for included in read(pattern):
                    _add(lines, block, included, read, applies, depth + 1)
                    lines.append(block)  # what an included file begins ends with it


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError as error:
        raise BadConfig(f"`Include {value}` cannot be read: {error}") from None
