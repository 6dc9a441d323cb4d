"""Which value of a key holds for a job: its own, else its phase's, else the project's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.spec.nodes import ANY, MapNode, Node, as_maps

if TYPE_CHECKING:
    from reconciler.spec.report import Report


_HOLD_NAMES = ("args", "params", "grid")


@dataclass(frozen=True, slots=True)
class Scope:
    """The mappings a job is described by, the outermost first."""

    layers: tuple[MapNode, ...]

    def inner(self, layer: MapNode) -> Scope:
        """With one more mapping inside."""
        return Scope((*self.layers, layer))

    def nearest(self, *keys: str) -> Node | None:
        """The value of the innermost mapping that has one of the keys."""
        for layer in reversed(self.layers):
            for key in keys:
                value = layer.get(key)
                if value is not None:
                    return value
        return None

    def merged(self, key: str) -> dict[str, Node]:
        """A mapping put together from all layers: an inner entry replaces an outer one of the same name."""
        entries: dict[str, Node] = {}
        for layer in self.layers:
            value = layer.get(key)
            if isinstance(value, MapNode):
                entries.update(value.items())
        return entries

    def lacks(self, *keys: str) -> bool:
        """A mistake took something away under one of these keys, or under a key that nobody can name."""
        return any(not layer.lost.isdisjoint((*keys, ANY)) for layer in self.layers)

    def lost_names(self) -> frozenset[str]:
        """Names for templates that mistakes took away; `ANY` where it cannot be said which."""
        lost: set[str] = {ANY} if self.lacks(*_HOLD_NAMES) else set()
        for layer in self.layers:
            for key in _HOLD_NAMES:
                for holder in as_maps(layer.get(key)):
                    lost |= holder.lost
        return frozenset(lost)


def check_output_words(layer: MapNode, report: Report) -> None:
    """`output_check` and `expected_output` mean the same, so one mapping has at most one of them."""
    if layer.get("output_check") is not None and layer.get("expected_output") is not None:
        words = "`expected_output` means the same as `output_check`: write one of them"
        report.error(layer.key_place("expected_output"), words)
