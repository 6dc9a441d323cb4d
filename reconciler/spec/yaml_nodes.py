"""YAML text to a tree of nodes with places, within bounds, every mistake in words.

The parser's events are read one by one, so that neither depth nor aliases can exhaust the stack or the memory.
`${name}` is no valid YAML inside `{...}`, so its braces are masked by private-use characters of the same length
while the text is parsed (places stay right) and restored in every scalar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.spec.nodes import ANY, ListNode, MapNode, Node, ScalarNode
from reconciler.spec.report import short
from reconciler.spec.scalars import core_value, tagged_value
from reconciler.spec.yaml_words import KEY_WITHOUT_BLANK, unprintable, yaml_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.spec.nodes import Place
    from reconciler.spec.report import Report

MAX_BYTES = 16 << 20
MAX_DEPTH = 40
MAX_NODES = 500_000
MAX_ALIAS_NODES = 250_000

_OPEN, _CLOSE = "\uf8d2", "\uf8d3"
# no quotes, commas, brackets or blanks: what ends a YAML value must not be taken for the inside of a reference
_REFERENCE = re.compile(r"\$\{([^{}\[\]'\",\s]*)\}")
_MASKS = re.compile(rf"[{_OPEN}{_CLOSE}]|\\u[fF]8[dD][23]|\\U0000[fF]8[dD][23]")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_COLLECTION_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


class _TooMuch(Exception):
    """A bound is exceeded; it was reported, and reading stops."""


@dataclass(slots=True)
class _Measured:
    """A finished node with its size once aliases are written out."""

    node: Node
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet."""

    event: Any
    is_map: bool
    children: list[_Measured] = field(default_factory=list)


def compose(text: str, report: Report) -> Node | None:
    """The tree of one YAML document. Mistakes go to `report`; None when there is no tree to go on with."""
    text = text.removeprefix("\ufeff")
    if not _fit_to_parse(text, report):
        return None
    from yaml import YAMLError

    builder = _Builder(report)
    try:
        for event in _events(_REFERENCE.sub(rf"${_OPEN}\1{_CLOSE}", text)):
            builder.take(event)
    except _TooMuch:
        return None
    except YAMLError as error:
        place, message = yaml_words(error, text, builder.bracket())
        report.error(place, _unmask(message))
        return None
    if builder.root is None:
        report.error((0, 0), "the file is empty: a spec needs at least `jobs:`, `grid:` or `phases:`")
    return builder.root


def _fit_to_parse(text: str, report: Report) -> bool:
    if len(text) > MAX_BYTES:
        report.error((0, 0), f"the file is larger than {MAX_BYTES >> 20} MiB: use a grid, or split it")
        return False
    masks = _MASKS.search(text)
    if masks:
        place = text.count("\n", 0, masks.start()) + 1, masks.start() - text.rfind("\n", 0, masks.start())
        report.error(place, "the private-use characters U+F8D2 and U+F8D3 may not stand in a spec")
        return False
    bad = unprintable(text)
    if bad:
        report.error(*bad)
    return not bad


def _events(text: str) -> Iterator[Any]:
    import yaml

    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    return yaml.parse(text, Loader=loader)


def _unmask(text: str) -> str:
    return text.replace(_OPEN, "{").replace(_CLOSE, "}")


def _unfit(character: str) -> str:
    if character == "\0":
        return "NUL, which is what `\\0` in double quotes means (write `\\\\0`, or use single quotes)"
    return "half of a character (a lone surrogate)"


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Builder:
    """Puts events together into nodes."""

    def __init__(self, report: Report) -> None:
        self.root: Node | None = None
        self._report = report
        self._open: list[_Open] = []
        self._anchors: dict[str, _Measured | None] = {}
        self._nodes = 0
        self._alias_nodes = 0
        self._documents = 0
        self._handlers = {
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
            "MappingStartEvent": lambda event: self._start(event, is_map=True),
            "SequenceStartEvent": lambda event: self._start(event, is_map=False),
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
            "DocumentStartEvent": self._document,
        }

    def take(self, event: Any) -> None:
        """Take the next event of the parser."""
        handler = self._handlers.get(type(event).__name__)
        if handler:
            handler(event)

    def bracket(self) -> tuple[Place, str] | None:
        """The innermost bracket that is open, with its place."""
        for part in reversed(self._open):
            mark = part.event.end_mark
            # a lone `key: value` in a list begins a mapping without a bracket
            if part.event.flow_style and (mark.line, mark.column) != (
                part.event.start_mark.line,
                part.event.start_mark.column,
            ):
                return (mark.line + 1, mark.column), "{" if part.is_map else "["
        return None

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(_place(event), "a file holds one document: what follows `---` needs a file of its own")

    def _stop(self, place: Place, message: str) -> None:
        self._report.error(place, message)
        raise _TooMuch

    def _scalar(self, event: Any) -> None:
        place = _place(event)
        raw = _unmask(event.value)
        try:
            if event.tag is None:
                value = core_value(raw) if event.implicit[0] else raw
            else:
                value = tagged_value(event.tag, raw)
        except ValueError as error:
            self._report.error(place, str(error))
            value = raw
        unfit = _UNFIT.search(raw)
        if unfit:
            self._report.error(place, f"no program can be given this text: it holds {_unfit(unfit.group())}")
        self._add(_Measured(ScalarNode(raw, value, *place, _lead(event))), event.anchor)

    def _start(self, event: Any, *, is_map: bool) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._stop(_place(event), f"this is nested more than {MAX_DEPTH} levels deep")
        if event.tag not in _COLLECTION_TAGS:
            self._report.error(_place(event), f"the tag `{event.tag}` is not known here: write the value without it")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(event, is_map))

    def _end(self, _event: Any) -> None:
        done = self._open.pop()
        size = 1 + sum(child.size for child in done.children)
        height = 1 + max((child.height for child in done.children), default=0)
        place = _place(done.event)
        node: Node
        if done.is_map:
            node = self._map(done.children, place, bool(done.event.flow_style))
        else:
            node = ListNode(tuple(child.node for child in done.children), *place)
        self._add(_Measured(node, size, height), done.event.anchor)

    def _alias(self, event: Any) -> None:
        place = _place(event)
        if event.anchor not in self._anchors:
            self._report.error(place, f"`*{event.anchor}` has no anchor `&{event.anchor}` before it")
            self._add(_Measured(ScalarNode("", None, *place)), None)
            return
        target = self._anchors[event.anchor]
        if target is None:
            self._stop(place, f"`*{event.anchor}` stands inside its own anchor")
            return
        self._alias_nodes += target.size
        if self._alias_nodes > MAX_ALIAS_NODES:
            self._stop(place, f"the aliases of this file write out to more than {MAX_ALIAS_NODES:,} values: use a grid")
        if len(self._open) + target.height > MAX_DEPTH:
            self._stop(place, f"with its aliases written out this is nested more than {MAX_DEPTH} levels deep")
        self._add(target, None)

    def _add(self, measured: _Measured, anchor: str | None) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(measured.node.place, f"this file holds more than {MAX_NODES:,} values: use a grid, or split it")
        if anchor:
            self._anchors[anchor] = measured
        if self._open:
            self._open[-1].children.append(measured)
        else:
            self.root = measured.node

    def _map(self, children: list[_Measured], place: Place, flow: bool) -> MapNode:
        own: dict[str, tuple[ScalarNode, Node]] = {}
        merge: tuple[ScalarNode, Node] | None = None
        lost: set[str] = set()
        for index in range(0, len(children) - 1, 2):
            key, value = children[index].node, children[index + 1].node
            if not isinstance(key, ScalarNode):
                self._report.error(key.place, "a key must be a single word, not a list or a mapping")
                lost.add(ANY)
                continue
            key, value = self._parted(key, value) if flow and ":" in key.raw else (key, value)
            if key.raw in own or (key.raw == "<<" and merge):
                first = own[key.raw][0] if key.raw in own else key
                where = f": it stands on line {first.line} already" if key.raw in own else ""
                self._report.error(key.place, f"the key `{key.raw}` is written twice{where}")
                lost.add(key.raw if key.raw in own else ANY)
            elif key.raw == "<<":
                merge = key, value
            else:
                own[key.raw] = key, value
        entries = self._merged(own, *merge, lost) if merge else own
        return MapNode(entries, *place, flow, frozenset(lost))

    def _parted(self, key: ScalarNode, value: Node) -> tuple[ScalarNode, Node]:
        """`{lr:3}` is a key `lr:3` without a value to YAML, and never meant so."""
        colon = key.raw.find(":")
        bare = key.lead == 0 and isinstance(value, ScalarNode) and not value.raw
        if not bare or not KEY_WITHOUT_BLANK.match(key.raw):
            return key, value
        name, raw = key.raw[:colon], key.raw[colon + 1 :]
        place = key.place_at(colon)
        self._report.error(place, f"a blank is missing after the colon: write `{name}: {short(raw)}`")
        return ScalarNode(name, name, *key.place, 0), ScalarNode(raw, core_value(raw), *key.place_at(colon + 1), 0)

    def _merged(
        self, own: dict[str, tuple[ScalarNode, Node]], key: ScalarNode, value: Node, lost: set[str]
    ) -> dict[str, tuple[ScalarNode, Node]]:
        """`<<: *base`: the keys of the base come first; a key written here wins, then an earlier base."""
        sources = value.items if isinstance(value, ListNode) else (value,)
        merged: dict[str, tuple[ScalarNode, Node]] = {}
        for source in sources:
            if not isinstance(source, MapNode):
                self._report.error(key.place, "`<<` takes a mapping, such as `*name` of an anchored one")
                lost.add(ANY)
                continue
            lost |= source.lost
            for name, entry in source.entries.items():
                merged.setdefault(name, entry)
        merged.update(own)
        return merged


def _lead(event: Any) -> int | None:
    """Columns before the text of a scalar that the file shows unaltered on one line, else None."""
    start, end = event.start_mark, event.end_mark
    quotes = 1 if event.style in ("'", '"') else 0
    same = start.line == end.line and end.column - start.column == len(event.value) + 2 * quotes
    return quotes if same and event.tag is None else None
