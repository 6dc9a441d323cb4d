"""What the attempt folders of a job tell, on whichever host they are."""

from __future__ import annotations

from reconciler.host.reply import call
from reconciler.loop.world import World
from reconciler.model.ledger import JobRecord
from reconciler.store.rebuild import job_from_texts


class RecordsUnread(Exception):
    """The host gave no answer, or none that can be read; the text says why."""


def records_on(world: World, host: str, job: str) -> JobRecord | None:
    """The record of a job from its attempt folders on a host; None where it has none. Raises RecordsUnread."""
    if world.is_local(host):
        return world.state.rebuild_job(job)
    reply = call(world.agent_for(host), {"op": "records", "job": job}, world.patience_s)
    if "error" in reply:
        raise RecordsUnread(str(reply["error"]))
    view = world.views.get(host)
    ahead_s = view.clock_ahead_s if view is not None else 0.0
    try:
        return job_from_texts(job, host, reply["records"], ahead_s)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RecordsUnread(f"the answer of {host} about {job} cannot be read") from None
