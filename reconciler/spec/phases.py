"""Phases: their names, and what they wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.spec import MAIN_PHASE
from reconciler.spec.ids import name_problem
from reconciler.spec.nodes import MapNode, as_scalars, text_of
from reconciler.spec.report import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.spec.report import Report


def needs_of(phase: MapNode) -> tuple[str, ...]:
    """The phases that a phase waits for, each once."""
    return tuple(dict.fromkeys(node.raw for node in as_scalars(phase.get("depends_on"))))


def check_phases(holders: Iterable[MapNode], taken: list[str], report: Report) -> list[tuple[MapNode, str]]:
    """The phases that can be used, with their names. `taken`: `main`, where there are top-level jobs."""
    first: dict[str, MapNode] = {}
    known: list[tuple[MapNode, str]] = []
    for holder in holders:
        node, name = holder.get("name"), text_of(holder.get("name"))
        if node is None or name is None:
            continue
        problem = name_problem(name)
        if problem:
            report.error(node.place, f"the phase's name `{name}` {problem}")
        elif name in taken:
            report.error(node.place, f"`{MAIN_PHASE}` is the phase of the jobs at the top level: choose another name")
        elif name in first:
            line = first[name].key_place("name")[0]
            report.error(node.place, f"the phase `{name}` is there twice: it stands on line {line} already")
        else:
            first[name] = holder
            known.append((holder, name))
    _check_needs(known, [*taken, *first], report)
    return known


def _check_needs(phases: list[tuple[MapNode, str]], names: list[str], report: Report) -> None:
    waits: dict[str, tuple[str, ...]] = {}
    for holder, name in phases:
        for node in as_scalars(holder.get("depends_on")):
            if node.raw == name:
                report.error(node.place, f"the phase `{name}` cannot wait for itself")
            elif node.raw not in names:
                words = f"there is no phase `{node.raw}`{did_you_mean(node.raw, names)}: there is {listed(names)}"
                report.error(node.place, words, needs_context=True)
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
