"""What the planner wants to know about a host before it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.spec import Job


@dataclass(frozen=True, slots=True)
class AttemptNeed:
    """One attempt folder to read. `tail`: the end of its log too. `scan`: look through all processes for its tree."""

    path: str
    tail: bool = False
    scan: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """One request to one host. What is not asked for is not reported."""

    attempts: tuple[AttemptNeed, ...] = ()
    outputs: Mapping[str, Job] = field(default_factory=dict)
    """Jobs by key whose outputs to look for."""
    preconditions: Mapping[str, Job] = field(default_factory=dict)
    sessions: bool = True
    gpus: bool = False
    disk: bool = True
    strays: bool = True
    """Look for live attempts that are not in `attempts`."""
    index: tuple[str, ...] = ()
    """Projects of which to list all attempts that the host has."""
