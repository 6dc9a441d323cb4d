"""One look at everything, changing nothing: what `exq diff` shows and what a tick acts on."""

from __future__ import annotations

from dataclasses import replace

from reconciler.host.observe import observe
from reconciler.loop.world import World
from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.model.ledger import Ledger
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired
from reconciler.planner.draft import host_of
from reconciler.planner.needs import needs
from reconciler.planner.plan import plan
from reconciler.planner.requests import with_requests
from reconciler.store.requests import pending

UNREACHABLE = "exq drives only the machine it runs on; run exq on {host} itself, or take `ssh: {host}` out"


def look(world: World, *, full: bool = True, results: bool = False) -> Snapshot:
    """Load the specs, observe, plan. A short look (`full=False`) asks only for what an ended attempt changes.

    `results`: find the outputs of completed jobs too, which no decision needs, for those who show them."""
    now = world.clock()
    if full or world.desired is None:
        world.desired = world.specs.load(settle=world.audit is not None, now=now)
    desired = world.desired
    requests = tuple(request for request in pending(world.paths) if not world.ledger.is_accepted(request.id))
    ledger = with_requests(world.ledger.ledger(), requests)
    observed = _observe(world, desired, ledger, full=full, results=results)
    now = max(now, world.clock())
    return Snapshot(now, desired, observed, ledger, plan(desired, observed, ledger, now), requests)


def _observe(world: World, desired: Desired, ledger: Ledger, *, full: bool, results: bool) -> Observed:
    views: dict[str, HostView | Unknown] = {}
    for host in world.hosts(desired):
        agent = world.agent_for(host)
        if agent is None:
            views[host] = Unknown(UNREACHABLE.format(host=host))
            continue
        previous = world.memory.hosts.get(host) if world.memory is not None else None
        asked = needs(desired, ledger, world.memory, host, full=full, turn=world.turn)
        if results:
            here = (p for p in desired.projects.values() if host_of(p) == host)
            asked = replace(asked, outputs={job.key: job for p in here for job in p.jobs() if job.outputs})
        view = observe(agent, host, asked, previous)
        views[host] = replace(view, host=host) if isinstance(view, HostView) else view
    observed = Observed(views)
    world.memory = observed
    world.turn += 1 if full else 0
    return observed
