"""What `exq doctor` finds out before the work begins, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from reconciler.model.facts import Unknown
from reconciler.model.spec import Job, Placement, Project


class CheckStatus(str, Enum):
    """ERROR: something will not work. WARNING: something may not, or could not be found out."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. `host` is None for what concerns exq itself and the specs."""

    host: str | None
    name: str
    status: CheckStatus
    message: str
    mend: str = ""
    """What to type, or to write into a spec, to mend it; empty where nothing has to be mended or only time does it."""
    jobs: tuple[str, ...] = ()
    """The keys of the jobs that it concerns, where it does not concern all."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A host to be looked at, and what the specs want of it."""

    host: str
    local: bool
    projects: tuple[tuple[Project, Placement], ...] = ()
    jobs: tuple[Job, ...] = ()
    """Those that may start there once their preconditions hold: their phase is open."""
    later: tuple[Job, ...] = ()
    """Those whose phase waits for another one."""
    fetched: frozenset[str] = frozenset()
    """Keys of the jobs whose inputs exq brings there before they start."""
    held: frozenset[str] = frozenset()
    """UUIDs of GPUs that exq's own attempts hold there."""
    ssh: str = "ssh"
    """The user's own ssh with its options, as it is typed to get there."""

    def all_jobs(self) -> tuple[Job, ...]:
        """Every job that is still to run and may run there."""
        return (*self.jobs, *self.later)

    def project_of(self, job: Job) -> Project:
        """The project of one of the jobs."""
        return next(project for project, _ in self.projects if project.name == job.project)


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """A folder on a host; `mode` and `owner` are those of the nearest folder above it where it does not exist yet."""

    path: str
    exists: bool
    mode: int
    mine: bool
    owner: str
    disk: str
    """The type of the file system, such as ext4 or nfs4."""
    mount: str


@dataclass(frozen=True, slots=True)
class InotifyFacts:
    """The kernel's limits for one user, and how many instances the user has."""

    max_watches: int
    max_instances: int
    instances: int


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """What becomes of processes after a logout; None where the login manager does not say."""

    systemd: bool
    linger: bool | None = None
    ends_processes: bool | None = None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a host tells beside its HostView."""

    python: str
    state_folder: FolderFacts | Unknown
    screen_folder: FolderFacts | Unknown | None
    """None: nobody has said yet where it is."""
    inotify: InotifyFacts | Unknown
    login: LoginFacts | Unknown
    nvidia_smi_s: float | None = None
    """How long nvidia-smi took."""
    session_problem: str = ""
    """Why the longest screen session cannot be started."""
    missing_programs: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    """By working folder, why it cannot be used; empty when it can."""
    environments: Mapping[str, str | Unknown] = field(default_factory=dict)
    """Why it cannot be set up, empty when it can: by its script as the host tells it, then by the key of each job."""
