"""Names of projects, phases and jobs: which are allowed, and how an id is made from parameters."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES = 120

_COMMON = re.compile(r"[A-Za-z0-9_+=-][A-Za-z0-9_.+=@-]{0,119}")
_SAFE = re.compile(r"[A-Za-z0-9_.=+-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=+-]")


def name_problem(name: str) -> str | None:
    """Why a name cannot be used, for the end of a sentence; None when it can."""
    if _COMMON.fullmatch(name):
        return None
    if not name:
        return "is empty"
    if name[0] in ".@":
        return f"may not begin with `{name[0]}`"
    for character in name:
        if character == "/" or character.isspace():
            return f"may not hold {'`/`' if character == '/' else 'blanks'}"
        if not character.isprintable():
            return f"may not hold the character U+{ord(character):04X}"
    size = len(name.encode("utf-8", "replace"))
    return f"is {size} bytes long, and {MAX_BYTES} is the most" if size > MAX_BYTES else None


def safe_value(value: str) -> str:
    """A value as part of an id. One that had to be altered carries a hash, so that ids stay distinct."""
    if _SAFE.fullmatch(value):
        return value
    return f"{_UNSAFE.sub('-', value[:40])}-{_hash(value)}"


def safe_key(key: str) -> str:
    """A parameter's name as part of an id."""
    return _UNSAFE.sub("-", key)


def fitted(made: str) -> str:
    """A made id, cut to length with a hash of the whole where it is too long."""
    if len(made.encode()) <= MAX_BYTES:
        return made
    return f"{made.encode()[: MAX_BYTES - 7].decode(errors='ignore')}-{_hash(made)}"


def made_prefix(phase: str | None, keys: Iterable[str]) -> list[str]:
    """What stands before each value of a made id: the phase with the first name, then `_name`."""
    lead = f"{phase}_" if phase else ""
    return [f"{lead if index == 0 else '_'}{safe_key(key)}" for index, key in enumerate(keys)]


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:6]
