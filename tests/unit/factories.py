"""Small builders for planner tests: a value says what the test is about, everything else has a plain default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.model.enums import JobStatus, LauncherKind, PreconditionKind, Reason, SuccessRule, Waves
from reconciler.model.facts import (
    AttemptFacts,
    Exited,
    Gpu,
    GpuProcess,
    HostView,
    Observed,
    OutputFacts,
    ProcessId,
    Session,
    SessionState,
    Started,
    Unknown,
)
from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger, Verdict, was_set_up_in_vain
from reconciler.model.names import AttemptRef, session_name
from reconciler.model.plan import Action, Kill, Launch, Plan, Settle
from reconciler.model.spec import (
    LOCAL_HOST,
    Desired,
    GpuPool,
    Job,
    Phase,
    Placement,
    Precondition,
    Project,
    RetryPolicy,
)

NOW = 1_000_000.0
BOOT = "boot-1"
HOST = "local"


def job(job_id: str = "a", project: str = "p", phase: str = "main", **changes: Any) -> Job:
    plain = Job(
        key=f"{project}/{job_id}",
        project=project,
        id=job_id,
        phase=phase,
        cmd=f"python train.py {job_id}",
        cwd="/work",
        env={},
        conda=None,
        conda_hook=None,
        outputs=(),
        preconditions=(),
        params={},
        gpus=0,
        generation="g1",
        source="p.yaml:1:1",
    )
    return replace(plain, **changes)


def phase(name: str, jobs: Iterable[Job], *depends_on: str) -> Phase:
    return Phase(name, depends_on, tuple(replace(j, phase=name) for j in jobs))


def project(*jobs: Job, name: str = "p", phases: tuple[Phase, ...] | None = None, **changes: Any) -> Project:
    plain = Project(
        name=name,
        source=f"{name}.yaml",
        cwd="/work",
        placements=(Placement(LOCAL_HOST),),
        gpu_pool=None,
        max_parallel=2,
        gpu_free_threshold_mib=500,
        oom_retry=RetryPolicy(delay_s=120.0, max_attempts=3),
        failure_retry=RetryPolicy(delay_s=0.0, max_attempts=1),
        waves=Waves.ROLLING,
        success=SuccessRule.EXIT_AND_OUTPUT,
        linger_s=300.0,
        launcher=LauncherKind.AUTO,
        analyze_on_complete=None,
        phases=phases if phases is not None else (Phase("main", (), jobs),),
    )
    return replace(plain, **changes)


def gpu_project(*jobs: Job, ids: tuple[str, ...] | None = None, **changes: Any) -> Project:
    with_gpu = tuple(j if j.gpus else replace(j, gpus=1) for j in jobs)
    return project(*with_gpu, **{"gpu_pool": GpuPool(ids), "max_parallel": None, **changes})


def desired(*projects: Project, version: str = "v1") -> Desired:
    index = {j.key: j for p in projects for j in p.jobs()}
    return Desired(version, "rev1", {p.name: p for p in projects}, index=index)


def gpu(index: int, used_mib: int | None = 0, *processes: GpuProcess) -> Gpu:
    return Gpu(index, f"GPU-{index}", "H100", used_mib, 80_000, 0, processes)


def started(at: float = NOW - 100, *, boot: str = BOOT, pid: int = 4242) -> Started:
    return Started(ProcessId(boot, pid, 7), ProcessId(boot, pid - 1, 6), at)


def running(at: float = NOW - 100, **changes: Any) -> AttemptFacts:
    """A live payload."""
    plain = AttemptFacts(
        exists=True, claimed=True, started=started(at), payload_alive=True, shim_alive=True, tree_alive=True
    )
    return replace(plain, **changes)


def ended(code: int = 0, at: float = NOW - 5, **changes: Any) -> AttemptFacts:
    """Nothing lives, the exit record is there."""
    return replace(vanished(), exited=Exited(code, at), **changes)


def vanished(**changes: Any) -> AttemptFacts:
    """It had started, nothing lives, and there is no exit record."""
    dead = {"payload_alive": False, "shim_alive": False, "tree_alive": False}
    return replace(running(**dead), **changes)


def session(record: AttemptRecord, pid: int = 900, state: SessionState = SessionState.DETACHED) -> Session:
    assert record.session is not None
    return Session(pid, record.session, state)


def outputs(*fingerprints: str, newest_at: float | None = NOW - 400) -> OutputFacts:
    paths = tuple(f"out{i}.json" for i, print_ in enumerate(fingerprints) if print_)
    return OutputFacts(fingerprints, newest_at if any(fingerprints) else None, paths)


NONE_YET = outputs("")


def attempt(number: int = 1, key: str = "p/a", **changes: Any) -> AttemptRecord:
    """One that was launched in a screen a while ago."""
    plain = AttemptRecord(
        job=key,
        number=number,
        generation="g1",
        host=HOST,
        launcher="screen",
        session=session_name(AttemptRef(key, number)),
        gpus=(),
        gpu_indices=(),
        intended_at=NOW - 101,
        revision="rev1",
        outputs_before=("",),
        launched=True,
    )
    return replace(plain, **changes)


def verdict(reason: Reason, status: JobStatus = JobStatus.FAILED_OTHER, at: float = NOW - 50) -> Verdict:
    return Verdict(status, reason, f"because of {reason}", at)


def over(number: int = 1, reason: Reason = Reason.CODE_ERROR, key: str = "p/a", **changes: Any) -> AttemptRecord:
    """A settled and released attempt that failed with no further try."""
    status = JobStatus.FAILED_OOM if reason is Reason.GPU_OUT_OF_MEMORY else JobStatus.FAILED_OTHER
    plain = {"verdict": verdict(reason, status), "ended_at": NOW - 50, "released": True}
    return attempt(number, key, **{**plain, **changes})


def record(*attempts: AttemptRecord, key: str = "p/a", **changes: Any) -> JobRecord:
    return replace(JobRecord(attempts[0].job if attempts else key, attempts), **changes)


def completed(key: str, generation: str = "g1") -> JobRecord:
    done = Verdict(JobStatus.COMPLETED, Reason.SUCCEEDED, "exit 0", NOW - 10)
    return JobRecord(key, (), completed=done, generation=generation)


def ledger(*records: JobRecord, **changes: Any) -> Ledger:
    """Open attempts follow from the records, as in the store."""
    still_open = {a.path: a for r in records for a in r.attempts if a.verdict is None or not a.released}
    in_vain = {r.key: None for r in records if was_set_up_in_vain(r)}
    jobs = {r.key: r for r in records}
    return replace(Ledger(1, jobs, open_attempts=still_open, set_up_in_vain=in_vain), **changes)


def view(**changes: Any) -> HostView:
    """A host where all probes answered and nothing runs."""
    plain = HostView(HOST, NOW, BOOT, screen_installed=True)
    return replace(plain, **changes)


def seen(spec: Desired, **changes: Any) -> HostView:
    """A host where the outputs and preconditions of all jobs were looked at: no output is there yet."""
    wanted = {j.key: outputs(*("" for _ in j.outputs)) for j in spec.jobs() if j.outputs}
    given: Mapping[str, OutputFacts | Unknown] = changes.pop("outputs", {})
    return view(**{"asked": frozenset(spec.index), "outputs": {**wanted, **given}, **changes})


def observed(*views: HostView) -> Observed:
    return Observed({v.host: v for v in views})


def blind(message: str = "it does not answer") -> Observed:
    return Observed({HOST: Unknown(message)})


def launches(plan: Plan) -> list[str]:
    return [a.job for a in plan.actions if isinstance(a, Launch)]


def kills(plan: Plan) -> list[Kill]:
    return [a for a in plan.actions if isinstance(a, Kill)]


def settles(plan: Plan) -> list[Settle]:
    return [a for a in plan.actions if isinstance(a, Settle)]


def the_action(plan: Plan) -> Action:
    """The only action of a plan."""
    assert len(plan.actions) == 1, [f"{a.kind} {a.path}" for a in plan.actions]
    return plan.actions[0]


def needs_file(path: str) -> Precondition:
    return Precondition(PreconditionKind.FILE_EXISTS, path)
