"""A plan that was written to a file, to be carried out later just as it is, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Step = tuple[str, ...]
"""What makes one step of a plan this one and no other: see `planner.plan_id`."""


@dataclass(frozen=True, slots=True)
class SavedAction:
    """One action of it. `step` is what it is compared by."""

    kind: str
    job: str
    attempt: int
    reason: str
    message: str
    host: str
    step: Step
    gpus: tuple[str, ...] = ()
    """UUIDs."""
    gpu_indices: tuple[int, ...] = ()
    generation: str = ""
    """What a launch runs."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plan was made, and so the only place where it may be carried out. The folders are absolute."""

    machine: str
    user: str
    state: str
    specs: str


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """The plan, the specs that it was made of, and what it rests on.

    The facts that matter are in the actions: which attempt, where, on which GPUs, and why."""

    plan_id: str
    made_at: float
    made_by: str
    exq: str
    """The version of exq that made it."""
    origin: Origin
    revision: str
    version: str
    """Those of the specs."""
    base: str
    """Where the relative `cwd` of its specs begins."""
    texts: Mapping[str, str]
    """By path, the text of each spec file that has a part in it."""
    actions: tuple[SavedAction, ...]
    others: tuple[Step, ...]
    """Outputs that it brings somewhere, runs of projects that begin or end with it, commits that it chooses."""
    hosts: Mapping[str, str]
    """By host, why it gave no answer; empty where it gave one."""
