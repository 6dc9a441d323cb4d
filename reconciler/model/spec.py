"""What the specs ask for: projects, phases and fully resolved jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.model.enums import LauncherKind, PreconditionKind, SuccessRule, Waves
from reconciler.model.source import SourceState

Scalar = str | int | float | bool | None

MAIN_PHASE = "main"
"""The phase of jobs that are listed at the top level of a spec."""


@dataclass(frozen=True, slots=True)
class SpecError:
    """One mistake in a spec, in words a user can act on. `line` and `column` count from 1; 0 = the whole file."""

    path: str
    line: int
    column: int
    message: str
    warning: bool = False

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{where}: {'warning: ' if self.warning else ''}{self.message}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a kind of failure is tried again. `max_attempts` counts the first try too."""

    delay_s: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Precondition:
    """A condition on the host. `subject` is a path (globs allowed; relative to the job's cwd) or a command."""

    kind: PreconditionKind
    subject: str


@dataclass(frozen=True, slots=True)
class GpuPool:
    """The GPUs a project may use: the named ones (indices or UUIDs as written), or all when `ids` is None."""

    ids: tuple[str, ...] | None = None


LOCAL_HOST = "local"
"""The name of the machine that the loop runs on."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A host that a project's jobs may run on. `gpu_ids`, `max_parallel`: what is different from the project there."""

    host: str
    gpu_ids: tuple[str, ...] | None = None
    """Indices or UUIDs as written; None: those of the project's pool."""
    max_parallel: int | None = None
    """The most jobs of the project at a time on this host; None: no limit of its own."""


@dataclass(frozen=True, slots=True)
class Job:
    """One cell of a grid, fully resolved. `key` is `project/id`; `generation` is a hash of what it runs."""

    key: str
    project: str
    id: str
    phase: str
    cmd: str
    """The shell command; empty when the spec names none (such a job is never launched)."""
    cwd: str
    env: Mapping[str, str]
    conda: str | None
    conda_hook: str | None
    outputs: tuple[str, ...]
    """Output globs, relative to `cwd`; each must match for the outputs to be complete."""
    preconditions: tuple[Precondition, ...]
    params: Mapping[str, Scalar]
    gpus: int
    """How many GPUs it needs; 0 in a project without GPUs."""
    generation: str
    source: str
    """`file:line:col` of the entry it comes from."""
    venv: str | None = None
    """The virtual environment to enter: a folder, relative to `cwd`, `~` allowed. Never together with `conda`."""
    runner: str | None = None
    """Shell words that go before the command, such as `uv run`."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named stage. It opens when every job of every phase it depends on is completed."""

    name: str
    depends_on: tuple[str, ...]
    jobs: tuple[Job, ...]
    hosts: tuple[str, ...] | None = None
    """Where its jobs may run; None: on every host of the project."""
    fetch: bool = False
    """Before one of its jobs starts, the outputs of the phases it needs are brought to its host."""
    push: bool = False
    """When one of its jobs completes, its outputs are brought to the hosts of the phases that need it."""


@dataclass(frozen=True, slots=True)
class Project:
    """One spec file, resolved. Jobs of all phases are in spec order."""

    name: str
    source: str
    cwd: str
    placements: tuple[Placement, ...]
    """Where its jobs may run, in the order of the spec; never empty."""
    gpu_pool: GpuPool | None
    """None: the project uses no GPU, and `max_parallel` counts slots."""
    max_parallel: int | None
    """The most jobs at a time; None = as many as there are GPUs."""
    gpu_free_threshold_mib: int
    oom_retry: RetryPolicy
    failure_retry: RetryPolicy
    waves: Waves
    success: SuccessRule
    linger_s: float
    launcher: LauncherKind
    analyze_on_complete: str | None
    """A command run once when the project settles; None = the summary only."""
    phases: tuple[Phase, ...]
    shared_fs: bool = False
    """Its hosts see the same files, so that outputs need not be brought from one to another."""
    collect: str | None = None
    """The folder on the loop's own machine that outputs and logs are brought to; None: they stay where they are."""
    provenance: bool = True
    """What each attempt ran with is noted beside it."""
    snapshot: str | None = None
    """Jobs run from a commit of their repository that is chosen when they are asked for. `""`: the newest one, if
    there are no changes besides; else a name for it. None: they run in their folder as it is."""

    @property
    def home_host(self) -> str:
        """Where its summary is written and its analysis runs."""
        return self.placements[0].host

    def is_on(self, host: str) -> bool:
        """Whether some of its jobs may run on a host."""
        return any(placement.host == host for placement in self.placements)

    def hosts_of(self, phase: Phase) -> tuple[str, ...]:
        """Where the jobs of a phase may run, in order of preference."""
        named = tuple(placement.host for placement in self.placements)
        return named if phase.hosts is None else tuple(host for host in named if host in phase.hosts)

    def phase(self, name: str) -> Phase:
        """The phase of this name. Raises KeyError."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise KeyError(name)

    def jobs(self) -> Iterator[Job]:
        """All jobs, phase by phase, in spec order."""
        for phase in self.phases:
            yield from phase.jobs


@dataclass(frozen=True, slots=True)
class SpecFile:
    """How one file of the specs folder was taken.

    `broken` with `last_good`: its errors stand and the jobs come from the last version that loaded.
    `unsettled`: it is being written, so it is looked at again shortly."""

    path: str
    digest: str
    broken: bool = False
    last_good: bool = False
    unsettled: bool = False
    observed_rev: str = ""
    """The revision that the file was read at: a commit for people, or a short hash of the file."""
    last_good_rev: str = ""
    """The revision that its jobs come from; empty where it never loaded."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything the specs ask for. Equal `version`s mean equal projects."""

    version: str
    revision: str
    """For people: `git describe --always --dirty` of the specs folder, or a hash of its files."""
    projects: Mapping[str, Project]
    files: tuple[SpecFile, ...] = ()
    errors: tuple[SpecError, ...] = ()
    index: Mapping[str, Job] = field(default_factory=dict)
    """Every job by key."""
    source: SourceState | None = None
    """The git repository that it comes from; None when it is the folder as it is."""

    def revision_of(self, project: str) -> str:
        """The revision that the jobs of a project come from: an earlier one where its file is broken."""
        found = self.projects.get(project)
        broken = (file for file in self.files if file.broken and found is not None and file.path == found.source)
        return next((file.last_good_rev for file in broken if file.last_good_rev), self.revision)

    def jobs(self) -> Iterator[Job]:
        """All jobs of all projects, in spec order."""
        return iter(self.index.values())
