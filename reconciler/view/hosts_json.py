"""Hosts for programs: `exq hosts --json` (`exq.hosts/v1`), and `.hosts[]` of `exq status --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.model.facts import HostView, Unknown
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.look import GpuUse
from reconciler.view.times import iso_utc


def hosts_json(snapshot: Snapshot, names: Sequence[str]) -> dict[str, Any]:
    """The hosts of these names. Times are UTC, memory is MiB."""
    return {
        "schema": "exq.hosts/v1",
        "as_of": iso_utc(snapshot.now),
        "hosts": [host_json(snapshot, name) for name in names],
    }


def host_json(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """A host. What is not known of it is null; `message` says why it does not answer, `unknown` lists what failed."""
    view = snapshot.observed.hosts.get(name) or Unknown("it was not looked at")
    open_there = look.open_on(snapshot, name)
    shared: dict[str, Any] = {
        "name": name,
        "reachable": isinstance(view, HostView),
        "message": view.message if isinstance(view, Unknown) else None,
        "last_answer_at": iso_utc(look.heard_at(snapshot, name)),
        "running": [attempt.path for attempt in open_there if attempt.verdict is None],
        "unreleased": [attempt.path for attempt in open_there if attempt.verdict is not None],
    }
    if isinstance(view, Unknown):
        return {**shared, **dict.fromkeys(_FACTS), "unknown": [view.message]}
    return {**shared, **_facts(snapshot, view)}


_FACTS = (
    "observed_at",
    "round_trip_s",
    "clock_ahead_s",
    "user",
    "state",
    "boot_id",
    "booted_at",
    "gpus",
    "sessions",
    "disk_free_mib",
)


def _facts(snapshot: Snapshot, view: HostView) -> dict[str, Any]:
    uses = look.gpu_uses(snapshot, view.host, look.free_threshold_mib(snapshot))
    probes = (view.sessions, view.gpus, view.disk)
    return {
        "observed_at": iso_utc(view.observed_at),
        "round_trip_s": None if view.round_trip_s is None else round(view.round_trip_s, 6),
        "clock_ahead_s": round(view.clock_ahead_s, 3),
        "user": view.user or None,
        "state": view.state or None,
        "boot_id": view.boot_id,
        "booted_at": iso_utc(view.booted_at),
        "gpus": None if isinstance(uses, Unknown) else [_gpu(use) for use in uses],
        "sessions": len(view.sessions) if isinstance(view.sessions, tuple) else None,
        "disk_free_mib": None if isinstance(view.disk, Unknown) else view.disk.free_mib,
        "unknown": [probe.message for probe in probes if isinstance(probe, Unknown)],
    }


def _gpu(use: GpuUse) -> dict[str, Any]:
    gpu = use.gpu
    users: list[dict[str, Any]] = [{"attempt": path} for path in use.ours]
    users += [{"user": p.user, "pid": p.pid, "used_mib": p.used_mib, "command": p.command} for p in use.others]
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "used_mib": gpu.used_mib,
        "total_mib": gpu.total_mib,
        "utilization_percent": gpu.utilization_percent,
        "users": users,
    }
