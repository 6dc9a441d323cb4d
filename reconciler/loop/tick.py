"""One tick: carry out one plan. Intent is durable before an effect, its outcome after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from reconciler.host import enact
from reconciler.host.reply import HostAgent
from reconciler.loop.done import Done
from reconciler.loop.look import gives_no_answer, look
from reconciler.loop.milestones import begin_runs, settle_runs
from reconciler.loop.moved import take_moved
from reconciler.loop.record import Journal, audit_actions, audit_outcomes, audit_plan, audit_requests, audit_specs
from reconciler.loop.records import AskedRecords, RecordsUnread, ask_records
from reconciler.loop.snapshots import audit_pins, keep_snapshots, origin_of
from reconciler.loop.verdicts import repeat_far_verdicts, repeat_verdicts
from reconciler.loop.world import World
from reconciler.model.enums import ActionKind, RequestKind
from reconciler.model.facts import HostView, Observed
from reconciler.model.ledger import JobRecord, Request
from reconciler.model.plan import Action, Kill, Launch, Settle
from reconciler.model.snapshot import Snapshot
from reconciler.planner.requests import apply_requests
from reconciler.planner.transitions import (
    mark_kill,
    mark_kill_intended,
    mark_launched,
    mark_released,
    settle,
    with_attempt,
)
from reconciler.store.collector import without_collection
from reconciler.store.errors import StoreError
from reconciler.store.failpoint import failpoint
from reconciler.store.seen import seen_now, with_told

PROBLEMS_SHOWN_MAX = 3

ENACT_S = 0.05
"""How much longer a tick waits for answers for each thing that it asks for."""


class Patience:
    """How long a tick still waits for answers, all together."""

    def __init__(self, whole_s: float | None, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until = None if whole_s is None else monotonic() + whole_s

    def left_s(self) -> float | None:
        """None: as long as it takes."""
        return None if self._until is None else max(0.0, self._until - self._monotonic())


@without_collection
def tick(world: World, *, full: bool = True, woken: Collection[str] | None = None) -> tuple[Snapshot, tuple[Done, ...]]:
    """Look, then do what the plan says. A full disk stops the doing, not the loop; it is tried again."""
    try:
        world.stalled = False
        return step(world, full=full, woken=woken)
    except StoreError as error:
        world.stalled = True
        audit_plan(world, alert=str(error))
        snapshot = look(world, full=full, woken=woken)
        return snapshot, ()


def step(
    world: World,
    *,
    full: bool = True,
    woken: Collection[str] | None = None,
    agreed: Callable[[Snapshot], bool] | None = None,
) -> tuple[Snapshot, tuple[Done, ...]]:
    """Look, and carry out the very plan of this look if it is `agreed` to. Raises StoreError."""
    if world.unwritten:
        repeat_verdicts(world)
    take_requests(world)
    take_moved(world)
    snapshot = look(world, full=full, woken=woken)
    if take_forgotten_hosts(world, snapshot):
        snapshot = look(world, full=full, woken=woken)
    if agreed is not None and not agreed(snapshot):
        return snapshot, ()
    snapshot = _with_settings_notices(world, _with_transfer_problems(world, snapshot))
    audit_specs(world, snapshot)
    _keep_seen(world, snapshot)
    done = carry_out(world, snapshot)
    repeat_far_verdicts(world, snapshot)
    keep_snapshots(world, snapshot)
    if world.moving is not None:
        world.moving.want(snapshot.plan.transfers)
    return snapshot, done


def _keep_seen(world: World, snapshot: Snapshot) -> None:
    """Since when each other machine answers or not, for the verbs, whose own connections know no history; and which
    have told this ledger of all their attempts, for the case that it is lost."""
    far = {host: view for host, view in snapshot.observed.hosts.items() if not world.is_local(host)}
    seen = with_told(seen_now(Observed(far), world.seen, snapshot.now), world.indexed, world.ledger.identity)
    if seen is not world.seen:
        world.seen = seen
        world.state.keep_seen(seen)


def _with_transfer_problems(world: World, snapshot: Snapshot) -> Snapshot:
    """Why outputs do not get where they are wanted, among what a person should know."""
    problems = world.moving.problems() if world.moving is not None else {}
    if not problems:
        return snapshot
    said = [f"outputs of {key[0]} are not at {key[2] or 'home'} yet: {text}" for key, text in problems.items()]
    shown = said[:PROBLEMS_SHOWN_MAX] + (
        [f"and {len(said) - PROBLEMS_SHOWN_MAX} more"] if len(said) > PROBLEMS_SHOWN_MAX else []
    )
    return replace(snapshot, plan=replace(snapshot.plan, alerts=(*snapshot.plan.alerts, *shown)))


def _with_settings_notices(world: World, snapshot: Snapshot) -> Snapshot:
    """Which settings of exq.yaml were changed and do not hold yet."""
    changed = [f"`{name}`" for name in world.settings.differences(world.settings_now())]
    if not changed:
        return snapshot
    told = f"exq.yaml has another {', '.join(changed)} now, which holds once the loop is started again"
    return replace(snapshot, plan=replace(snapshot.plan, alerts=(*snapshot.plan.alerts, told)))


def take_requests(world: World) -> None:
    """Put what users asked for into the ledger, then out of the inbox. A crash in between repeats nothing."""
    waiting = [request for request in world.state.pending() if request.kind is not RequestKind.FORGET_HOST]
    if waiting:
        _accept(world, waiting)


def take_forgotten_hosts(world: World, snapshot: Snapshot) -> bool:
    """Give up the hosts that users asked to give up and that gave no answer in this look. True when there were any.

    One that answers after all is not given up: what runs there would be ended, and the user thought it lost."""
    asked = [request for request in snapshot.requests if request.kind is RequestKind.FORGET_HOST]
    silent = [request for request in asked if gives_no_answer(world, snapshot.observed, request.target)]
    # of a host that neither specs nor attempts name, nothing is to be given up either
    for_nothing = [r for r in asked if isinstance(snapshot.observed.hosts.get(r.target), HostView | None)]
    if silent:
        _accept(world, silent)
        world.seen = with_told(world.seen, [request.target for request in silent], "")
        world.state.keep_seen(world.seen)
    for request in for_nothing:
        if world.audit is not None:
            message = f"{request.target} answers, or has nothing of ours: nothing is given up"
            world.audit.write("request_refused", action=str(request.kind), job=request.target, message=message)
        world.state.accept(request)
    return bool(silent or for_nothing)


def _accept(world: World, waiting: Sequence[Request]) -> None:
    """Their effect first, then out of the inbox."""
    fresh = [request for request in waiting if not world.ledger.is_accepted(request.id)]
    before = world.ledger.ledger()
    effect = apply_requests(before, fresh)
    for request in waiting:
        if request.kind is RequestKind.ACCEPT_SOURCE:
            world.accept_source(request.target)
    failpoint("before_accept_commit")
    world.ledger.commit(
        jobs=effect.jobs.values(),
        pause=effect.paused - before.paused,
        resume=before.paused - effect.paused,
        accepted=[request.id for request in fresh],
    )
    failpoint("after_accept_commit")
    audit_requests(world, fresh)
    for request in waiting:
        world.state.accept(request)
        failpoint("after_accept")


def carry_out(world: World, snapshot: Snapshot) -> tuple[Done, ...]:
    """Do everything in the plan. All of it is in the ledger before the first effect; outcomes follow."""
    plan = snapshot.plan
    if not (plan.actions or plan.milestones or plan.released or plan.pins):
        audit_plan(world, snapshot)
        return ()
    begin_runs(world, snapshot)
    actions, refused = _revoke(world, plan.actions)
    audit_actions(world, snapshot, actions)
    journal = _journal(world, snapshot, actions)
    _commit_intent(world, journal, releases=bool(plan.released))
    audit_pins(world, plan.pins)
    # Launches come first: a free slot waits for them, and for nothing else here.
    in_turn = sorted(actions, key=lambda action: not isinstance(action, Launch))
    done = _enact_all(world, snapshot, in_turn, journal)
    failpoint("before_outcome")
    world.ledger.commit(jobs=journal.changed())
    failpoint("after_outcome")
    done = [*refused, *done]
    audit_outcomes(world, snapshot, done)
    settle_runs(world, snapshot)
    audit_plan(world, snapshot, done)
    return tuple(done)


def _commit_intent(world: World, journal: Journal, *, releases: bool) -> None:
    failpoint("before_journal")
    if releases:
        failpoint("before_release")
    world.ledger.commit(jobs=journal.changed())
    failpoint("after_journal")
    if releases:
        failpoint("after_release")


def _revoke(world: World, actions: Sequence[Action]) -> tuple[list[Action], list[Done]]:
    """Claim lost attempts first. One whose shim was quicker is live: its action is dropped."""
    kept: list[Action] = []
    refused: list[Done] = []
    begun: dict[str, enact.Effect] = {}
    for action in actions:
        if isinstance(action, Settle) and action.revoke:
            failpoint("before_revoke")
            begun[action.path] = enact.revoke(world.agent_for(action.host), action.path)
            failpoint("after_revoke")
    patience = _patience(world, len(begun))
    for action in actions:
        revoked = begun.get(action.path) if isinstance(action, Settle) and action.revoke else None
        outcome = revoked.outcome(patience.left_s()) if revoked is not None else enact.Outcome(ok=True)
        if outcome.ok:
            kept.append(action)
        else:
            refused.append(Done(action, ok=False, message=outcome.message))
    return kept, refused


def _journal(world: World, snapshot: Snapshot, actions: Iterable[Action]) -> Journal:
    journal = Journal(world.ledger.ledger())
    for key, pin in snapshot.plan.pins.items():
        journal.put(replace(journal.get(key) or JobRecord(key), pin=pin))
    for action in actions:
        if isinstance(action, Launch):
            assert action.record is not None
            journal.put(with_attempt(journal.get(action.job), replace(action.record, daemon=world.daemon)))
        elif isinstance(action, Settle):
            journal.put(settle(journal.get(action.job), action))
        elif isinstance(action, Kill):
            journal.put(mark_kill_intended(_known(journal, action), action.attempt, snapshot.now, action.reason))
    for path in snapshot.plan.released:
        job, _, number = path.rpartition("/")
        record = journal.get(job)
        if record is not None:
            journal.put(mark_released(record, int(number)))
    return journal


def _known(journal: Journal, action: Action) -> JobRecord:
    record = journal.get(action.job)
    assert record is not None, f"{action.kind} of an attempt that the ledger does not know: {action.path}"
    return record


def _enact_all(world: World, snapshot: Snapshot, actions: Sequence[Action], journal: Journal) -> list[Done]:
    """Ask for everything before waiting for anything: on a host behind a connection a whole plan costs one way."""
    begun = [_begin(world, snapshot, action, journal) for action in actions]
    patience = _patience(world, len(begun))
    return [finish(patience) for finish in begun]


def _patience(world: World, asked: int) -> Patience:
    whole_s = None if world.patience_s is None else world.patience_s + asked * ENACT_S
    return Patience(whole_s, world.monotonic)


def _begin(world: World, snapshot: Snapshot, action: Action, journal: Journal) -> Callable[[Patience], Done]:
    agent = world.agent_for(action.host)
    if isinstance(action, Launch):
        return _launch(world, snapshot, action, journal, agent)
    if isinstance(action, Settle):
        failpoint("before_verdict")
        verdict = enact.record_verdict(agent, action) if action.attempt else None
        failpoint("after_verdict")
        return lambda patience: _verdict_written(world, action, verdict, patience)
    if isinstance(action, Kill):
        failpoint("before_kill")
        effect = enact.kill(agent, action)
        failpoint("after_kill")
        return lambda patience: _killed(snapshot, action, journal, effect.outcome(patience.left_s()))
    assert action.kind is ActionKind.ADOPT
    asked = ask_records(world, action.host, action.job)
    return lambda patience: _adopt(action, journal, asked, patience)


def _killed(snapshot: Snapshot, action: Kill, journal: Journal, outcome: enact.Outcome) -> Done:
    """What was never asked to end must not be made to after the grace: so only what may have heard it counts."""
    if outcome.ok or outcome.may_be_done:
        journal.put(mark_kill(_known(journal, action), action.attempt, snapshot.now, action.reason))
    return _done(action, outcome)


def _done(action: Action, outcome: enact.Outcome) -> Done:
    return Done(action, outcome.ok, outcome.message)


def _verdict_written(world: World, action: Settle, verdict: enact.Effect | None, patience: Patience) -> Done:
    outcome = verdict.outcome(patience.left_s()) if verdict is not None else enact.Outcome(ok=True)
    world.unwritten = world.unwritten or not outcome.ok
    return _done(action, outcome)


def _launch(
    world: World, snapshot: Snapshot, action: Launch, journal: Journal, agent: HostAgent
) -> Callable[[Patience], Done]:
    job = snapshot.desired.index[action.job]
    view = snapshot.observed.hosts[action.host]
    assert action.record is not None and isinstance(view, HostView)
    intended = replace(action, record=replace(action.record, daemon=world.daemon))
    failpoint("before_launch")
    project = snapshot.desired.projects[job.project]
    origin = origin_of(snapshot, job, project, action.record, view)
    effect = enact.launch(agent, view.state or str(world.paths.root), intended, job, project, origin)
    failpoint("after_launch")
    return lambda patience: _launched(world, action, journal, effect, patience)


def _launched(world: World, action: Launch, journal: Journal, effect: enact.Effect, patience: Patience) -> Done:
    record = action.record
    assert record is not None
    outcome = effect.outcome(patience.left_s())
    if outcome.kind == "exists":
        # another controller, or this one before it lost its ledger, has an attempt of this number there
        taken = _adopt(action, journal, ask_records(world, action.host, action.job), patience)
        message = outcome.message if taken.ok else f"{outcome.message}; {taken.message}"
        return replace(taken, message=message, again=taken.ok)
    if outcome.ok:
        journal.put(mark_launched(_known(journal, action), record.number, record.launcher, record.session))
    return _done(action, outcome)


def _adopt(action: Action, journal: Journal, asked: AskedRecords, patience: Patience) -> Done:
    """Take attempts over from their folders; what the ledger knows of the job otherwise stays."""
    known = journal.get(action.job)
    ended = next((a for a in known.attempts if a.number == action.attempt and a.verdict), None) if known else None
    if ended is not None:
        journal.put(with_attempt(known, replace(ended, released=False)))
        return Done(action, ok=True)
    try:
        found = asked(patience.left_s())
    except RecordsUnread as error:
        return Done(action, ok=False, message=str(error))
    others = {a.number for a in known.attempts} - {action.attempt} if known else set()
    fresh = [attempt for attempt in found.attempts if attempt.number not in others] if found else []
    if not any(attempt.number == action.attempt for attempt in fresh):
        return Done(action, ok=False, message="its attempt folder cannot be read")
    assert found is not None
    for attempt in fresh:
        journal.put(with_attempt(journal.get(action.job), attempt))
    record = journal.get(action.job)
    if record is not None and record.completed is None and found.completed is not None:
        journal.put(replace(record, completed=found.completed, generation=found.generation, completed_on=action.host))
    return Done(action, ok=True)
