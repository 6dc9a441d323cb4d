"""Whether a new look at the hosts tells a plan anything new: if not, the old plan still holds."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any

from reconciler.model.facts import DiskFacts, Gpu, HostView, Observed, Unknown

_PLENTY_MIB = 64
"""With this much free disk no decision depends on how much it is."""
_APART = ("gpus", "disk")
_NO_NEWS = ("observed_at", "booted_at", "asked", "round_trip_s", "markers")
_telling = attrgetter(*(field.name for field in fields(HostView) if field.name not in (*_APART, *_NO_NEWS)))
_telling_of_gpu = attrgetter(*(field.name for field in fields(Gpu) if field.name != "utilization_percent"))


def same_facts(before: Observed, now: Observed) -> bool:
    """Nothing that a decision or its message rests on has changed: all but times, load and room to spare."""
    if before.hosts.keys() != now.hosts.keys():
        return False
    return all(_same(before.hosts[name], view) for name, view in now.hosts.items())


def _same(before: HostView | Unknown, now: HostView | Unknown) -> bool:
    if isinstance(before, Unknown) or isinstance(now, Unknown):
        return before == now
    return bool(
        _gpus(before.gpus) == _gpus(now.gpus)
        and _disk(before.disk) == _disk(now.disk)
        and _telling(before) == _telling(now)
    )


def _gpus(gpus: tuple[Gpu, ...] | Unknown | None) -> Any:
    return [_telling_of_gpu(gpu) for gpu in gpus] if isinstance(gpus, tuple) else gpus


def _disk(disk: DiskFacts | Unknown | None) -> Any:
    if not isinstance(disk, DiskFacts):
        return disk
    return min(disk.free_mib, _PLENTY_MIB), disk.writable, disk.message
