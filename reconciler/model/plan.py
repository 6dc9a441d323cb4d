"""What `plan()` returns: actions, the state of every job with its reason, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.ledger import AttemptRecord, Verdict


@dataclass(frozen=True, slots=True)
class Action:
    """One idempotent step for one attempt of one job."""

    kind: ActionKind
    job: str
    attempt: int
    reason: Reason
    message: str
    host: str
    gpus: tuple[str, ...] = ()
    """UUIDs."""
    gpu_indices: tuple[int, ...] = ()

    @property
    def path(self) -> str:
        """The attempt it is about, as `project/id/number`."""
        return f"{self.job}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Launch(Action):
    """Start a new attempt. `record` is what the ledger keeps of it, `None`-free and complete."""

    record: AttemptRecord | None = None


@dataclass(frozen=True, slots=True)
class Settle(Action):
    """Record a verdict (complete, requeue or fail).

    `retry_at`: when the job may run again. `revoke`: claim the attempt first, so that no shim can run it late.
    Attempt 0 is a job that needs none, because its outputs are there."""

    verdict: Verdict | None = None
    retry_at: float | None = None
    revoke: bool = False
    generation: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Kill(Action):
    """End what is left of an attempt: its verified processes (`force`: SIGKILL) and its screen `sessions`."""

    force: bool = False
    sessions: tuple[str, ...] = ()
    """`pid.name` addresses."""


@dataclass(frozen=True, slots=True)
class JobState:
    """Where one job stands. For a job that neither runs nor is completed this is a hold: it says why."""

    job: str
    project: str
    phase: str
    status: JobStatus
    reason: Reason
    message: str
    until: float | None = None
    """When it is looked at again, if a clock decides."""
    attempt: int = 0
    drift: bool = False
    """What the spec asks for now is not what ran or runs."""

    @property
    def is_hold(self) -> bool:
        """The job neither runs nor is completed."""
        return self.status not in (JobStatus.RUNNING, JobStatus.COMPLETED)


@dataclass(frozen=True, slots=True)
class PhaseState:
    """Progress of one phase."""

    project: str
    phase: str
    depends_on: tuple[str, ...]
    open: bool
    counts: Mapping[JobStatus, int]
    waiting_on: str = ""
    """In words: what keeps it closed."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """A step of a project as a whole: its run begins (manifest.json) or is over (summary.md)."""

    project: str
    settled: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """Outputs of a completed job to bring from the host it ran on to another (or to the loop's machine: COLLECTED)."""

    job: str
    attempt: int
    source: str
    place: str
    cwd: str
    """The job's folder; relative outputs are put at the same place below it, or below `folder`."""
    patterns: tuple[str, ...]
    folder: str = ""
    """Where to put them on the loop's own machine."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What makes it the same one in the next plan."""
        return self.job, self.attempt, self.place


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole decision for one look at the world.

    `wake_at`: when time alone changes it. `settled`: nothing is left to do or to wait for."""

    plan_id: str
    actions: tuple[Action, ...]
    states: Mapping[str, JobState]
    """By job key, desired jobs in spec order, then orphans."""
    phases: tuple[PhaseState, ...] = ()
    unknown: tuple[str, ...] = ()
    """Probes that gave no answer, in words."""
    milestones: tuple[Milestone, ...] = ()
    released: tuple[str, ...] = ()
    """Attempt paths whose slot and GPUs are free again."""
    wake_at: float | None = None
    settled: bool = False
    alerts: tuple[str, ...] = field(default=())
    """What a person should know at once (a full disk, a job that got stuck)."""
    transfers: tuple[Transfer, ...] = ()
    """Outputs that are to be brought somewhere and are not there yet, the most urgent first."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """By job, the commits that this plan chooses: `JobRecord.pin`."""
    snapshots: tuple[tuple[str, str, str], ...] = ()
    """Work trees to be made: host, folder of the jobs, commit."""
    drops: tuple[tuple[str, str, str], ...] = ()
    """Work trees that are not needed any more: host, repository, commit."""
    wanted: tuple[str, ...] = ()
    """Jobs with room that wait only for their outputs and preconditions to be looked at: `needs` of the next look."""

    @property
    def holds(self) -> tuple[JobState, ...]:
        """Every job that neither runs nor is completed and has no launch in this plan."""
        acted = {action.job for action in self.actions if action.kind is ActionKind.LAUNCH}
        return tuple(state for state in self.states.values() if state.is_hold and state.job not in acted)
