"""One tick: carry out one plan. Intent is durable before an effect, its outcome after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.host import enact
from reconciler.loop.done import Done
from reconciler.loop.look import look
from reconciler.loop.milestones import begin_runs, settle_runs
from reconciler.loop.record import Journal, audit_actions, audit_outcomes, audit_plan, audit_requests, audit_specs
from reconciler.loop.verdicts import repeat_verdicts
from reconciler.loop.world import World
from reconciler.model.enums import ActionKind
from reconciler.model.ledger import JobRecord
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
from reconciler.store.errors import StoreError
from reconciler.store.failpoint import failpoint


def tick(world: World, *, full: bool = True) -> tuple[Snapshot, tuple[Done, ...]]:
    """Look, then do what the plan says. A full disk stops the doing, not the loop; it is tried again."""
    try:
        world.stalled = False
        if world.unwritten:
            repeat_verdicts(world)
        take_requests(world)
        snapshot = look(world, full=full)
        audit_specs(world, snapshot)
        return snapshot, carry_out(world, snapshot)
    except StoreError as error:
        world.stalled = True
        audit_plan(world, alert=str(error))
        snapshot = look(world, full=full)
        return snapshot, ()


def take_requests(world: World) -> None:
    """Put what users asked for into the ledger, then out of the inbox. A crash in between repeats nothing."""
    waiting = world.state.pending()
    if not waiting:
        return
    fresh = [request for request in waiting if not world.ledger.is_accepted(request.id)]
    before = world.ledger.ledger()
    effect = apply_requests(before, fresh)
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
    if not (plan.actions or plan.milestones or plan.released):
        audit_plan(world, snapshot)
        return ()
    begin_runs(world, snapshot)
    actions, refused = _revoke(world, plan.actions)
    audit_actions(world, snapshot, actions)
    journal = _journal(world, snapshot, actions)
    _commit_intent(world, journal, releases=bool(plan.released))
    # Launches come first: a free slot waits for them, and for nothing else here.
    in_turn = sorted(actions, key=lambda action: not isinstance(action, Launch))
    done = [_enact(world, snapshot, action, journal) for action in in_turn]
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
    for action in actions:
        if isinstance(action, Settle) and action.revoke:
            failpoint("before_revoke")
            agent = world.agent_for(action.host)
            outcome = (
                enact.revoke(agent, action.path) if agent else enact.Outcome(ok=False, message="host not reachable")
            )
            failpoint("after_revoke")
            if not outcome.ok:
                refused.append(Done(action, ok=False, message=outcome.message))
                continue
        kept.append(action)
    return kept, refused


def _journal(world: World, snapshot: Snapshot, actions: Iterable[Action]) -> Journal:
    journal = Journal(world.ledger.ledger())
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


def _enact(world: World, snapshot: Snapshot, action: Action, journal: Journal) -> Done:
    agent = world.agent_for(action.host)
    if agent is None:
        return Done(action, ok=False, message="host not reachable")
    if isinstance(action, Launch):
        return _launch(world, snapshot, action, journal)
    if isinstance(action, Settle):
        failpoint("before_verdict")
        outcome = enact.record_verdict(agent, action) if action.attempt else enact.Outcome(ok=True)
        world.unwritten = world.unwritten or not outcome.ok
        failpoint("after_verdict")
    elif isinstance(action, Kill):
        failpoint("before_kill")
        outcome = enact.kill(agent, action)
        journal.put(mark_kill(_known(journal, action), action.attempt, snapshot.now, action.reason))
        failpoint("after_kill")
    else:
        assert action.kind is ActionKind.ADOPT
        return _adopt(world, action, journal)
    return Done(action, outcome.ok, outcome.message)


def _launch(world: World, snapshot: Snapshot, action: Launch, journal: Journal) -> Done:
    job = snapshot.desired.index[action.job]
    agent = world.agent_for(action.host)
    assert agent is not None and action.record is not None
    record = replace(action.record, daemon=world.daemon)
    intended = replace(action, record=record)
    failpoint("before_launch")
    outcome = enact.launch(agent, str(world.paths.root), intended, job, snapshot.desired.projects[job.project])
    failpoint("after_launch")
    if outcome.ok:
        journal.put(mark_launched(_known(journal, action), record.number, record.launcher, record.session))
    return Done(action, outcome.ok, outcome.message)


def _adopt(world: World, action: Action, journal: Journal) -> Done:
    """Take one attempt over from its folder; what the ledger knows of the job otherwise stays."""
    found = world.state.rebuild_job(action.job)
    attempt = next((a for a in found.attempts if a.number == action.attempt), None) if found else None
    if attempt is None:
        return Done(action, ok=False, message="its attempt folder cannot be read")
    journal.put(with_attempt(journal.get(action.job), attempt))
    return Done(action, ok=True)
