"""Typed reads from an agent's answer. The wrong shape is `Malformed`; parsers make Unknown of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from reconciler.model.facts import Unknown

Raw = Mapping[str, Any]
_ONLY_TEXT = frozenset({str})
_ONLY_FLAG = frozenset({bool})
_LISTS = (list, tuple)


class Malformed(Exception):
    """The answer does not have the agreed shape; the text says which part."""


def told_unknown(raw: Raw) -> Unknown | None:
    """The agent's own "I could not find out", as `{"unknown": "why"}`."""
    if "unknown" not in raw:
        return None
    why = raw["unknown"]
    return Unknown(one_line(why) if isinstance(why, str) and why.strip() else "the host could not say why")


def mapping(value: Any, what: str) -> Raw:
    """`value` as an object. Raises Malformed."""
    if type(value) is not dict and not isinstance(value, Mapping):  # the first is much quicker
        raise Malformed(f"{what} should be an object, not {kind(value)}")
    return value


def text(raw: Raw, key: str) -> str:
    """A string. Raises Malformed."""
    value = raw.get(key)
    if not isinstance(value, str):
        raise Malformed(f"`{key}` should be a text, not {kind(value)}")
    return value


def optional_text(raw: Raw, key: str) -> str | None:
    """A string, or None where it is missing or null. Raises Malformed."""
    return None if raw.get(key) is None else text(raw, key)


def texts(raw: Raw, key: str) -> tuple[str, ...]:
    """A list of strings. Raises Malformed."""
    value = raw.get(key)
    if not isinstance(value, _LISTS) or not _ONLY_TEXT.issuperset(map(type, value)):
        raise Malformed(f"`{key}` should be a list of texts")
    return tuple(value)


def flag(raw: Raw, key: str) -> bool:
    """A boolean; missing counts as false. Raises Malformed."""
    value = raw.get(key, False)
    if value is not True and value is not False:
        raise Malformed(f"`{key}` should be true or false, not {kind(value)}")
    return value


def flags(raw: Raw, keys: tuple[str, ...]) -> list[bool]:
    """Several booleans; missing ones count as false. Raises Malformed."""
    values = [raw.get(key, False) for key in keys]
    return values if _ONLY_FLAG.issuperset(map(type, values)) else [flag(raw, key) for key in keys]


def integer(raw: Raw, key: str) -> int:
    """A whole number (a boolean is none). Raises Malformed."""
    value = raw.get(key)
    if type(value) is not int:
        raise Malformed(f"`{key}` should be a whole number, not {kind(value)}")
    return value


def integers(raw: Raw, key: str) -> tuple[int, ...]:
    """A list of whole numbers; missing or null counts as empty. Raises Malformed."""
    value = raw.get(key)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(type(item) is int for item in value):
        raise Malformed(f"`{key}` should be a list of whole numbers")
    return tuple(value)


def number(raw: Raw, key: str) -> float:
    """A finite number. Raises Malformed."""
    value = raw.get(key)
    if type(value) is float and isfinite(value):
        return value
    if type(value) is not int or abs(value) > 1 << 62:
        raise Malformed(f"`{key}` should be a number, not {kind(value)}")
    return float(value)


def optional_number(raw: Raw, key: str) -> float | None:
    """A finite number, or None where it is missing or null. Raises Malformed."""
    return None if raw.get(key) is None else number(raw, key)


def kind(value: Any) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "nothing"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")


def one_line(words: str, limit: int = 200) -> str:
    """`words` on one line, without control characters, cut to `limit` characters."""
    start = words[: limit * 4]
    if not start.isprintable():
        start = "".join(char if char.isprintable() else " " for char in start)
    clean = " ".join(start.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
