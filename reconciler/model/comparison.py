"""What differs between two desired states: the words of `exq diff --rev`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Absent(Enum):
    """The value of something that one side does not have at all; None is a value that a spec can give."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


class Change(str, Enum):
    """How something differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One value of a job, a phase or a project. `field` is a name of the model; `env.LR` is one variable of many.

    The field `order` is no value: `new` now comes where `old` was, and so before it."""

    field: str
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class JobChange:
    """One job. `phase` is where it is now, or was when it is removed."""

    key: str
    phase: str
    change: Change
    fields: tuple[FieldChange, ...] = ()
    new_generation: bool = False
    """What it runs has changed: earlier attempts count no more, and what completed it was something else."""
    cmd: str = ""
    """What an added or removed job runs."""


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """The settings of one phase; its jobs are listed with the project."""

    name: str
    change: Change
    settings: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectChange:
    """One project that differs. `source` is its file where it is now, or was."""

    name: str
    source: str
    change: Change
    settings: tuple[FieldChange, ...] = ()
    phases: tuple[PhaseChange, ...] = ()
    jobs: tuple[JobChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs, in the order of the new side; what is gone comes last."""

    projects: tuple[ProjectChange, ...] = ()
    not_compared: tuple[str, ...] = ()
    """Files that do not load on one side: nothing can be said of their jobs."""

    def jobs(self, change: Change) -> list[JobChange]:
        """The jobs that differ in this way."""
        return [job for project in self.projects for job in project.jobs if job.change is change]

    @property
    def settings(self) -> int:
        """How many settings of projects and phases differ."""
        phases = sum(len(phase.settings) for project in self.projects for phase in project.phases)
        return phases + sum(len(project.settings) for project in self.projects)
