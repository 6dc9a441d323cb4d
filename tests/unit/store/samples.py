"""Records, and attempt folders as the agent and the shim leave them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.ledger import AttemptRecord, JobRecord, ProjectRun, Verdict
from reconciler.store.paths import StatePaths

NOW = 1_700_000_000.0
SUCCEEDED = Verdict(JobStatus.COMPLETED, Reason.SUCCEEDED, "exit 0", NOW + 9)
OUT_OF_MEMORY = Verdict(JobStatus.FAILED_OOM, Reason.GPU_OUT_OF_MEMORY, "CUDA out of memory", NOW + 9)


def attempt(job: str, number: int = 1, verdict: Verdict | None = None, **changes: object) -> AttemptRecord:
    """An attempt on one GPU; without a verdict it is open."""
    plain = AttemptRecord(
        job=job,
        number=number,
        generation="g1",
        host="local",
        launcher="screen",
        session=f"exq.{job.replace('/', '.')}.{number}",
        gpus=("GPU-a",),
        gpu_indices=(3,),
        intended_at=NOW,
        revision="3f2c1d9",
        outputs_before=("",),
        daemon="d1",
        launched=True,
        verdict=verdict,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def open_job(key: str) -> JobRecord:
    """A job whose first attempt runs."""
    return JobRecord(key, (attempt(key, pid=4711, started_at=NOW + 1),))


def done_job(key: str) -> JobRecord:
    """A job that failed once, then completed."""
    first = attempt(key, 1, OUT_OF_MEMORY, released=True, retry_at=NOW + 60, exit_code=1, ended_at=NOW + 8)
    last = attempt(key, 2, SUCCEEDED, released=True, exit_code=0, ended_at=NOW + 8)
    return JobRecord(key, (first, last), SUCCEEDED, "g1")


def run_of(project: str, number: int = 1) -> ProjectRun:
    """A run that has not settled."""
    return ProjectRun(project, number, NOW, f"/w/{project}/experiment_queue/{number}")


def put_json(path: Path, data: object, at: float | None = None) -> None:
    """A JSON file, changed at `at`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data) + "\n")
    if at is not None:
        os.utime(path, (at, at))


def put_attempt(paths: StatePaths, record: AttemptRecord, verdict: Verdict | None = None, **more: object) -> Path:
    """The folder of an attempt that has started; with a verdict it has ended and was settled."""
    folder = paths.attempt(record.path)
    intent = {
        name: getattr(record, name)
        for name in ("job", "number", "generation", "host", "launcher", "session", "gpus", "gpu_indices")
    }
    intent |= {name: getattr(record, name) for name in ("intended_at", "revision", "outputs_before", "daemon")}
    put_json(folder / "intent.json", intent)
    put_json(folder / "started.json", {"boot_id": "b", "pid": 4711, "start_ticks": 5}, NOW + 1)
    if verdict is not None:
        put_json(folder / "exit.json", {"code": 1, "uptime_s": 7.5, "duration_s": 7}, NOW + 8)
        words = {"status": verdict.status, "reason": verdict.reason, "message": verdict.message, "at": verdict.at}
        put_json(folder / "verdict.json", {**words, "generation": record.generation, **more})
    return folder
