"""Templates cut into pieces: literal text, `${names}` and what is left to the shell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from reconciler.spec.shell_text import ShellScanner, Spot

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RUNTIME = re.compile(r"GPU|EXQ_[A-Za-z0-9_]*")
_PIECES = re.compile(r"(?P<dollar>\$\$)|\$\{(?P<name>[^{}\n]*)\}|(?P<open>\$\{)|(?P<shell>\$[A-Za-z_][A-Za-z0-9_]*)")
_PIECES_AND_BRACES = re.compile(_PIECES.pattern + r"|\{(?P<brace>[A-Za-z_][A-Za-z0-9_.-]*)\}")


class Kind(Enum):
    """How the text of a template is used."""

    COMMAND = "command"
    """Shell text: values are quoted as the place they stand in asks for."""
    WORD = "word"
    """One argument of a command: the whole is quoted, but for `$HOME` and the like."""
    TEXT = "text"
    """Not for a shell: an id, a name."""
    ENV = "env"
    """As TEXT: the value of a variable."""
    PATH = "path"
    """As TEXT, and `~` at its beginning is the home folder."""
    BRACED_PATH = "braced path"
    """As PATH, and `{name}` is a name too."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stays as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Reference:
    """`${name}` at character `index` of the template."""

    name: str
    written: str
    index: int
    spot: Spot = field(default_factory=Spot)


@dataclass(frozen=True, slots=True)
class Variable:
    """`$HOME` or `${GPU}`: the shell's, when the job runs. `runtime`: one that only exists then.

    `expands`: the shell would put its value in here, as it does not inside single quotes."""

    written: str
    index: int
    runtime: bool
    expands: bool = True

    @property
    def name(self) -> str:
        """Without the `$` and the braces."""
        return self.written.strip("${}")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that cannot be meant, in words."""

    message: str
    index: int


Token = Literal | Reference | Variable | Mistake


@lru_cache(maxsize=8192)
def tokens_of(text: str, kind: Kind) -> tuple[Token, ...]:
    """Cut a template. What the names in it stand for is not looked at here."""
    if "$" not in text and (kind is not Kind.BRACED_PATH or "{" not in text):
        return (Literal(text),) if text else ()
    found = _cut(text, kind)
    return tuple(_spotted(found)) if kind is Kind.COMMAND else tuple(found)


def _cut(text: str, kind: Kind) -> list[Token]:
    tokens: list[Token] = []
    literal: list[str] = []
    position = 0
    pattern = _PIECES_AND_BRACES if kind is Kind.BRACED_PATH else _PIECES
    for match in pattern.finditer(text):
        literal.append(text[position : match.start()])
        position = match.end()
        token = _token(match)
        if isinstance(token, str):
            literal.append(token)
            continue
        _flush(literal, tokens)
        tokens.append(token)
    literal.append(text[position:])
    _flush(literal, tokens)
    return tokens


def _flush(literal: list[str], tokens: list[Token]) -> None:
    text = "".join(literal)
    literal.clear()
    if text:
        tokens.append(Literal(text))


def _token(match: re.Match[str]) -> Token | str:
    """What one match is; a plain string joins the literal text around it."""
    written, index = match.group(), match.start()
    if match.lastgroup == "dollar":
        return "$"
    if match.lastgroup == "open":
        return Mistake("`${` has no `}` of its own; for the shell's `${...}` write `$${...}`", index)
    if match.lastgroup == "shell":
        return Variable(written, index, runtime=False)
    name = match[match.lastgroup or 0]
    if match.lastgroup == "name" and _RUNTIME.fullmatch(name):
        return Variable(written, index, runtime=True)
    return Reference(name, written, index)


def _spotted(tokens: list[Token]) -> list[Token]:
    """The tokens of a command, each name with what surrounds it."""
    scanner = _scanner(tokens)
    spotted: list[Token] = []
    for token in tokens:
        if isinstance(token, Reference):
            last = spotted[-1] if spotted else None
            if isinstance(last, Variable) and last.expands and not last.runtime:
                # `$HOME${x}` would name another variable once a value follows: `${HOME}` does not
                spotted[-1] = replace(last, written=f"${{{last.name}}}")
            spotted.append(replace(token, spot=scanner.spot()))
        elif isinstance(token, Variable):
            spotted.append(replace(token, expands=scanner.expands))
        else:
            spotted.append(token)
        _read_on(scanner, token)
    return spotted


def _scanner(tokens: list[Token]) -> ShellScanner:
    return ShellScanner("".join(token.text if isinstance(token, Literal) else " " for token in tokens))


def _read_on(scanner: ShellScanner, token: Token) -> None:
    if isinstance(token, Literal):
        scanner.feed(token.text)
    else:
        scanner.value()


@lru_cache(maxsize=8192)
def command_end(text: str) -> tuple[str, bool]:
    """What a command leaves open at its end (in words, empty when nothing), and whether it ends in a comment."""
    if not any(mark in text for mark in "'\"`#"):
        return "", False
    cut = _cut(text, Kind.COMMAND)
    scanner = _scanner(cut)
    for token in cut:
        _read_on(scanner, token)
    return scanner.unfinished(), scanner.in_comment
