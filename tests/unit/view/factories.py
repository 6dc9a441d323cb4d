"""Small builders of snapshots for view tests. The time is 2026-04-17 12:01:11 UTC unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.model.enums import (
    ActionKind,
    JobStatus,
    PreconditionKind,
    Reason,
)
from reconciler.model.facts import (
    AttemptFacts,
    Gpu,
    GpuProcess,
    HostView,
    Observed,
    OutputFacts,
    ProcessId,
    Started,
    Unknown,
)
from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger, ProjectRun, Request, Verdict
from reconciler.model.plan import Action, JobState, Kill, Launch, PhaseState, Plan, Settle
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import (
    MAIN_PHASE,
    Desired,
    GpuPool,
    Job,
    Phase,
    Placement,
    Precondition,
    Project,
    RetryPolicy,
    SpecError,
    SpecFile,
)
from tests.unit import factories as base
from tests.unit.factories import BOOT, HOST, ledger

NOW = 1776427271.0
"""2026-04-17 12:01:11 UTC."""


def at(clock: str) -> float:
    """A time of the test day: `at("11:40")`, `at("11:40:05")`."""
    hours, minutes, *seconds = (int(part) for part in clock.split(":"))
    midnight = NOW - (12 * 3600 + 1 * 60 + 11)
    return midnight + hours * 3600 + minutes * 60 + (seconds[0] if seconds else 0)


def job(key: str, phase: str = MAIN_PHASE, **changes: Any) -> Job:
    project, _, job_id = key.partition("/")
    plain = {
        "cmd": f"python train.py --id {job_id}",
        "cwd": "/home/me/exp",
        "outputs": (f"out/{job_id}.json",),
        "source": f"specs/{project}.yaml:3:5",
    }
    return base.job(job_id, project, phase, **{**plain, **changes})


def project(
    name: str, phases: Mapping[str, Sequence[str]], needs: Mapping[str, Sequence[str]] | None = None, **changes: Any
) -> Project:
    """A project with these job ids in these phases. `gpu_pool=GpuPool()` gives every job one GPU."""
    gpus = 1 if changes.get("gpu_pool") is not None else 0
    job_changes = changes.pop("job_changes", {})
    made = tuple(
        Phase(
            phase,
            tuple((needs or {}).get(phase, ())),
            tuple(job(f"{name}/{i}", phase, **{"gpus": gpus, **job_changes.get(i, {})}) for i in ids),
        )
        for phase, ids in phases.items()
    )
    plain = {"source": f"specs/{name}.yaml", "cwd": "/home/me/exp", "failure_retry": RetryPolicy(60, 1)}
    return base.project(name=name, phases=made, **{**plain, **changes})


def desired(*projects: Project, revision: str = "3f2c1d9", errors: Sequence[SpecError] = ()) -> Desired:
    return Desired(
        version="v1",
        revision=revision,
        projects={p.name: p for p in projects},
        files=tuple(SpecFile(p.source, "d") for p in projects),
        errors=tuple(errors),
        index={j.key: j for p in projects for j in p.jobs()},
    )


def attempt(key: str, number: int = 1, **changes: Any) -> AttemptRecord:
    plain = {
        "session": f"exq.{key.replace('/', '.')}.{number}",
        "gpus": tuple(f"GPU-{i}" for i in changes.get("gpu_indices", ())),
        "intended_at": changes.get("started_at") or at("11:58"),
        "revision": "3f2c1d9",
        "outputs_before": (),
    }
    return base.attempt(number, key, **{**plain, **changes})


def ended(
    key: str,
    start: str,
    end: str,
    status: str = "completed",
    reason: str = "Succeeded",
    message: str = "exit 0",
    **more: Any,
) -> AttemptRecord:
    """An attempt that is over and released."""
    verdict = Verdict(JobStatus(status), Reason(reason), message, at(end))
    code = more.pop("exit_code", 0 if status == "completed" else 1)
    times = {"started_at": at(start), "ended_at": at(end)}
    return attempt(
        key, more.pop("number", 1), verdict=verdict, exit_code=code, released=True, pid=4000, **times, **more
    )


def record(*attempts: AttemptRecord, **changes: Any) -> JobRecord:
    """The record of one job; it is completed when its newest attempt is."""
    last = attempts[-1]
    plain = JobRecord(last.job, attempts)
    if last.verdict is not None and last.verdict.status is JobStatus.COMPLETED:
        plain = replace(plain, completed=last.verdict, generation=last.generation)
    return replace(plain, **changes)


def state(key: str, status: str, reason: str, message: str = "", phase: str = MAIN_PHASE, **changes: Any) -> JobState:
    plain = JobState(key, key.partition("/")[0], phase, JobStatus(status), Reason(reason), message)
    return replace(plain, **changes)


def phase_states(
    wanted: Desired, states: Iterable[JobState], closed: Mapping[str, str] | None = None
) -> tuple[PhaseState, ...]:
    """The progress of every phase, counted from the states. `closed`: phase name to what it waits for."""
    listed = list(states)
    shut = closed or {}
    out = []
    for owner in wanted.projects.values():
        for phase in owner.phases:
            counts: dict[JobStatus, int] = {}
            for one in listed:
                if (one.project, one.phase) == (owner.name, phase.name) and one.job in wanted.index:
                    counts[one.status] = counts.get(one.status, 0) + 1
            is_open = phase.name not in shut
            out.append(PhaseState(owner.name, phase.name, phase.depends_on, is_open, counts, shut.get(phase.name, "")))
    return tuple(out)


def plan(
    wanted: Desired,
    states: Sequence[JobState],
    actions: Sequence[Action] = (),
    closed: Mapping[str, str] | None = None,
    **changes: Any,
) -> Plan:
    plain = Plan("p1a2n3", tuple(actions), {s.job: s for s in states}, phase_states(wanted, states, closed))
    return replace(plain, **changes)


def launch(
    key: str, number: int = 1, gpus: Sequence[int] = (), reason: str = "NewInSpec", message: str = "new in spec"
) -> Launch:
    uuids = tuple(f"GPU-{i}" for i in gpus)
    return Launch(
        ActionKind.LAUNCH, key, number, Reason(reason), message, HOST, uuids, tuple(gpus), attempt(key, number)
    )


def settle(kind: str, key: str, reason: str, message: str, number: int = 1, **changes: Any) -> Settle:
    return replace(Settle(ActionKind(kind), key, number, Reason(reason), message, HOST), **changes)


def kill(key: str, reason: str, message: str, number: int = 1, **changes: Any) -> Kill:
    return replace(Kill(ActionKind.KILL, key, number, Reason(reason), message, HOST), **changes)


def gpu(index: int, used_mib: int | None = 3, processes: Sequence[GpuProcess] = ()) -> Gpu:
    return Gpu(index, f"GPU-{index}", "NVIDIA A100", used_mib, 40960, 0, tuple(processes))


def running_facts(pid: int, started_at: float) -> AttemptFacts:
    payload, shim = ProcessId(BOOT, pid, 1), ProcessId(BOOT, pid - 1, 1)
    return AttemptFacts(
        exists=True,
        claimed=True,
        started=Started(payload, shim, started_at),
        payload_alive=True,
        shim_alive=True,
        tree_alive=True,
        tree_pids=(pid,),
    )


def host(**changes: Any) -> HostView:
    return replace(HostView(HOST, NOW - 0.4, boot_id=BOOT, screen_installed=True), **changes)


def snapshot(
    wanted: Desired,
    made: Plan,
    known: Ledger | None = None,
    seen: HostView | Unknown | Mapping[str, HostView | Unknown] | None = None,
    now: float = NOW,
    requests: Sequence[Request] = (),
) -> Snapshot:
    hosts = seen if isinstance(seen, Mapping) else {HOST: seen or host()}
    return Snapshot(now, wanted, Observed(hosts), known or Ledger(), made, tuple(requests))


__all__ = [
    "NOW",
    "GpuPool",
    "GpuProcess",
    "HostView",
    "OutputFacts",
    "Placement",
    "Precondition",
    "PreconditionKind",
    "Project",
    "ProjectRun",
    "Request",
    "SpecError",
    "Unknown",
    "at",
    "attempt",
    "desired",
    "ended",
    "gpu",
    "host",
    "job",
    "kill",
    "launch",
    "ledger",
    "plan",
    "project",
    "record",
    "running_facts",
    "settle",
    "snapshot",
    "state",
]
