"""Whether a new look at the hosts tells a plan anything new: if not, the old plan still holds."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model.facts import DiskFacts, HostView, Observed, Unknown


def same_facts(before: Observed, now: Observed) -> bool:
    """Nothing that a decision or its message rests on has changed: all but times, load and room to spare."""
    if before.hosts.keys() != now.hosts.keys():
        return False
    return all(_telling(before.hosts[name]) == _telling(view) for name, view in now.hosts.items())


def _telling(view: HostView | Unknown) -> HostView | Unknown:
    if isinstance(view, Unknown):
        return view
    gpus = view.gpus
    if isinstance(gpus, tuple):
        gpus = tuple(replace(gpu, utilization_percent=None) for gpu in gpus)
    disk = view.disk
    if isinstance(disk, DiskFacts) and disk.free_mib >= _PLENTY_MIB:
        disk = replace(disk, free_mib=_PLENTY_MIB)
    return replace(view, observed_at=0.0, booted_at=None, asked=frozenset(), gpus=gpus, disk=disk)


_PLENTY_MIB = 64
"""With this much free disk no decision depends on how much it is."""
