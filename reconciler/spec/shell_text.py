"""Where in a shell command a value would stand: bare, or inside quotes that the author wrote.

This follows the quoting of POSIX sh and bash closely enough to say where quoting a value is safe. Where it is not
sure (here-documents, `case` inside `$(...)`), it says so, and only values that need no quoting are let in.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

_UNSAFE = re.compile(r"[^A-Za-z0-9_@%+=:,./-]")
_CASE = re.compile(r"\bcase\b.+?\bin\b", re.DOTALL)
_CALM = re.compile(r"[A-Za-z0-9_@%+=:,./ *?-]*")
_WORD_STARTS = frozenset("\n\t ;&|(")

_BARE, _SUBSHELL, _SINGLE, _ANSI, _DOUBLE, _BACKTICK, _ARITHMETIC, _COMMENT = "", "(", "'", "$'", '"', "`", "((", "#"
_NAMES = {
    _SINGLE: "single quotes",
    _ANSI: "$'...' quotes",
    _DOUBLE: "double quotes",
    _BACKTICK: "backticks",
    _ARITHMETIC: "$((...))",
    _COMMENT: "a comment",
}


def needs_quotes(value: str) -> bool:
    """A shell would not take the value as it is."""
    return not value or _UNSAFE.search(value) is not None


def quoted(value: str) -> str:
    """The value as one shell word, in quotes only where it needs them."""
    return shlex.quote(value) if needs_quotes(value) else value


def force_quoted(value: str) -> str:
    """The value as one shell word, always in quotes (inside `{a,b}` a bare comma would split it)."""
    return shlex.quote(value) if needs_quotes(value) else f"'{value}'"


@dataclass(frozen=True, slots=True)
class Spot:
    """What surrounds a value. `inside` names the author's quotes, `mistake` says why no value can stand here."""

    inside: str = ""
    force: bool = False
    mistake: str = ""


@dataclass(slots=True)
class ShellScanner:
    """Reads a command from left to right; `spot()` tells what surrounds the place reached."""

    text: str
    """The whole command: some of it can only be judged at once."""
    stack: list[str] = field(default_factory=lambda: [_BARE])
    escaped: bool = False
    previous: str = "\n"
    before: str = ""
    braces: int = 0
    unsure: str = ""
    unsure_before: str = ""

    def __post_init__(self) -> None:
        if _CASE.search(self.text):
            self.unsure = "a `case`"

    def feed(self, text: str) -> None:
        """Read on."""
        if text and _CALM.fullmatch(text) and self.stack[-1] != _COMMENT and not self.escaped:
            if " " in text and self.stack[-1] in (_BARE, _SUBSHELL):
                self.braces = 0
            self.before, self.previous = "", text[-1]
            return
        for character in text:
            self._step(character)

    def value(self) -> None:
        """A value stands here; go on behind it."""
        self.escaped, self.before, self.previous = False, "", "x"

    def spot(self) -> Spot:
        """What surrounds a value that would stand here."""
        top = self.stack[-1]
        if self.escaped:
            return Spot(mistake="stands right after a backslash")
        if self.previous == "$" and top not in (_SINGLE, _COMMENT):
            return Spot(mistake="stands right after a `$`")
        if self.unsure:
            return Spot(inside=self.unsure)
        return Spot(inside=_NAMES.get(top, ""), force=self.braces > 0)

    def unfinished(self) -> str:
        """What the end of the command leaves open, in words; empty when nothing."""
        if self.unsure:
            return ""
        opened = next((kind for kind in self.stack if kind in (_SINGLE, _ANSI, _DOUBLE, _BACKTICK)), None)
        return f"the command opens {_NAMES[opened]} that are never closed" if opened else ""

    @property
    def expands(self) -> bool:
        """The shell expands a `$NAME` that stands at the place reached."""
        free = not self.escaped and self.previous != "$"
        return free and self.stack[-1] not in (_SINGLE, _ANSI, _COMMENT)

    @property
    def in_comment(self) -> bool:
        """The end of the command stands in a comment."""
        return self.stack[-1] == _COMMENT

    def _step(self, character: str) -> None:
        top = self.stack[-1]
        if self.escaped:
            self.escaped = False
            self.before, self.previous = "", "x"
            return
        if character == "\\" and top not in (_SINGLE, _COMMENT):
            self.escaped = True
        elif top in (_BARE, _SUBSHELL):
            self._bare(character)
        elif top == _ARITHMETIC:
            self._arithmetic(character)
        elif top == _DOUBLE:
            self._double(character)
        else:
            self._quoted(character, top)
        self.before, self.previous = self.previous, character

    def _quoted(self, character: str, top: str) -> None:
        end = {_SINGLE: "'", _ANSI: "'", _BACKTICK: "`", _COMMENT: "\n"}[top]
        if character == end:
            self.stack.pop()

    def _double(self, character: str) -> None:
        if character == '"':
            self.stack.pop()
        elif character == "`":
            self.stack.append(_BACKTICK)
        elif character == "(" and self.previous == "$":
            self.stack.append(_SUBSHELL)

    def _arithmetic(self, character: str) -> None:
        if character == "(":
            self.stack.append(_ARITHMETIC)
        elif character == ")":
            self.stack.pop()

    def _bare(self, character: str) -> None:
        if character == "'":
            self.stack.append(_ANSI if self.previous == "$" else _SINGLE)
        elif character in '"`':
            self.stack.append(character)
        elif character in "()":
            self._parenthesis(character)
        elif character == "#" and self.previous in _WORD_STARTS:
            self.stack.append(_COMMENT)
        elif character == "<" and self.previous == "<":
            self._here()
        else:
            self._word(character)

    def _parenthesis(self, character: str) -> None:
        if character == ")":
            if self.stack[-1] == _SUBSHELL:
                self.stack.pop()
        elif self.previous == "(" and self.before == "$":
            self.stack[-1] = _ARITHMETIC
            self.stack.append(_ARITHMETIC)
        else:
            self.stack.append(_SUBSHELL)

    def _here(self) -> None:
        """`<<` begins a here-document, in which quotes are text; `<<<` takes an ordinary word."""
        if self.before == "<":
            self.unsure = self.unsure_before
        else:
            self.unsure_before, self.unsure = self.unsure, self.unsure or "a here-document"

    def _word(self, character: str) -> None:
        if character.isspace():
            self.braces = 0
        elif character == "{":
            self.braces += 1
        elif character == "}":
            self.braces = max(0, self.braces - 1)
