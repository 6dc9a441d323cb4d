"""Phases: their names, and what they wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.spec import MAIN_PHASE
from reconciler.spec.ids import name_problem
from reconciler.spec.nodes import MapNode, as_scalars, text_of
from reconciler.spec.report import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reconciler.spec.report import Report


def needs_of(phase: MapNode) -> tuple[str, ...]:
    """The phases that a phase waits for, each once."""
    return tuple(dict.fromkeys(node.raw for node in as_scalars(phase.get("depends_on"))))


def check_phases(
    holders: Iterable[MapNode], taken: list[str], report: Report, *, doubtful: bool
) -> list[tuple[MapNode, str]]:
    """The phases with their names; a name that cannot be used is empty.

    `taken`: `main`, where there are top-level jobs. `doubtful`: there may be more phases than these."""
    first: dict[str, MapNode] = {}
    phases: list[tuple[MapNode, str]] = []
    refused: set[str] = set()
    for holder in holders:
        node, name = holder.get("name"), text_of(holder.get("name"))
        if node is None or name is None:
            phases.append((holder, ""))
            continue
        problem = name_problem(name)
        if problem:
            report.error(node.place, f"the phase's name `{name}` {problem}")
            refused.add(name)
        elif name in taken:
            report.error(node.place, f"`{MAIN_PHASE}` is the phase of the jobs at the top level: choose another name")
        elif name in first:
            line = first[name].key_place("name")[0]
            report.error(node.place, f"the phase `{name}` is there twice: it stands on line {line} already")
        usable = not problem and name not in taken and name not in first
        if usable:
            first[name] = holder
        phases.append((holder, name if usable else ""))
    doubtful = doubtful or any(text_of(holder.get("name")) is None for holder, _ in phases)
    known = [phase for phase in phases if phase[1]]
    _check_needs(known, [*taken, *first], report, lambda need: doubtful or need in refused)
    return phases


def _check_needs(
    phases: list[tuple[MapNode, str]], names: list[str], report: Report, doubtful: Callable[[str], bool]
) -> None:
    waits: dict[str, tuple[str, ...]] = {}
    for holder, name in phases:
        for node in as_scalars(holder.get("depends_on")):
            if node.raw == name:
                report.error(node.place, f"the phase `{name}` cannot wait for itself")
            elif node.raw not in names:
                words = f"there is no phase `{node.raw}`{did_you_mean(node.raw, names)}: there is {listed(names)}"
                report.error(node.place, words, doubtful=doubtful(node.raw))
        waits[name] = tuple(need for need in needs_of(holder) if need != name and need in names)
    _check_cycles({name: holder for holder, name in phases}, waits, report)


def _check_cycles(holders: dict[str, MapNode], waits: dict[str, tuple[str, ...]], report: Report) -> None:
    from graphlib import CycleError, TopologicalSorter

    while True:
        try:
            TopologicalSorter(waits).prepare()
        except CycleError as error:
            circle = list(reversed(error.args[1]))
            first = min(circle, key=list(holders).index)
            start = circle.index(first)
            turned = [*circle[start:-1], *circle[:start], first]
            place = holders[first].key_place("depends_on")
            report.error(place, f"these phases wait for each other: {' -> '.join(turned)}")
            waits = {name: needs for name, needs in waits.items() if name not in circle}
        else:
            return
