"""What was observed on a host. Every probe gives facts or `Unknown`, never an empty guess.

Times are seconds since the epoch, memory is MiB. A host's times are turned into the loop's clock when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Unknown:
    """A probe failed: not the same as nothing there.

    `quiet`: it was not made or has no answer yet, which is no news. `since`: when it last had one. `again_at`: when it
    may be tried again. `untold`: its first answer is awaited, so nothing is known yet of what it has."""

    message: str
    quiet: bool = False
    since: float | None = None
    again_at: float | None = None
    untold: bool = False


class SessionState(Enum):
    """What `screen -ls` says of a session."""

    DETACHED = "Detached"
    ATTACHED = "Attached"
    DEAD = "Dead"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Session:
    """A GNU screen session. It is addressed by `pid.name` alone: names are not unique, and match as prefixes."""

    pid: int
    name: str
    state: SessionState

    @property
    def address(self) -> str:
        """What `screen -S` takes to mean this session and no other."""
        return f"{self.pid}.{self.name}"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """The identity of a process. A pid alone is reused; with boot and start time it never is."""

    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds GPU memory. `user` is None where it cannot be seen; `attempt` is set for our own."""

    pid: int
    used_mib: int | None
    user: str | None = None
    command: str | None = None
    attempt: str | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi reports it; memory is None where the driver will not say."""

    index: int
    uuid: str
    name: str
    used_mib: int | None
    total_mib: int | None
    utilization_percent: int | None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """`started.json`: the payload exists."""

    payload: ProcessId
    shim: ProcessId
    at: float


@dataclass(frozen=True, slots=True)
class Exited:
    """`exit.json`: the payload ended, or the shim refused to start it because `lock_held` names a lock in use."""

    code: int
    at: float
    duration_s: float | None = None
    lock_held: str | None = None
    oom_kills: int = 0
    """How many processes of its cgroup the kernel killed for want of memory while it ran."""

    @property
    def signal(self) -> int | None:
        """The signal that ended the payload, as a shell reports it (128 + n); None for a plain exit."""
        return self.code - 128 if 128 < self.code <= 128 + 64 else None


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """An attempt folder and the processes that belong to it, as observed together.

    Liveness was read before the exit record, so `payload_alive` False with `exited` None means that it is gone
    without one, unless its shim still lives and is about to write it.
    """

    exists: bool
    """The folder has its intent and script."""
    another: bool = False
    """They are from another launch of this number than the ledger's; looked at only where that is in doubt."""
    claimed: bool = False
    """A shim claimed the attempt: it ran, or will."""
    revoked: bool = False
    """The loop claimed it first: no shim can ever run it."""
    started: Started | None = None
    exited: Exited | None = None
    payload_alive: bool = False
    shim_alive: bool = False
    tree_alive: bool = False
    """Something of the payload's tree lives: it holds the attempt's lock or carries its marker."""
    scanned: bool = True
    """All processes were looked through for its tree; without that, what closed the lock can be missed."""
    tree_pids: tuple[int, ...] = ()
    """The live processes of the tree that could be seen, without the shim."""
    unlisted: bool = False
    """Its screen may have come up after the screens were listed: that none was seen says nothing."""
    launch_error: str | None = None
    """What the launcher said when it failed to start a session."""
    setup_error: str | None = None
    """Why the environment could not be set up (cwd, conda), before any user code."""
    log_bytes: int = 0
    log_at: float | None = None
    """When the log was last written."""
    log_tail: str = ""
    """The end of the log; filled only where a decision needs it."""


@dataclass(frozen=True, slots=True)
class OutputFacts:
    """The outputs of a job: one fingerprint per pattern, empty where nothing matches."""

    fingerprints: tuple[str, ...]
    newest_at: float | None = None
    paths: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every pattern matches something (a job without patterns has no complete outputs)."""
        return bool(self.fingerprints) and "" not in self.fingerprints


@dataclass(frozen=True, slots=True)
class PreconditionFacts:
    """One precondition on the host; `message` says what is missing."""

    met: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What a repository would make a snapshot of: a commit, and files with changes that it does not have, in words.

    `problem`: why there is no commit."""

    root: str = ""
    commit: str = ""
    changes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """What so many jobs of a project ran: a commit, with or without changes that it does not have."""

    commit: str
    changed: bool
    jobs: int


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """The work tree of a commit. `path`: where a job goes on in it. `problem`: why it cannot be made.

    `again`: that was a while ago, and is found out anew when it is asked for."""

    path: str
    ready: bool
    problem: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """Room in the state folder."""

    free_mib: int
    writable: bool = True
    message: str = ""


@dataclass(frozen=True, slots=True)
class HostView:
    """One host at one time. Outputs and preconditions of jobs that were not asked for are the last known ones."""

    host: str
    observed_at: float
    """By the loop's clock, as all times of a view."""
    boot_id: str = ""
    booted_at: float | None = None
    """When the host was started, by its clock as it is now."""
    state: str = ""
    """The state folder on that host, absolute."""
    user: str = ""
    """Who the jobs run as there."""
    round_trip_s: float | None = None
    """How long the answer took; None on the loop's own machine."""
    clock_ahead_s: float = 0.0
    """How far the host's own clock is ahead of the loop's."""
    screen_installed: bool = False
    sessions: tuple[Session, ...] | Unknown | None = ()
    """None: not looked at this time, and all was well the last time."""
    gpus: tuple[Gpu, ...] | Unknown = ()
    disk: DiskFacts | Unknown = DiskFacts(free_mib=1 << 20)
    attempts: Mapping[str, AttemptFacts | Unknown] = field(default_factory=dict)
    """By attempt path, `project/id/number`."""
    strays: tuple[str, ...] = ()
    """Attempt paths of this state folder that live on the host and were not asked for."""
    markers: tuple[str, ...] = ()
    """Names of the files in its spool: attempts that ended there and have no verdict beside their files yet."""
    index: Mapping[str, int] = field(default_factory=dict)
    """Jobs that have attempt folders there, each with the number of its newest; filled at the first contact."""
    outputs: Mapping[str, OutputFacts | Unknown] = field(default_factory=dict)
    """By job key."""
    preconditions: Mapping[str, tuple[PreconditionFacts | Unknown, ...]] = field(default_factory=dict)
    """By job key, in the order of the job's preconditions."""
    code: Mapping[str, CodeFacts | Unknown] = field(default_factory=dict)
    """By `code_key`, as it is in this very look."""
    snapshots: Mapping[str, SnapshotFacts | Unknown] = field(default_factory=dict)
    """By `snapshot_key`, as it is in this very look."""
    old_snapshots: tuple[tuple[str, str], ...] = ()
    """Work trees that are idle, by repository and commit; filled by a full look."""
    versions: tuple[CodeVersion, ...] = ()
    """Which code the jobs of the project ran that was asked for."""
    asked: frozenset[str] = frozenset()
    """Jobs whose outputs and preconditions were looked at this time: only those may be launched."""


@dataclass(frozen=True, slots=True)
class Observed:
    """All hosts, each with facts or Unknown."""

    hosts: Mapping[str, HostView | Unknown]
