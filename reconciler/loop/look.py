"""One look at everything, changing nothing: what `exq diff` shows and what a tick acts on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from reconciler.host.observe import ask, view_of
from reconciler.loop.world import World, news_of
from reconciler.model.enums import ActionKind, RequestKind
from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.model.ledger import Ledger, Request
from reconciler.model.needs import Needs
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST, Desired
from reconciler.planner.adopt import all_taken_in, runs_unfollowed
from reconciler.planner.needs import OpenJobs, index_of, needs, open_jobs
from reconciler.planner.plan import plan as make_plan
from reconciler.planner.requests import with_requests
from reconciler.planner.same import same_facts
from reconciler.store.collector import without_collection

NOT_ASKED = Unknown("it was not looked at this time", quiet=True)
STALE_S = 45.0
"""An answer to what was asked longer ago than this is too old to act on."""
QUIET_S = 15.0
"""How long a host may take to answer before that is news."""


@without_collection
def look(world: World, *, full: bool = True, results: bool = False, woken: Collection[str] | None = None) -> Snapshot:
    """Load the specs, observe, plan. A short look (`full=False`) asks only for what an ended attempt changes.

    `woken`: in a short look, the hosts to ask; None: all. `results`: find the outputs of completed jobs too, which no
    decision needs, for those who show them."""
    now = world.clock()
    last = world.last
    # what is not adopted is seen by a full look alone: in a short one its job and its GPUs would seem free
    full = full or (last is not None and _knows_of_others(last))
    requests = tuple(request for request in world.state.pending() if not world.ledger.is_accepted(request.id))
    if last is not None and not full:
        desired = last.desired
    else:
        for request in requests:
            if request.kind is RequestKind.ACCEPT_SOURCE and world.audit is None:
                world.accept_source(request.target)  # those who only look see what the loop will do
        desired = world.specs.load(settle=world.audit is not None, now=now)
    known = world.ledger.ledger()
    ledger = with_requests(known, [request for request in requests if request.kind is not RequestKind.FORGET_HOST])
    if requests or (last is not None and last.requests):
        world.open_jobs = None  # its versions do not tell of requests that are not in the ledger yet
    observed = _observe(world, desired, ledger, full=full, results=results, woken=woken)
    ledger = with_requests(known, [request for request in requests if not _is_for_silence(world, observed, request)])
    now = max(now, world.clock())
    if last is not None and _holds(last, now, desired, observed, ledger, requests):
        world.last = replace(last, now=now, observed=observed)
    else:
        plan = make_plan(desired, observed, ledger, now)
        world.last = Snapshot(now, desired, observed, ledger, plan, requests)
    world.turn += 1 if full else 0
    return world.last


def _knows_of_others(last: Snapshot) -> bool:
    """There are attempts that the ledger does not follow, or did not when it was looked."""
    if any(action.kind is ActionKind.ADOPT for action in last.plan.actions):
        return True
    views = last.observed.hosts.values()
    return any(isinstance(view, HostView) and view.strays and runs_unfollowed(last.ledger, view) for view in views)


def _is_for_silence(world: World, observed: Observed, request: Request) -> bool:
    """It gives up a host that has not been found silent in this look: then nothing is given up."""
    return request.kind is RequestKind.FORGET_HOST and not gives_no_answer(world, observed, request.target)


def gives_no_answer(world: World, observed: Observed, host: str) -> bool:
    """The host was asked in vain: one that was not asked, or whose answer is on its way, is no such host."""
    view = observed.hosts.get(host, NOT_ASKED)
    return isinstance(view, Unknown) and not view.quiet and host not in world.asked


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
        not (plan.actions or plan.milestones or plan.wanted or plan.released or plan.pins or due)
        and desired is last.desired
        and ledger.version == last.ledger.version
        and requests == last.requests
        and same_facts(last.observed, observed)
    )


def _observe(
    world: World, desired: Desired, ledger: Ledger, *, full: bool, results: bool, woken: Collection[str] | None
) -> Observed:
    """Ask all hosts side by side, then gather what has come when the patience ends."""
    jobs = _open_jobs(world, desired, ledger)
    hosts = list(world.hosts(desired))
    to_ask = [host for host in hosts if full or woken is None or _name(world, host) in woken]
    # this machine answers at once, so it is asked while the others are busy
    for host in sorted(to_ask, key=world.is_local):
        if host not in world.asked or abs(world.clock() - world.asked[host].at) > STALE_S:
            asked = _needs(world, desired, ledger, host, jobs, full=full)
            if results:
                here = (p for p in desired.projects.values() if p.is_on(host))
                asked = replace(asked, outputs={job.key: job for p in here for job in p.jobs() if job.outputs})
            world.asked[host] = ask(world.agent_for(host), host, asked, world.clock())
    until = None if world.patience_s is None else world.monotonic() + world.patience_s
    return Observed(
        {host: _answer(world, desired, host, until) if host in to_ask else _not_asked(world, host) for host in hosts}
    )


def _not_asked(world: World, host: str) -> Unknown:
    before = world.last.observed.hosts.get(host) if world.last is not None else None
    again_at = before.again_at if isinstance(before, Unknown) else None
    return replace(NOT_ASKED, again_at=again_at, untold=_is_untold(world, host))


def _is_untold(world: World, host: str) -> bool:
    """It may have attempts that the ledger does not know: it is about to answer, or only a lost ledger knew them."""
    seen = world.seen.get(host)
    told_to = seen.told_to if seen is not None else ""
    if host in world.indexed or (told_to and told_to == world.ledger.identity):
        return False
    return bool(told_to) or host not in world.heard


def _name(world: World, host: str) -> str:
    return LOCAL_HOST if world.is_local(host) else host


def _needs(world: World, desired: Desired, ledger: Ledger, host: str, jobs: OpenJobs, *, full: bool) -> Needs:
    last = world.last
    full = full or host not in world.views
    # Of new specs nothing is known yet, so all that they ask for is looked at once.
    known = host in world.views and last is not None and last.desired.version == desired.version
    first_contact = full and host not in world.indexed and not world.is_local(host)
    asked = needs(
        desired,
        ledger,
        Observed(dict(world.views)) if known else None,
        host,
        full=full,
        turn=world.turn,
        wanted=last.plan.wanted if last is not None else (),
        jobs=jobs,
    )
    return replace(asked, index=index_of(desired, host)) if first_contact else asked


def _answer(world: World, desired: Desired, host: str, until: float | None) -> HostView | Unknown:
    """What a host says, if it has said it in time. One that is late is not waited for again."""
    asked = world.asked[host]
    silent = asked.waited or (world.last is not None and host not in world.views)
    patience_s = None if until is None else 0.0 if silent else max(0.0, until - world.monotonic())
    answer = asked.reply.wait(patience_s)
    now = world.clock()
    if answer is None:
        if not asked.waited:
            world.asked[host] = replace(asked, waited=True)
            asked.reply.on_done(lambda: world.wake(news_of(host)))
        quiet = abs(now - asked.at) < QUIET_S
        return Unknown("it has not answered yet", quiet=quiet, untold=_is_untold(world, host))
    del world.asked[host]
    world.heard.add(host)
    view = view_of(asked, answer, now, world.views.get(host), desired.index, remote=not world.is_local(host))
    if isinstance(view, Unknown):
        world.views.pop(host, None)  # what was known before an outage says little after it
        return replace(view, untold=_is_untold(world, host))
    if "index" in answer and all_taken_in(world.ledger.ledger(), view):
        world.indexed.add(host)
    world.views[host] = view
    return view


def _open_jobs(world: World, desired: Desired, ledger: Ledger) -> OpenJobs:
    versions = (desired.version, ledger.version)
    if world.open_jobs is None or world.open_jobs[0] != versions:
        world.open_jobs = (versions, open_jobs(desired, ledger))
    return world.open_jobs[1]
