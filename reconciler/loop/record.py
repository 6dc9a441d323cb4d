"""The paper trail of a tick: which records change, and what the audit trail says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.loop.done import Done
from reconciler.loop.world import World
from reconciler.model.ledger import JobRecord, Ledger, Request
from reconciler.model.plan import Action
from reconciler.model.snapshot import Snapshot
from reconciler.store.audit import AuditTrail


class Journal:
    """Job records as they change during a tick; `changed()` hands over what has not been committed yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._latest: dict[str, JobRecord] = {}
        self._fresh: dict[str, JobRecord] = {}

    def get(self, key: str) -> JobRecord | None:
        """The record as it stands now in this tick."""
        return self._latest.get(key) or self._ledger.jobs.get(key)

    def put(self, record: JobRecord) -> None:
        """Change a record."""
        self._latest[record.key] = record
        self._fresh[record.key] = record

    def changed(self) -> list[JobRecord]:
        """What changed since the last call."""
        fresh, self._fresh = list(self._fresh.values()), {}
        return fresh


def _fields(snapshot: Snapshot, action: Action) -> dict[str, object]:
    return {
        "action": str(action.kind),
        "job": action.job,
        "attempt": action.attempt,
        "reason": str(action.reason),
        "message": action.message,
        "host": action.host,
        "gpus": list(action.gpu_indices),
        "plan_id": snapshot.plan.plan_id,
        "revision": snapshot.desired.revision_of(action.job.partition("/")[0]),
    }


def audit_actions(world: World, snapshot: Snapshot, actions: Iterable[Action]) -> None:
    """Say what is about to be done."""
    if world.audit is not None:
        for action in actions:
            world.audit.write("action", phase="intent", **_fields(snapshot, action))


def audit_outcomes(world: World, snapshot: Snapshot, done: Iterable[Done]) -> None:
    """Say what came of it."""
    if world.audit is not None:
        for item in done:
            fields = _fields(snapshot, item.action)
            world.audit.write("action", phase="outcome", ok=item.ok, detail=item.message, **fields)


def audit_requests(world: World, requests: Sequence[Request]) -> None:
    """Say who asked for what."""
    if world.audit is not None:
        for request in requests:
            world.audit.write("request", action=str(request.kind), job=request.target, by=request.by)


def audit_specs(world: World, snapshot: Snapshot) -> None:
    """Say what changed in the specs since the last tick."""
    from reconciler.view.spec_news import spec_news

    before, world.announced = world.announced, snapshot.desired
    if world.audit is not None and before is not None:
        for news in spec_news(before, snapshot.desired):
            world.audit.write("specs", message=news.text)


def audit_plan(
    world: World, snapshot: Snapshot | None = None, done: Sequence[Done] = (), alert: str | None = None
) -> None:
    """One line for a tick that changed something, and each alert once until it is over.

    `alert`: why there was no tick; what the last one found still stands."""
    if world.audit is None:
        return
    alerts = {alert, *world.alerted} if alert is not None else set(snapshot.plan.alerts if snapshot else ())
    alerts.update(text for text in (world.audit.problem, world.texts.problem, *world.ledger.notices) if text)
    for text in sorted(alerts - world.alerted):
        world.audit.write("alert", message=text)
    world.alerted = alerts
    if snapshot is not None and done:
        _audit_tick(world.audit, snapshot, done)


def _audit_tick(audit: AuditTrail, snapshot: Snapshot, done: Sequence[Done]) -> None:
    counts: dict[str, int] = {}
    for item in done:
        counts[str(item.action.kind)] = counts.get(str(item.action.kind), 0) + 1
    failed = sum(not item.ok for item in done)
    audit.write("tick", plan_id=snapshot.plan.plan_id, revision=snapshot.desired.revision, failed=failed, **counts)
