"""Questions the views ask of a snapshot: whose attempt, since when, on which host, who holds which GPU."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import AttemptFacts, Gpu, GpuProcess, HostView, OutputFacts, Unknown
from reconciler.model.ledger import AttemptRecord, JobRecord
from reconciler.model.names import ANALYSIS_ID, job_key
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import MAIN_PHASE, Placement, Project
from reconciler.planner.placement import is_free, pool_of
from reconciler.planner.release import DEFAULT_LINGER_S, screens_of, what_is_left
from reconciler.view.words import host_once

_NEVER_RAN = (Reason.LAUNCH_LOST, Reason.LOCK_HELD)


def record_of(snapshot: Snapshot, key: str) -> JobRecord:
    """What the ledger has of a job; an empty record where it has nothing."""
    return snapshot.ledger.jobs.get(key) or JobRecord(key)


def facts_of(snapshot: Snapshot, attempt: AttemptRecord) -> AttemptFacts | None:
    """What was observed of an attempt; None when it was not looked at, or could not be."""
    view = snapshot.observed.hosts.get(attempt.host)
    facts = view.attempts.get(attempt.path) if isinstance(view, HostView) else None
    return facts if isinstance(facts, AttemptFacts) else None


def started_at(snapshot: Snapshot, attempt: AttemptRecord) -> float | None:
    """When its payload started, from the ledger or else from what is observed now."""
    if attempt.started_at is not None:
        return attempt.started_at
    facts = facts_of(snapshot, attempt)
    return facts.started.at if facts and facts.started else None


def payload_pid(snapshot: Snapshot, attempt: AttemptRecord) -> int | None:
    """The process id of its payload."""
    facts = facts_of(snapshot, attempt)
    return facts.started.payload.pid if facts and facts.started else attempt.pid


def ran(snapshot: Snapshot, attempt: AttemptRecord) -> bool:
    """User code ran: lost launches and refused locks are not held against a job."""
    if attempt.verdict is not None and attempt.verdict.reason in _NEVER_RAN:
        return False
    return attempt.exit_code is not None or started_at(snapshot, attempt) is not None


def attempts_ran(snapshot: Snapshot, key: str) -> int:
    """How many attempts of a job ran user code."""
    return sum(ran(snapshot, attempt) for attempt in record_of(snapshot, key).attempts)


def ended_at(attempt: AttemptRecord) -> float | None:
    """When it ended; its verdict's time where the end itself was not seen."""
    if attempt.ended_at is not None:
        return attempt.ended_at
    return attempt.verdict.at if attempt.verdict else None


def end_of(snapshot: Snapshot, attempt: AttemptRecord) -> tuple[float | None, int | None]:
    """When it ended and its exit code: from the ledger, or else from what is observed and not yet recorded there."""
    facts = facts_of(snapshot, attempt)
    if attempt.verdict is not None or facts is None or facts.exited is None or facts.exited.lock_held is not None:
        return ended_at(attempt), attempt.exit_code
    return facts.exited.at, facts.exited.code


def completed_at(snapshot: Snapshot, key: str) -> float | None:
    """When a job was completed, by its newest attempt or without one."""
    record = record_of(snapshot, key)
    if record.completed is None:
        return None
    last = record.last
    return last.ended_at if last is not None and last.ended_at is not None else record.completed.at


def hosts_of(snapshot: Snapshot) -> list[str]:
    """The hosts that specs and open attempts name, in their order; where they name none, all that were looked at."""
    named = {placement.host: None for spec in snapshot.desired.projects.values() for placement in spec.placements}
    named.update({attempt.host: None for attempt in snapshot.ledger.open_attempts.values()})
    return list(named or snapshot.observed.hosts)


def possible_hosts(snapshot: Snapshot, key: str) -> tuple[str, ...]:
    """Where a job may run, in order of preference; nothing for one that no spec asks for."""
    job = snapshot.desired.index.get(key)
    project = snapshot.desired.projects.get(job.project) if job is not None else None
    if job is None or project is None:
        return ()
    return project.hosts_of(project.phase(job.phase))


def host_of(snapshot: Snapshot, key: str) -> str | None:
    """Where the newest attempt of a job is or was; without any, the one host it may run on; None while it is open."""
    record = record_of(snapshot, key)
    if record.last is not None:
        return record.last.host
    if record.completed_on is not None:
        return record.completed_on
    possible = possible_hosts(snapshot, key)
    return possible[0] if len(possible) == 1 else None


def outputs_of(snapshot: Snapshot, key: str) -> OutputFacts | None:
    """The outputs of a job where they were found, first where it was completed."""
    record = record_of(snapshot, key)
    first = (record.completed_on, host_of(snapshot, key))
    for host in dict.fromkeys([*(name for name in first if name), *possible_hosts(snapshot, key)]):
        view = view_of(snapshot, host)
        facts = view.outputs.get(key) if view is not None else None
        if isinstance(facts, OutputFacts) and facts.paths:
            return facts
    return None


def view_of(snapshot: Snapshot, host: str) -> HostView | None:
    """The facts of a host; None when it is Unknown."""
    view = snapshot.observed.hosts.get(host)
    return view if isinstance(view, HostView) else None


def open_on(snapshot: Snapshot, host: str) -> list[AttemptRecord]:
    """The attempts on a host that run, or that have ended and are not let go of."""
    return [attempt for attempt in snapshot.ledger.open_attempts.values() if attempt.host == host]


def free_threshold_mib(snapshot: Snapshot) -> int:
    """Up to how much used memory a GPU counts as free, for the strictest of the projects."""
    return min((project.gpu_free_threshold_mib for project in snapshot.desired.projects.values()), default=500)


def host_shown(snapshot: Snapshot, key: str, host: str) -> str:
    """A host's name where a job may be on one of several; empty where that goes without saying."""
    project = snapshot.desired.projects.get(key.partition("/")[0])
    several = len(project.placements) > 1 if project is not None else len(hosts_of(snapshot)) > 1
    return host if several else ""


def heard_at(snapshot: Snapshot, host: str) -> float | None:
    """When a host had its last answer; None when that is not known."""
    view = snapshot.observed.hosts.get(host)
    if isinstance(view, HostView):
        return view.observed_at
    return view.since if view is not None else None


def unknown_notes(snapshot: Snapshot) -> list[str]:
    """The probes without an answer. That of a host is told once, and not again for each attempt on it."""
    silent = {a.path for a in snapshot.ledger.open_attempts.values() if view_of(snapshot, a.host) is None}
    return [host_once(note) for note in snapshot.plan.unknown if note.partition(":")[0] not in silent]


def short_name(snapshot: Snapshot, key: str) -> str:
    """What to type for a job: its id, or `project/id` where two projects have that id."""
    project, _, job_id = key.partition("/")
    index = snapshot.desired.index
    shared = any(f"{other}/{job_id}" in index for other in snapshot.desired.projects if other != project)
    return key if shared or key not in index else job_id


def main_alone(phase: PhaseState, phases: tuple[PhaseState, ...]) -> bool:
    """The phase is the implied one of a project without phases."""
    return phase.phase == MAIN_PHASE and sum(other.project == phase.project for other in phases) == 1


def ended_but_held(snapshot: Snapshot, key: str) -> list[str]:
    """In words, what is left of the attempts of a job that have ended and still hold their slot or GPU."""
    record = record_of(snapshot, key)
    return [
        f"attempt {attempt.number} has ended, {words}"
        for attempt in record.attempts
        if attempt.verdict is not None and not attempt.released and (words := _what_is_left(snapshot, attempt))
    ]


def _what_is_left(snapshot: Snapshot, attempt: AttemptRecord) -> str:
    facts, view = facts_of(snapshot, attempt), snapshot.observed.hosts.get(attempt.host)
    if facts is None or not isinstance(view, HostView) or attempt.path in snapshot.plan.released:
        return ""
    project = snapshot.desired.projects.get(attempt.job.partition("/")[0])
    linger_s = project.linger_s if project is not None else DEFAULT_LINGER_S
    return what_is_left(snapshot.now, attempt, facts, screens_of(attempt, view), ended_at(attempt) or 0.0, linger_s)


def alerts_of(snapshot: Snapshot) -> tuple[str, ...]:
    """What a person should know, without what the action that gives a job up says anyway."""
    given_up = {f"{a.job} is stuck: {a.message}" for a in snapshot.plan.actions if a.kind is ActionKind.FAIL}
    return tuple(alert for alert in snapshot.plan.alerts if alert not in given_up)


def is_orphan(snapshot: Snapshot, state: JobState) -> bool:
    """An attempt of it is open, but no spec asks for it any more."""
    return state.job not in snapshot.desired.index and not is_analysis(state.job)


def is_analysis(key: str) -> bool:
    """It is a project's `analyze_on_complete` command, which runs like a job and is none."""
    return key.endswith(f"/{ANALYSIS_ID}")


def analysis_of(snapshot: Snapshot, project: str) -> AttemptRecord | None:
    """The newest run of a project's `analyze_on_complete` command."""
    return record_of(snapshot, job_key(project, ANALYSIS_ID)).last


def jobs_of(snapshot: Snapshot, project: str, phase: str | None = None) -> list[JobState]:
    """The states of a project's desired jobs, in spec order."""
    return [
        state
        for state in snapshot.plan.states.values()
        if state.project == project and (phase is None or state.phase == phase) and state.job in snapshot.desired.index
    ]


def done(phase: PhaseState) -> int:
    """How many of a phase's jobs are completed."""
    return phase.counts.get(JobStatus.COMPLETED, 0)


def total(phase: PhaseState) -> int:
    """How many jobs a phase has."""
    return sum(phase.counts.values())


@dataclass(frozen=True, slots=True)
class GpuUse:
    """A GPU and who holds it. `ours`: attempt paths of this ledger or of another exq loop of the user."""

    gpu: Gpu
    ours: tuple[str, ...]
    others: tuple[GpuProcess, ...]
    free: bool

    @property
    def words(self) -> str:
        """`ours`, `14,850 MiB by alice pid 2797307`, `free`."""
        if self.ours:
            return "ours"
        if self.free:
            return "free"
        used = "memory not reported" if self.gpu.used_mib is None else f"{self.gpu.used_mib:,} MiB"
        if not self.others:
            return f"{used} in use, by whom cannot be seen" if self.gpu.used_mib is not None else used
        return f"{used} by {self.holders}"

    @property
    def holders(self) -> str:
        """The processes that are not ours: `alice pid 2797307`."""
        return ", ".join(f"{process.user or 'another user'} pid {process.pid}" for process in self.others)


def gpu_uses(snapshot: Snapshot, host: str, threshold_mib: int = 500) -> list[GpuUse] | Unknown:
    """Who holds each GPU of a host. Free means: none of ours, and at most `threshold_mib` in use."""
    view = snapshot.observed.hosts.get(host)
    if not isinstance(view, HostView):
        return view or Unknown(f"{host} was not observed")
    if isinstance(view.gpus, Unknown):
        return view.gpus
    held: dict[str, list[str]] = {}
    for attempt in snapshot.ledger.open_attempts.values():
        for uuid in attempt.gpus if attempt.host == host else ():
            held.setdefault(uuid, []).append(attempt.path)
    return [_use(gpu, held.get(gpu.uuid, []), threshold_mib) for gpu in view.gpus]


def _use(gpu: Gpu, held: list[str], threshold_mib: int) -> GpuUse:
    seen = [process.attempt for process in gpu.processes if process.attempt]
    ours = tuple(dict.fromkeys([*held, *seen]))
    others = tuple(process for process in gpu.processes if not process.attempt)
    free = not ours and is_free(gpu, threshold_mib)
    return GpuUse(gpu, ours, others, free)


def in_pool(project: Project, placement: Placement, uses: list[GpuUse]) -> list[GpuUse]:
    """Those GPUs of a host that a project may use."""
    pool = pool_of(project, placement, [use.gpu for use in uses])
    return [use for use in uses if use.gpu in pool]


def room_on(snapshot: Snapshot, project: Project, placement: Placement) -> int | None:
    """How many jobs a project may run on a host, by its slots there and by its GPUs; None while it is not known."""
    limit = placement.max_parallel
    if project.gpu_pool is None:
        return limit or project.max_parallel or 1
    view = view_of(snapshot, placement.host)
    if view is None or isinstance(view.gpus, Unknown):
        return None
    gpus = len(pool_of(project, placement, view.gpus))
    return gpus if limit is None else min(limit, gpus)
