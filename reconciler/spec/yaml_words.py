"""What the YAML parser objects to, in plain words and with a place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.spec.nodes import Place

KEY_WITHOUT_BLANK = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*:(?!//)[^\s:]")
"""`key:value`, which is a single word to YAML; not a URL."""

_NO_BLANK = "this is not YAML: a blank is missing after the colon"
_BEFORE_KEY = re.compile(r"[ ]*(?:- +)*")
_NOT_PRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_BLANKS = str.maketrans("", "", "\t\n\r")

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
    (r"unknown directive", "a line that begins with `%` is not expected here: quote it"),
    (
        r"could not find expected ':'",
        "a line `key: value` is expected here, and this is none (text that goes on must be indented more than its key)",
    ),
    (r"<document start>", "this does not belong to what stands before it"),
)


def unprintable(text: str) -> tuple[Place, str] | None:
    """The first character that YAML does not allow, with its place, or None."""
    if text.translate(_BLANKS).isprintable():  # as nearly always: that pattern takes long to compile
        return None
    found = re.search(_NOT_PRINTABLE, text)
    if not found:
        return None
    return _place_of(text, found.start()), f"the character U+{ord(found.group()):04X} may not stand in a YAML file"


def yaml_words(error: Any, text: str, bracket: tuple[Place, str] | None = None) -> tuple[Place, str]:
    """A `yaml.YAMLError` as a place and a sentence. `bracket`: the innermost one open there, with its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", None)
        place = _place_of(text, position) if isinstance(position, int) else (0, 0)
        return place, f"this is not YAML: {getattr(error, 'reason', None) or error}"
    problem = getattr(error, "problem", None) or "it cannot be read"
    place = mark.line + 1, mark.column + 1
    if "cannot start any token" in problem:
        return place, f"this is not YAML: {_odd_start(text, place)}"
    if bracket and not text[mark.index :].strip():
        return bracket[0], f"this is not YAML: the `{bracket[1]}` that stands here is never closed"
    colon = _colon_without_blank(error, text, place)
    if colon:
        return colon, _NO_BLANK
    words = next((words for pattern, words in _RULES if re.search(pattern, problem)), problem)
    begun = _opening(error, place)
    if begun and re.search("unexpected end of stream|could not find expected ':'", problem):
        return begun, f"this is not YAML: {words}"
    since = f" (in what begins on line {begun[0]})" if begun and begun[0] != place[0] else ""
    return place, f"this is not YAML: {words}{since}"


def _opening(error: Any, place: Place) -> Place | None:
    mark = getattr(error, "context_mark", None)
    if mark is None or (mark.line + 1, mark.column + 1) == place:
        return None
    return mark.line + 1, mark.column + 1


def _colon_without_blank(error: Any, text: str, place: Place) -> Place | None:
    """The colon of a `key:value` that the parser took for text and stumbled over further down."""
    problem = getattr(error, "problem", None) or ""
    if "could not find expected ':'" in problem and error.context_mark:
        return _colon_on(_lines(text), error.context_mark.line + 1)
    if not re.search("mapping values are not allowed|<document start>", problem):
        return None
    lines = _lines(text)
    indent = _BEFORE_KEY.match(lines[place[0] - 1])
    found = None
    for line in range(place[0] - 1, 0, -1):
        if lines[line - 1].strip() and not lines[line - 1].lstrip().startswith("#"):
            colon = _colon_on(lines, line)
            before = _BEFORE_KEY.match(lines[line - 1])
            if not colon or not indent or not before or before.end() != indent.end():
                break
            found = colon
    return found


def _colon_on(lines: list[str], number: int) -> Place | None:
    """Where the colon without a blank stands on a line that is nothing but `key:value`."""
    line = lines[number - 1].partition(" #")[0]
    before = _BEFORE_KEY.match(line)
    start = before.end() if before else 0
    if not KEY_WITHOUT_BLANK.match(line, start) or re.search(r":(\s|$)", line):
        return None
    return number, line.index(":", start) + 1


def _lines(text: str) -> list[str]:
    return re.split("\r\n|[\n\r\x85\u2028\u2029]", text)


def _odd_start(text: str, place: Place) -> str:
    lines = _lines(text)
    line = lines[place[0] - 1] if place[0] <= len(lines) else ""
    character = line[place[1] - 1 : place[1]]
    if character == "\t":
        return "a tab may not indent: use spaces"
    return f"a value may not begin with `{character}`: quote it"


def _place_of(text: str, index: int) -> Place:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
