"""What the YAML parser objects to, in plain words and with a place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.spec.nodes import Place

_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_RULES: tuple[tuple[str, str], ...] = (
    (
        r"mapping values are not allowed",
        "a `:` is not expected here: quote text that holds `: `, and indent keys of one level alike",
    ),
    (
        r"did not find expected key|expected <block end>",
        "this does not fit what stands before it: keys of one level must be indented alike, and nothing may follow a "
        "closing quote or bracket (quote the whole value)",
    ),
    (
        r"did not find expected '-' indicator",
        "this does not fit the list before it: every entry begins with `- ` in the same column",
    ),
    (r"expected ',' or '[\]}]'", "a `,` or the closing bracket is missing here (text that holds `{` must be quoted)"),
    (r"expected (the )?node content", "a value is missing here"),
    (r"unknown escape character", r"this backslash escape is not known: write `\\`, or use single quotes"),
    (r"invalid Unicode character escape", "this escape is no character"),
    (r"unexpected end of stream", "the quote that begins here is never closed"),
    (r"unknown directive|<document start>", "a line that begins with `%` is not expected here: quote it"),
)


def unprintable(text: str) -> tuple[Place, str] | None:
    """The first character that YAML does not allow, with its place, or None."""
    found = _NOT_PRINTABLE.search(text)
    if not found:
        return None
    return _place_of(text, found.start()), f"the character U+{ord(found.group()):04X} may not stand in a YAML file"


def yaml_words(error: Any, text: str) -> tuple[Place, str]:
    """A `yaml.YAMLError` as a place and a sentence."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", None)
        place = _place_of(text, position) if isinstance(position, int) else (0, 0)
        return place, f"this is not YAML: {getattr(error, 'reason', None) or error}"
    problem = getattr(error, "problem", None) or "it cannot be read"
    place = mark.line + 1, mark.column + 1
    if "cannot start any token" in problem:
        return place, f"this is not YAML: {_odd_start(text, place)}"
    words = next((words for pattern, words in _RULES if re.search(pattern, problem)), problem)
    begun = _opening(error, place)
    if "unexpected end of stream" in problem and begun:
        return begun, f"this is not YAML: {words}"
    since = f" (in what begins on line {begun[0]})" if begun and begun[0] != place[0] else ""
    return place, f"this is not YAML: {words}{since}"


def _opening(error: Any, place: Place) -> Place | None:
    mark = getattr(error, "context_mark", None)
    if mark is None or (mark.line + 1, mark.column + 1) == place:
        return None
    return mark.line + 1, mark.column + 1


def _odd_start(text: str, place: Place) -> str:
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    line = lines[place[0] - 1] if place[0] <= len(lines) else ""
    character = line[place[1] - 1 : place[1]]
    if character == "\t":
        return "a tab may not indent: use spaces"
    return f"a value may not begin with `{character}`: quote it"


def _place_of(text: str, index: int) -> Place:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
