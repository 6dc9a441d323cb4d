"""Small snapshots to ask things of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import Observed
from reconciler.model.ledger import JobRecord, Ledger
from reconciler.model.plan import JobState, Plan
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired, Job, Project, SpecFile
from tests.unit import factories as base

NOW = 1_000_000.0


def job(key: str) -> Job:
    project, _, job_id = key.partition("/")
    return base.job(job_id, project)


def project(name: str, jobs: Sequence[Job]) -> Project:
    return base.project(*jobs, name=name, source=f"specs/{name}.yaml")


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
    files = tuple(SpecFile(each.source, "d") for each in projects.values())
    return Snapshot(
        now=NOW,
        desired=Desired("v", "r", projects, files, index=jobs),
        observed=Observed({}),
        ledger=Ledger(jobs=records or {}, paused=frozenset(paused)),
        plan=Plan("p", (), {each.job: each for each in states}),
    )
