"""What exq intended and what it concluded: the ledger as the planner sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.enums import JobStatus, Reason, RequestKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt, or a job without one, ended. `status` is completed, failed_oom or failed_other."""

    status: JobStatus
    reason: Reason
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt. Without a verdict it is open: it may be live, and it keeps its slot and its GPUs."""

    job: str
    number: int
    generation: str
    host: str
    launcher: str
    session: str | None
    """The screen session's name; None under the process launcher."""
    gpus: tuple[str, ...]
    """UUIDs it holds."""
    gpu_indices: tuple[int, ...]
    intended_at: float
    revision: str
    outputs_before: tuple[str, ...] = ()
    """Fingerprints of the outputs when it was launched: an output is fresh when it differs."""
    daemon: str = ""
    """Which run of the loop launched it."""
    launched: bool = False
    """The launch was carried out as far as the loop could see."""
    pid: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    kill_at: float | None = None
    """When it was first asked to end."""
    kill_last_at: float | None = None
    """When it was last asked to end."""
    kill_reason: Reason | None = None
    verdict: Verdict | None = None
    released: bool = False
    """Its processes and its session are gone."""
    retry_at: float | None = None
    """When the job may be launched again after this attempt."""
    pin: str = ""
    """The commit that it runs from, and what that was chosen for; see `JobRecord.pin`."""

    @property
    def path(self) -> str:
        """`project/id/number`, also its folder under `<state>/attempts`."""
        return f"{self.job}/{self.number}"


@dataclass(frozen=True, slots=True)
class Copy:
    """The outputs (and, at home, the log) of an attempt are whole in another place, too.

    `place` is a host, or `COLLECTED` for the folder on the loop's own machine."""

    place: str
    attempt: int
    files: int
    bytes: int
    at: float


COLLECTED = ""
"""The place that `collect` brings outputs to; no host is named so."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Everything known of one job over time."""

    key: str
    attempts: tuple[AttemptRecord, ...] = ()
    completed: Verdict | None = None
    """Set once and for all for `generation`."""
    generation: str | None = None
    """The generation of `completed`."""
    stopped_by: str | None = None
    """Who asked to stop it; a retry lifts that."""
    retry_after: int = 0
    """Attempts up to this number no longer count (a user asked for a retry)."""
    completed_on: str | None = None
    """The host that has what it was completed with."""
    pin: str = ""
    """The commit that the job runs from, then what it was chosen for: with another, it is chosen anew."""
    copies: tuple[Copy, ...] = ()
    """Where the outputs of its completed attempt have been brought, one entry a place."""

    @property
    def last(self) -> AttemptRecord | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True)
class Request:
    """Something a user asked for. `target` is a job key, a project name, a host (forget_host), or a commit
    (accept_source)."""

    id: str
    kind: RequestKind
    target: str
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class ProjectRun:
    """One run of a project, from its first launch until it settles."""

    project: str
    number: int
    started_at: float
    folder: str
    """`<cwd>/experiment_queue/<timestamp>` on the host."""
    settled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """A snapshot. Equal `version`s of one ledger mean equal contents."""

    version: int = 0
    jobs: Mapping[str, JobRecord] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    """Job keys and project names."""
    runs: Mapping[str, ProjectRun] = field(default_factory=dict)
    """The newest run of each project."""
    open_attempts: Mapping[str, AttemptRecord] = field(default_factory=dict)
    """Attempts that have no verdict or are not released, by path."""
    set_up_in_vain: Mapping[str, None] = field(default_factory=dict)
    """Every job of which some attempt could not be set up, by key, so that nobody has to look through all attempts."""


def was_set_up_in_vain(record: JobRecord) -> bool:
    """Some attempt of it could not be set up."""
    verdicts = (attempt.verdict for attempt in record.attempts)
    return any(verdict is not None and verdict.reason is Reason.ENVIRONMENT_BROKEN for verdict in verdicts)
