"""What the planner wants to know about a host before it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.ledger import AttemptRecord
from reconciler.model.spec import Job


@dataclass(frozen=True, slots=True)
class AttemptNeed:
    """One attempt folder to read. `tail`: the end of its log too. `scan`: look through all processes for its tree.
    `meant`: the record of a launch of which it is not certain that this folder is from it."""

    path: str
    tail: bool = False
    scan: bool = False
    meant: AttemptRecord | None = None


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
    versions_of: str = ""
    """A project of which to tell what code its jobs ran."""
    code: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By `code_key`: the folders whose newest commit (or that of a name) is to be found, and the name."""
    snapshots: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By `snapshot_key`: the folders of jobs and the commits that they are to run from."""


def code_key(ref: str, cwd: str) -> str:
    """What names a commit: `ref` (empty: the newest) in the repository that holds a folder."""
    return f"{ref}:{cwd}"


def snapshot_key(commit: str, cwd: str) -> str:
    """What names the work tree of a commit, for jobs of a folder."""
    return f"{commit}:{cwd}"
