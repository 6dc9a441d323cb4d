"""Commits and work trees in a tick: what was chosen is told, what the plan asks for is begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reconciler.host import enact
from reconciler.loop.world import World
from reconciler.model.facts import HostView, SnapshotFacts
from reconciler.model.ledger import AttemptRecord
from reconciler.model.needs import snapshot_key
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Job, Project
from reconciler.planner.pins import commit_of


def origin_of(snapshot: Snapshot, job: Job, project: Project, record: AttemptRecord, view: HostView) -> enact.Origin:
    """Where a new attempt comes from: its spec file, and the work tree of its commit."""
    file = next((file for file in snapshot.desired.files if file.path == project.source), None)
    digest = file.digest if file is not None and not (file.broken or file.unsettled) else ""
    facts = view.snapshots.get(snapshot_key(commit_of(record), job.cwd)) if record.pin else None
    return enact.Origin(digest, facts.path if isinstance(facts, SnapshotFacts) else "")


def keep_snapshots(world: World, snapshot: Snapshot) -> None:
    """Have work trees made and dropped; what came of it is seen by the next look."""
    plan = snapshot.plan
    for host in dict.fromkeys(each[0] for each in (*plan.snapshots, *plan.drops)):
        make = [(cwd, commit) for at, cwd, commit in plan.snapshots if at == host]
        drop = [(repository, commit) for at, repository, commit in plan.drops if at == host]
        enact.keep_snapshots(world.agent_for(host), make, drop)


def audit_pins(world: World, pins: Mapping[str, str]) -> None:
    """Say which commits jobs run from, now that it is certain."""
    if world.audit is None:
        return
    counts = Counter((key.partition("/")[0], pin.partition(" ")[0]) for key, pin in pins.items())
    for (project, commit), count in counts.items():
        jobs = "1 job runs" if count == 1 else f"{count} jobs run"
        world.audit.write("snapshot", project=project, message=f"{jobs} from commit {commit}")
