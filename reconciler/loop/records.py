"""What the attempt folders of a job tell, on whichever host they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.host.reply import send
from reconciler.loop.world import World
from reconciler.model.ledger import JobRecord
from reconciler.store.rebuild import job_from_texts


class RecordsUnread(Exception):
    """The host gave no answer, or none that can be read; the text says why."""


AskedRecords = Callable[[float | None], JobRecord | None]
"""Waits so long for the record of a job; None where the host has none of it. Raises RecordsUnread."""


def ask_records(world: World, host: str, job: str) -> AskedRecords:
    """Ask for the record of a job from its attempt folders on a host, without waiting."""
    if world.is_local(host):
        return lambda _patience_s: world.state.rebuild_job(job)
    reply = send(world.agent_for(host), {"op": "records", "job": job})
    return lambda patience_s: _record(world, host, job, reply.wait(patience_s))


def _record(world: World, host: str, job: str, reply: dict[str, Any] | None) -> JobRecord | None:
    if reply is None:
        raise RecordsUnread(f"{host} has not answered yet")
    if "error" in reply:
        raise RecordsUnread(str(reply["error"]))
    view = world.views.get(host)
    ahead_s = view.clock_ahead_s if view is not None else 0.0
    try:
        return job_from_texts(job, host, reply["records"], ahead_s)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RecordsUnread(f"the answer of {host} about {job} cannot be read") from None
