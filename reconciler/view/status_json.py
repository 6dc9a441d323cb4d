"""`exq status --json`: `exq.status/v1`. Times are ISO 8601 UTC, memory is MiB, GPUs are indices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.model.enums import JobStatus
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.diff import error_json
from reconciler.view.estimate import any_runs, phase_left_s
from reconciler.view.hosts_json import host_json
from reconciler.view.source import file_json, source_json
from reconciler.view.times import iso_utc
from reconciler.view.transfers import transfer_json


def status_json(snapshot: Snapshot, daemon: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Where everything stands. `daemon` is passed through: the loop that runs, or None."""
    moves = daemon is not None or any_runs(snapshot)
    states = [state for state in snapshot.plan.states.values() if not look.is_analysis(state.job)]
    return {
        "schema": "exq.status/v1",
        "as_of": iso_utc(snapshot.now),
        "specs_rev": snapshot.desired.revision,
        "source": source_json(snapshot.desired.source),
        "files": [file_json(file) for file in snapshot.desired.files],
        "settled": snapshot.plan.settled,
        "jobs": [job_json(snapshot, state) for state in states],
        "phases": [_phase(snapshot, phase, estimate=moves) for phase in snapshot.plan.phases],
        "hosts": [host_json(snapshot, name) for name in look.hosts_of(snapshot)],
        "transfers": [transfer_json(transfer) for transfer in snapshot.plan.transfers],
        "requests": [
            {"id": r.id, "kind": str(r.kind), "target": r.target, "by": r.by, "at": iso_utc(r.at)}
            for r in snapshot.requests
        ],
        "paused": sorted(snapshot.ledger.paused),
        "unknown": list(snapshot.plan.unknown),
        "alerts": list(snapshot.plan.alerts),
        "errors": [error_json(error) for error in snapshot.desired.errors],
        "daemon": dict(daemon) if daemon is not None else None,
    }


def job_json(snapshot: Snapshot, state: JobState) -> dict[str, Any]:
    """One job. `attempts` counts those that ran user code; the rest is of the newest attempt.

    `session` and `pid` are null unless it runs: neither means anything afterwards."""
    attempt = look.record_of(snapshot, state.job).last
    running = state.status is JobStatus.RUNNING
    ended, exit_code = look.end_of(snapshot, attempt) if attempt else (None, None)
    completed = look.completed_at(snapshot, state.job) if state.status is JobStatus.COMPLETED else None
    return {
        "key": state.job,
        "id": state.job.partition("/")[2],
        "project": state.project,
        "phase": state.phase,
        "status": str(state.status),
        "reason": str(state.reason),
        "message": state.message,
        "until": iso_utc(state.until),
        "drift": state.drift,
        "attempts": look.attempts_ran(snapshot, state.job),
        "host": look.host_of(snapshot, state.job),
        "gpus": list(attempt.gpu_indices) if attempt else [],
        "session": attempt.session if attempt and running else None,
        "pid": look.payload_pid(snapshot, attempt) if attempt and running else None,
        "started": iso_utc(look.started_at(snapshot, attempt)) if attempt else None,
        "ended": iso_utc(ended),
        "completed": iso_utc(completed),
        "exit_code": exit_code,
        "output": _output_paths(snapshot, state),
    }


def _output_paths(snapshot: Snapshot, state: JobState) -> list[str]:
    facts = look.outputs_of(snapshot, state.job)
    return list(facts.paths) if facts is not None else []


def _phase(snapshot: Snapshot, phase: PhaseState, *, estimate: bool) -> dict[str, Any]:
    left_s = phase_left_s(snapshot, phase.project, phase.phase) if estimate else None
    return {
        "project": phase.project,
        "name": phase.phase,
        "depends_on": list(phase.depends_on),
        "open": phase.open,
        "counts": {str(status): phase.counts.get(status, 0) for status in JobStatus},
        "total": look.total(phase),
        "waiting_on": phase.waiting_on,
        "eta_s": None if left_s is None else round(left_s, 1),
    }
