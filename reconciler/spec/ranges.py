"""Text in a grid that was meant as many values: `range(5)`, `0..4`, a list in quotes."""

from __future__ import annotations

import re

_MOST = 12
"""A longer list is not written out in a message."""
_CALL = re.compile(r"(?:list\()?range\(([-0-9, ]*)\)\)?")
_CODE = re.compile(r"(?:list\()?(?:np\.|numpy\.)?(?:range|arange|linspace|logspace)\(.*")
_SPAN = re.compile(r"(-?[0-9]{1,15})(?:\.\.\.?|-)([0-9]{1,15})")
_QUOTED = re.compile(r"\[(.*[^\s].*)\]")
_LISTED = re.compile(r"-?[0-9.]+(?:\s*,\s*-?[0-9.]+)+")


def meant_as_many(raw: str, *, in_list: bool) -> str | None:
    """What to write instead, for the end of a sentence, or None for a value that may well be meant as it is.

    `in_list`: it stands in a list of values, where only code is surely not meant."""
    call = _CALL.fullmatch(raw)
    if call:
        return _list_of(_values(call[1]))
    if _CODE.fullmatch(raw):
        return _list_of(None)
    if in_list:
        return None
    quoted = _QUOTED.fullmatch(raw)
    if quoted:
        return f"write a list: [{quoted[1]}] (without quotes)"
    if _LISTED.fullmatch(raw):
        return f"write a list: [{raw}]"
    span = _SPAN.fullmatch(raw)
    if span and int(span[1]) < int(span[2]):
        return _list_of(range(int(span[1]), int(span[2]) + 1))
    return None


def _values(arguments: str) -> range | None:
    try:
        return range(*[int(number) for number in arguments.split(",")])
    except (TypeError, ValueError):
        return None  # no range to Python either


def _list_of(values: range | None) -> str:
    # `len` of a huge range overflows, so it is asked for one value more than is shown
    shown = [] if values is None else list(values[: _MOST + 1])
    if not shown or len(shown) > _MOST:
        return "write a list of values, such as [1, 2, 3]"
    return f"write a list: {shown}"
