"""One look at everything, changing nothing: what `exq diff` shows and what a tick acts on."""

from __future__ import annotations

from dataclasses import replace

from reconciler.host.observe import observe
from reconciler.loop.world import World
from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.model.ledger import Ledger, Request
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired
from reconciler.planner.draft import host_of
from reconciler.planner.needs import Waiting, needs, waiting_jobs
from reconciler.planner.plan import plan as make_plan
from reconciler.planner.requests import with_requests
from reconciler.planner.same import same_facts

UNREACHABLE = "exq drives only the machine it runs on; on {host} itself, say so: EXQ_HOST={host} exq run"


def look(world: World, *, full: bool = True, results: bool = False) -> Snapshot:
    """Load the specs, observe, plan. A short look (`full=False`) asks only for what an ended attempt changes.

    `results`: find the outputs of completed jobs too, which no decision needs, for those who show them."""
    now = world.clock()
    last = world.last
    if last is not None and not full:
        desired = last.desired
    else:
        desired = world.specs.load(settle=world.audit is not None, now=now)
    requests = tuple(request for request in world.state.pending() if not world.ledger.is_accepted(request.id))
    ledger = with_requests(world.ledger.ledger(), requests)
    if requests or (last is not None and last.requests):
        world.waiting = None  # its versions do not tell of requests that are not in the ledger yet
    observed = _observe(world, desired, ledger, full=full, results=results)
    now = max(now, world.clock())
    if last is not None and _holds(last, now, desired, observed, ledger, requests):
        world.last = replace(last, now=now, observed=observed)
    else:
        plan = make_plan(desired, observed, ledger, now)
        world.last = Snapshot(now, desired, observed, ledger, plan, requests)
    world.turn += 1 if full else 0
    return world.last


def _holds(
    last: Snapshot,
    now: float,
    desired: Desired,
    observed: Observed,
    ledger: Ledger,
    requests: tuple[Request, ...],
) -> bool:
    """The last plan is still what planning anew would give: same wishes, same facts, and no deadline has come."""
    plan = last.plan
    due = last.now > now or (plan.wake_at is not None and plan.wake_at <= now)
    return (
        not (plan.actions or plan.milestones or plan.wanted or plan.released or due)
        and desired is last.desired
        and ledger.version == last.ledger.version
        and requests == last.requests
        and same_facts(last.observed, observed)
    )


def _observe(world: World, desired: Desired, ledger: Ledger, *, full: bool, results: bool) -> Observed:
    last = world.last
    memory = last.observed if last is not None else None
    # Of new specs nothing is known yet, so all that they ask for is looked at once.
    known = memory if last is not None and last.desired.version == desired.version else None
    waiting = _waiting(world, desired, ledger)
    views: dict[str, HostView | Unknown] = {}
    for host in world.hosts(desired):
        agent = world.agent_for(host)
        if agent is None:
            views[host] = Unknown(UNREACHABLE.format(host=host))
            continue
        wanted = last.plan.wanted if last is not None else ()
        asked = needs(desired, ledger, known, host, full=full, turn=world.turn, wanted=wanted, waiting=waiting)
        if results:
            here = (p for p in desired.projects.values() if host_of(p) == host)
            asked = replace(asked, outputs={job.key: job for p in here for job in p.jobs() if job.outputs})
        view = observe(agent, host, asked, memory.hosts.get(host) if memory is not None else None, desired.index)
        views[host] = replace(view, host=host) if isinstance(view, HostView) else view
    return Observed(views)


def _waiting(world: World, desired: Desired, ledger: Ledger) -> dict[str, Waiting]:
    versions = (desired.version, ledger.version)
    if world.waiting is None or world.waiting[0] != versions:
        world.waiting = (versions, waiting_jobs(desired, ledger))
    return world.waiting[1]
