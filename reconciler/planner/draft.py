"""The plan while it is being made: where the rules put what they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import HostView, Observed, OutputFacts, Unknown
from reconciler.model.ledger import AttemptRecord, Ledger
from reconciler.model.plan import Action, JobState, Milestone, PhaseState, Transfer
from reconciler.model.spec import Desired, Job, Project

if TYPE_CHECKING:
    from reconciler.planner.environments import Failure, Spot


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no job of a project can start now."""

    reason: Reason
    message: str
    until: float | None = None
    """When that is looked at again, if a clock decides."""
    by_a_person: bool = False
    """Only a person can lift it. It is looked at again all the same, for when one has."""


@dataclass(slots=True)
class Draft:
    """Inputs and what was decided so far. Lives only inside one call of `plan()`."""

    desired: Desired
    observed: Observed
    ledger: Ledger
    now: float
    actions: list[Action] = field(default_factory=list)
    launches: list[Action] = field(default_factory=list)
    states: dict[str, JobState] = field(default_factory=dict)
    phases: list[PhaseState] = field(default_factory=list)
    unknown: dict[str, None] = field(default_factory=dict)
    milestones: list[Milestone] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    transfers: dict[tuple[str, int, str], Transfer] = field(default_factory=dict)
    inputs: dict[tuple[str, str, str], Refusal | None] = field(default_factory=dict)
    """By project, phase and host, whether the outputs that its jobs need are there."""
    wanted: list[str] = field(default_factory=list)
    """Jobs that have room and wait only to be looked at."""
    occupying: dict[str, AttemptRecord] = field(default_factory=dict)
    """Attempts that still use their slot, by path: live ones, and those whose end is not certain."""
    holding: dict[str, AttemptRecord] = field(default_factory=dict)
    """Attempts that still keep their GPUs, by path: until tree, screen and GPU memory are gone."""
    left: dict[str, str] = field(default_factory=dict)
    """In words, what is left of those of them that have ended, by path."""
    unreleased: dict[str, int] = field(default_factory=dict)
    """Jobs of which an attempt (its number) may still be there: no other is started."""
    pins: dict[str, str] = field(default_factory=dict)
    """Commits that are chosen now, by job."""
    unpinned: dict[str, Refusal] = field(default_factory=dict)
    """Why no commit can be chosen, by job."""
    snapshots: dict[tuple[str, str, str], None] = field(default_factory=dict)
    """Work trees to be made: host, folder of the jobs, commit."""
    drops: list[tuple[str, str, str]] = field(default_factory=list)
    """Work trees that are not needed any more: host, repository, commit."""
    adopting: set[str] = field(default_factory=set)
    """Hosts with live attempts that are taken in by this plan: what they use is not known yet."""
    failures: dict[Spot, Failure] | None = None
    """What could not be set up where, once it has been looked for."""
    wake_at: float | None = None
    finished_on: Mapping[str, Sequence[str]] = field(init=False)
    """The hosts on which all outputs of a job are, where that was looked at."""

    def __post_init__(self) -> None:
        self.finished_on = _finished_on(self.observed)

    def wake(self, at: float | None) -> None:
        """Ask to look again at this time at the latest."""
        if at is not None and (self.wake_at is None or at < self.wake_at):
            self.wake_at = at

    def hold(self, attempt: AttemptRecord) -> None:
        """The attempt keeps its GPUs, and no other attempt of its job may start."""
        self.holding[attempt.path] = attempt
        self.unreleased[attempt.job] = max(attempt.number, self.unreleased.get(attempt.job, 0))

    def view(self, host: str) -> HostView | Unknown:
        """What is known of a host."""
        view = self.observed.hosts.get(host)
        return Unknown(f"host {host} was not looked at") if view is None else view

    def machine_of(self, host: str) -> str:
        """What tells machines apart, where one of them has several names: its boot, as far as it is known."""
        view = self.observed.hosts.get(host)
        return view.boot_id if isinstance(view, HostView) and view.boot_id else host

    def holding_on(self, host: str) -> dict[str, AttemptRecord]:
        """The attempts on one host that still keep their GPUs, by path."""
        return {path: attempt for path, attempt in self.holding.items() if attempt.host == host}

    def project_of(self, job: str) -> Project | None:
        """The project a job key belongs to, if the specs still name it."""
        return self.desired.projects.get(job.split("/", 1)[0])

    def put(
        self,
        job: Job,
        status: JobStatus,
        reason: Reason,
        message: str,
        *,
        until: float | None = None,
        attempt: int = 0,
        drift: bool = False,
    ) -> None:
        """Say where a desired job stands."""
        self.states[job.key] = JobState(job.key, job.project, job.phase, status, reason, message, until, attempt, drift)

    def alert(self, message: str) -> None:
        """Say once what a person should know at once."""
        if message not in self.alerts:
            self.alerts.append(message)

    def note_unknown(self, message: str) -> None:
        """Say once that a probe gave no answer."""
        self.unknown.setdefault(message)


def counts_of(states: Mapping[str, JobState], jobs: tuple[Job, ...]) -> dict[JobStatus, int]:
    """How many of these jobs are in each status."""
    counts: dict[JobStatus, int] = {}
    for job in jobs:
        status = states[job.key].status
        counts[status] = counts.get(status, 0) + 1
    return counts


def _finished_on(observed: Observed) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for host, view in observed.hosts.items():
        for key, facts in view.outputs.items() if isinstance(view, HostView) else ():
            if isinstance(facts, OutputFacts) and facts.complete:
                found.setdefault(key, []).append(host)
    return found
