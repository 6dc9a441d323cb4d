"""The tree of a YAML file: every value with its raw text, its typed value and its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.model.spec import Scalar

ANY = "?"
"""Stands in `MapNode.lost` for keys that nobody can name."""

Place = tuple[int, int]
"""Line and column, counted from 1; (0, 0) is the file as a whole."""


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A single value. `raw` is the text as written (without quotes), `value` its meaning in YAML 1.2 core."""

    raw: str
    value: Scalar
    line: int
    column: int
    lead: int | None = None
    """Columns before the first character of `raw` (1 with quotes); None where `raw` is not what the line shows."""

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.line, self.column

    def place_at(self, index: int) -> Place:
        """Where character `index` of `raw` stands, or the beginning where that cannot be said."""
        return self.place if self.lead is None else (self.line, self.column + self.lead + index)


@dataclass(frozen=True, slots=True)
class ListNode:
    """A sequence."""

    items: tuple[Node, ...]
    line: int
    column: int

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.line, self.column


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping with unique keys, in file order."""

    entries: dict[str, tuple[ScalarNode, Node]]
    line: int
    column: int
    flow: bool = False
    lost: frozenset[str] = frozenset()
    """Keys with something in them that was wrong and was taken out."""

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.line, self.column

    def get(self, key: str) -> Node | None:
        """The value of a key, or None without it."""
        entry = self.entries.get(key)
        return entry[1] if entry else None

    def key_place(self, key: str) -> Place:
        """Where the key stands; the mapping's own place without it."""
        entry = self.entries.get(key)
        return entry[0].place if entry else self.place

    def items(self) -> Iterator[tuple[str, Node]]:
        """Keys with their values."""
        for key, (_, value) in self.entries.items():
            yield key, value


Node = ScalarNode | ListNode | MapNode


def as_items(node: Node | None) -> tuple[Node, ...]:
    """The entries of a list; a single value is a list of one, nothing is an empty list."""
    if node is None:
        return ()
    return node.items if isinstance(node, ListNode) else (node,)


def as_maps(node: Node | None) -> tuple[MapNode, ...]:
    """The mappings of a list (or the one mapping)."""
    return tuple(item for item in as_items(node) if isinstance(item, MapNode))


def as_scalars(node: Node | None) -> tuple[ScalarNode, ...]:
    """The single values of a list (or the one value)."""
    return tuple(item for item in as_items(node) if isinstance(item, ScalarNode))


def text_of(node: Node | None) -> str | None:
    """The text of a value that is not null, else None."""
    return node.raw if isinstance(node, ScalarNode) and node.value is not None else None


def plain(node: Node) -> object:
    """The tree as dicts, lists and typed values, for the JSON Schema."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.items()}
