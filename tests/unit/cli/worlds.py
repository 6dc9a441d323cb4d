"""Small snapshots to ask things of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.model.enums import JobStatus, LauncherKind, Reason, SuccessRule, Waves
from reconciler.model.facts import Observed
from reconciler.model.ledger import JobRecord, Ledger
from reconciler.model.plan import JobState, Plan
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST, Desired, Job, Phase, Placement, Project, RetryPolicy, SpecFile

NOW = 1_000_000.0


def job(key: str) -> Job:
    project, _, job_id = key.partition("/")
    return Job(
        key=key,
        project=project,
        id=job_id,
        phase="main",
        cmd="true",
        cwd="/",
        env={},
        conda=None,
        conda_hook=None,
        outputs=(),
        preconditions=(),
        params={},
        gpus=0,
        generation="g1",
        source=f"specs/{project}.yaml:1:1",
    )


def project(name: str, jobs: Sequence[Job]) -> Project:
    return Project(
        name=name,
        source=f"specs/{name}.yaml",
        cwd="/",
        placements=(Placement(LOCAL_HOST),),
        gpu_pool=None,
        max_parallel=1,
        gpu_free_threshold_mib=500,
        oom_retry=RetryPolicy(1, 3),
        failure_retry=RetryPolicy(1, 1),
        waves=Waves.ROLLING,
        success=SuccessRule.EXIT_AND_OUTPUT,
        linger_s=300,
        launcher=LauncherKind.PROCESS,
        analyze_on_complete=None,
        phases=(Phase("main", (), tuple(jobs)),),
    )


def state(key: str, status: JobStatus, reason: Reason, attempt: int = 0) -> JobState:
    return JobState(key, key.partition("/")[0], "main", status, reason, f"message of {reason}", attempt=attempt)


def snapshot(
    states: Sequence[JobState],
    *,
    records: Mapping[str, JobRecord] | None = None,
    paused: Sequence[str] = (),
    orphans: Sequence[str] = (),
) -> Snapshot:
    """All states are of desired jobs but the orphans."""
    jobs = {each.job: job(each.job) for each in states if each.job not in orphans}
    names = dict.fromkeys(each.project for each in states if each.job not in orphans)
    projects = {name: project(name, [each for each in jobs.values() if each.project == name]) for name in names}
    files = tuple(SpecFile(f"specs/{name}.yaml", "d") for name in names)
    return Snapshot(
        now=NOW,
        desired=Desired("v", "r", projects, files, index=jobs),
        observed=Observed({}),
        ledger=Ledger(jobs=records or {}, paused=frozenset(paused)),
        plan=Plan("p", (), {each.job: each for each in states}),
    )
