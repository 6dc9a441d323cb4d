"""How text is laid out: colours, aligned columns, wrapped sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDEST = 110
NARROWEST = 60
ROOM_FOR_WORDS = 30
"""A last column narrower than this moves to lines of its own."""

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}

MARK_COLOURS = {"+": "green", "-": "red", "~": "yellow", "!": "red", ".": "dim", "?": "cyan", "=": "green", ">": "cyan"}


@dataclass(frozen=True, slots=True)
class Style:
    """`width` is that of the terminal, in columns."""

    color: bool = False
    width: int = 100

    @property
    def text_width(self) -> int:
        """The columns that are used: long lines are hard to read, however wide the terminal."""
        return max(NARROWEST, min(self.width, WIDEST))

    def paint(self, text: str, colour: str) -> str:
        """Colour text where colours are wanted; an unknown colour leaves it plain."""
        code = _CODES.get(colour)
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code and text else text

    def bold(self, text: str) -> str:
        return self.paint(text, "bold")

    def dim(self, text: str) -> str:
        return self.paint(text, "dim")


@dataclass(frozen=True, slots=True)
class Row:
    """A marked line of a table. The last cell is a sentence and wraps; `colour` overrides the mark's own."""

    mark: str
    cells: tuple[str, ...]
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A line that starts a group; its note stands above the last column."""

    text: str
    note: str = ""


Line = Row | Heading | str


def table(lines: Sequence[Line], style: Style, narrowest: tuple[int, ...] = ()) -> list[str]:
    """Lay rows out in common columns. A plain string is passed through as it is."""
    widths = _widths([line for line in lines if isinstance(line, Row)], narrowest)
    last_at = 4 + sum(width + 2 for width in widths)
    out: list[str] = []
    for line in lines:
        if isinstance(line, Row):
            out += _row(line, widths, last_at, style)
        elif isinstance(line, Heading):
            note = " " * max(2, last_at - len(line.text)) + line.note if line.note else ""
            out.append(style.bold(line.text) + style.dim(note))
        else:
            out.append(line)
    return out


def _widths(rows: Sequence[Row], narrowest: tuple[int, ...]) -> list[int]:
    """The width of every column but the last. One very long name does not push all sentences away."""
    columns = max((len(row.cells) for row in rows), default=1) - 1
    widths = []
    for i in range(columns):
        longest = max((len(row.cells[i]) for row in rows if len(row.cells) - 1 > i), default=0)
        floor = narrowest[i] if i < len(narrowest) else 0
        widths.append(max(floor, min(longest, 44)))
    return widths


def _row(row: Row, widths: Sequence[int], last_at: int, style: Style) -> list[str]:
    head = "  ".join(cell.ljust(width) for cell, width in zip(row.cells, widths, strict=False))
    lead = f"  {row.mark} {head}  " if head else f"  {row.mark} "
    sentence = row.cells[-1] if len(row.cells) > len(widths) else ""
    return beside(lead, last_at, sentence, style, row.colour or MARK_COLOURS.get(row.mark, ""))


def beside(lead: str, width: int, sentence: str, style: Style, colour: str = "") -> list[str]:
    """A sentence that wraps beside `lead`, from column `width` on; with too little room there, on lines of its own."""
    room = style.text_width - width
    if not sentence or room < ROOM_FOR_WORDS:
        below = wrap(sentence, style.text_width - 6) if sentence else []
        return [style.paint(lead.rstrip(), colour), *(" " * 6 + line for line in below)]
    first, *rest = wrap(sentence, room)
    return [style.paint(lead, colour) + first, *(" " * width + line for line in rest)]


def command(text: str) -> str:
    """A command to type, inside a sentence: it is not broken across lines."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def wrap(text: str, width: int) -> list[str]:
    """Break a sentence at blanks; a word longer than the line (a path, a command) stays whole."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in (*lines, current)]


def hang(lead: str, text: str, style: Style) -> list[str]:
    """A sentence behind `lead`, its further lines two columns deeper than the lead."""
    first, *rest = wrap(f"{lead.strip()} {text}".strip(), style.text_width - 4)
    indent = len(lead) - len(lead.lstrip())
    return [" " * indent + first, *(" " * (indent + 2) + line for line in rest)]


def bar(done: int, total: int, style: Style, width: int = 20) -> str:
    """A progress bar in plain characters; it is only full when everything is done."""
    filled = width * done // total if total else 0
    return "[" + style.paint("#" * filled, "green") + style.dim("." * (width - filled)) + "]"
