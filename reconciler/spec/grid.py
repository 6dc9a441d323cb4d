"""Parameters of a job entry: the axes of its grid, then its params."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from reconciler.model.spec import Scalar
from reconciler.spec.binding import Axis, Cell
from reconciler.spec.nodes import ANY, ListNode, MapNode, Node, ScalarNode, as_items, as_maps, as_scalars
from reconciler.spec.ranges import meant_as_many
from reconciler.spec.report import did_you_mean, listed, short

if TYPE_CHECKING:
    from reconciler.spec.report import Report

MAX_JOBS = 250_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Axes, the first varying slowest, without the excluded cells."""

    axes: tuple[Axis, ...]
    excluded: tuple[dict[int, Scalar], ...] = ()

    @property
    def size(self) -> int:
        """How many cells there are before any is excluded."""
        size = 1
        for axis in self.axes:
            size *= len(axis.values)
        return size

    def cells(self) -> Iterator[tuple[Cell, tuple[Scalar, ...]]]:
        """Every cell: the position of each value, and the values."""
        positions = product(*[range(len(axis.values)) for axis in self.axes])
        values = product(*[[value.value for value in axis.values] for axis in self.axes])
        pairs = zip(positions, values, strict=True)
        return (pair for pair in pairs if not self._is_excluded(pair[1])) if self.excluded else pairs

    def _is_excluded(self, values: tuple[Scalar, ...]) -> bool:
        return any(all(_same(values[axis], value) for axis, value in cell.items()) for cell in self.excluded)


def grids_of(holder: MapNode, report: Report) -> list[Grid]:
    """The grids of a spec or a phase. Without `grid` (a `template` alone) there is one of a single cell."""
    maps = as_maps(holder.get("grid"))
    grids = [Grid(axes_of(grid, report)) for grid in maps]
    if not grids:
        return [Grid(())]
    for grid_map in maps:
        _warn_of_ranges(grid_map, report)
    exclude = as_maps(holder.get("exclude"))
    doubtful = bool(holder.lost & {"grid", "exclude", ANY}) or any(part.lost for part in (*maps, *exclude))
    for cell in exclude:
        if not any(_excluded(cell, grid) is not None for grid in grids):
            report.error(cell.place, _no_such_cell(cell, grids), doubtful=doubtful)
    found = [[_excluded(cell, grid) for cell in exclude] for grid in grids]
    left = [
        Grid(grid.axes, tuple(cell for cell in cells if cell is not None))
        for grid, cells in zip(grids, found, strict=True)
    ]
    if exclude and all(grid.size <= MAX_JOBS and next(grid.cells(), None) is None for grid in left):
        of_what, of_it = ("grid", "it") if len(left) == 1 else ("grids", "them")
        words = f"`exclude` takes out every cell of the {of_what}, so no job is left of {of_it}"
        report.error(holder.key_place("exclude"), words, doubtful=doubtful)
    return left


def axes_of(node: Node | None, report: Report) -> tuple[Axis, ...]:
    """The parameters of a mapping, each with one value or several."""
    if not isinstance(node, MapNode):
        return ()
    axes = []
    for name, values in node.items():
        scalars = as_scalars(values)
        seen: dict[str, ScalarNode] = {}
        for value in scalars:
            if value.raw in seen:
                report.error(value.place, f"`{name}` has the value `{short(value.raw)}` twice")
            seen.setdefault(value.raw, value)
        if seen and len(scalars) == len(as_items(values)):
            axes.append(Axis(name, tuple(seen.values())))
    return tuple(axes)


def _warn_of_ranges(grid: MapNode, report: Report) -> None:
    for name, values in grid.items():
        scalars = as_scalars(values)
        for value in scalars:
            instead = meant_as_many(value.raw, in_list=isinstance(values, ListNode))
            if instead and isinstance(value.value, str):
                holds = f"`{name}` is one value," if len(scalars) == 1 else f"one value of `{name}` is"
                report.warn(value.place, f"{holds} the text `{short(value.raw)}`: {instead}")


def _same(value: Scalar, wanted: Scalar) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _excluded(cell: MapNode, grid: Grid) -> dict[int, Scalar] | None:
    """The positions and values of an excluded cell, or None when the grid has no such cell."""
    places = {axis.name: index for index, axis in enumerate(grid.axes)}
    found: dict[int, Scalar] = {}
    for name, node in cell.items():
        index = places.get(name)
        if index is None or not isinstance(node, ScalarNode):
            return None
        if not any(_same(value.value, node.value) for value in grid.axes[index].values):
            return None
        found[index] = node.value
    return found


def _no_such_cell(cell: MapNode, grids: list[Grid]) -> str:
    names = {axis.name: None for grid in grids for axis in grid.axes}
    for name in cell.entries:
        if name not in names:
            return f"the grid has no parameter `{name}`{did_you_mean(name, names)}: it has {listed(names)}"
    return "no cell of the grid has these values, so there is nothing to exclude"
