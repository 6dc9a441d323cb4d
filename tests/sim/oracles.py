"""The promises, checked on the truth of the simulated machine and on every decision of the loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.loop.look import look
from reconciler.model.enums import ActionKind, JobStatus, LauncherKind, Reason
from reconciler.model.facts import AttemptFacts, HostView, Unknown
from reconciler.model.plan import Action, Kill, Launch, Settle
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST
from reconciler.planner.plan import plan
from tests.sim.daemon import WITNESS, Daemon
from tests.sim.fake_os import OS
from tests.sim.faults import STALE
from tests.sim.machine import SOCKETS, Machine, Process

if TYPE_CHECKING:
    from tests.sim.run import Run


AHEAD_S = 0.5
CLOCKS_DIFFER_S = (-0.1, 0.1)


def check_snapshot(machine: Machine, daemon: Daemon) -> None:
    """Judge one decision."""
    snapshot = daemon.snapshot
    assert snapshot is not None
    for action in snapshot.plan.actions:
        _on_facts(daemon, snapshot, action)
        if isinstance(action, Launch):
            _phase_is_open(machine, snapshot, action)
            _delay_is_over(machine, snapshot, action)
        if isinstance(action, Settle):
            _end_is_not_overlooked(daemon, action)
    _broken_specs_stand(daemon, snapshot)
    _plan_is_of_these_facts(machine, daemon, snapshot)
    _every_job_has_a_reason(machine, snapshot)


def host_of(daemon: Daemon, action: Action) -> Machine:
    """The machine that an action is for."""
    return daemon.machine if action.host == LOCAL_HOST else daemon.fleet.machines[action.host]


def _on_facts(daemon: Daemon, snapshot: Snapshot, action: Action) -> None:
    """S3: what cannot be taken back rests on facts."""
    machine = daemon.machine
    view = snapshot.observed.hosts.get(action.host)
    what = f"{action.kind} {action.path} ({action.reason})"
    if not isinstance(view, HostView):
        machine.wrong(f"S3: {what} with an unknown host")
        return
    if isinstance(action, Kill | Settle) and action.attempt:
        if not isinstance(view.attempts.get(action.path), AttemptFacts):
            machine.wrong(f"S3: {what} with an unknown attempt")
        if isinstance(action, Kill) and action.sessions and not isinstance(view.sessions, tuple):
            machine.wrong(f"S3: {what} with unknown screens")
    if isinstance(action, Launch):
        _launch_on_facts(daemon, snapshot, action, view, what)


def _launch_on_facts(daemon: Daemon, snapshot: Snapshot, action: Launch, view: HostView, what: str) -> None:
    machine, host = daemon.machine, host_of(daemon, action)
    assert action.record is not None
    if action.record.launcher == LauncherKind.SCREEN and isinstance(view.sessions, Unknown):
        machine.wrong(f"S3: {what} with unknown screens")
    if not action.gpus:
        return
    if not isinstance(view.gpus, tuple):
        machine.wrong(f"S3: {what} with unknown GPUs")
        return
    project = snapshot.desired.projects[action.job.split("/")[0]]
    used = {gpu.uuid: gpu.used_mib for gpu in view.gpus}
    for uuid in action.gpus:
        mib = used.get(uuid)
        # what begins after nvidia-smi was asked is in no answer, however long that is on its way
        now = snapshot.now - machine.offset + machine.epoch - host.epoch
        looked_at = int(min(now, host.gpus_asked_at) * 100)
        for process in host.procs.values():
            theirs = process.role == "foreign" and uuid in process.gpus and process.start_ticks < looked_at
            if theirs and not any(fault.kind == STALE for fault in machine.faults.hit):
                machine.wrong(f"S10: {what} onto {uuid}, which a colleague uses")
        if mib is None or mib > project.gpu_free_threshold_mib:
            machine.wrong(f"S10: {what} onto {uuid}, of which {mib} MiB are in use")


def _end_is_not_overlooked(daemon: Daemon, action: Settle) -> None:
    """S3: who has seen that all of an attempt is dead can read its exit record too, so none is judged without it."""
    if action.revoke or action.reason not in (Reason.PAYLOAD_VANISHED, Reason.LAUNCH_LOST):
        return  # where the claim decides, a shim may have been quicker
    record = host_of(daemon, action).disk.entries.get(f"{daemon.state}/attempts/{action.path}/exit.json")
    if record is not None and record.data.endswith(b"\n"):
        daemon.machine.wrong(f"S3: {action.path} is settled as {action.reason}, and its exit record is there")


def _broken_specs_stand(daemon: Daemon, snapshot: Snapshot) -> None:
    """S7: a file that loaded once keeps asking for what it asked for, however broken it is now."""
    machine = daemon.machine
    for file in snapshot.desired.files:
        if file.unsettled:
            continue  # it may never have loaded
        if not file.broken:
            daemon.loaded.add(file.path)
        elif _twice(snapshot, file.path):
            continue  # another file asks for it already
        elif file.path in daemon.loaded and not file.last_good and not _writes_failed(machine):
            machine.wrong(f"S7: {file.path} is broken, and what it asked for is forgotten")


def _twice(snapshot: Snapshot, path: str) -> bool:
    return any(error.path == path and " already: " in error.message for error in snapshot.desired.errors)


def _writes_failed(machine: Machine) -> bool:
    """Then the last good text may not have been kept."""
    return machine.disk.full or machine.boot > 1 or bool(machine.faults.hit)


def _phase_is_open(machine: Machine, snapshot: Snapshot, action: Launch) -> None:
    """S12: every job that the phase needs is completed in the ledger, not just over."""
    job = snapshot.desired.index[action.job]
    project = snapshot.desired.projects[job.project]
    phases = {phase.name: phase for phase in project.phases}
    for needed in phases[job.phase].depends_on:
        for other in phases[needed].jobs:
            record = snapshot.ledger.jobs.get(other.key)
            if record is None or record.completed is None:
                state = snapshot.plan.states.get(other.key)
                if state is None or state.status is not JobStatus.COMPLETED:
                    machine.wrong(f"S12: {action.path} is launched while {other.key} is not completed")


def _delay_is_over(machine: Machine, snapshot: Snapshot, action: Launch) -> None:
    """S6: a retry waits as long as the spec asks for, unless a user or a new command made it due."""
    job = snapshot.desired.index[action.job]
    project = snapshot.desired.projects[job.project]
    record = snapshot.ledger.jobs.get(action.job)
    before = [a for a in record.attempts if a.number < action.attempt] if record is not None else []
    if record is None or not before or before[-1].number <= record.retry_after:
        return
    last = before[-1]
    longest_s = max(project.oom_retry.delay_s, project.failure_retry.delay_s) * 1.1 + 1.0
    if last.generation == job.generation and 0 < (last.retry_at or 0.0) - snapshot.now <= longest_s:
        machine.wrong(f"S6: {action.path} is launched before its delay is over")


def _plan_is_of_these_facts(machine: Machine, daemon: Daemon, snapshot: Snapshot) -> None:
    """S4: planning anew from the very same facts gives the same, also where the loop kept its last plan.

    Where it was seen to plan from just these facts, only every eighth time: that planning is pure."""
    if daemon.ticks % 8 and WITNESS.saw(snapshot):
        return
    ledger = snapshot.ledger
    if any(
        ledger.jobs.get(a.job) is None or a not in ledger.jobs[a.job].attempts for a in ledger.open_attempts.values()
    ):
        return  # `jobs` shows later commits: the ledger of that moment is gone
    if snapshot.plan.actions or snapshot.plan.released or snapshot.plan.milestones:
        return  # carried out meanwhile
    again = plan(snapshot.desired, snapshot.observed, ledger, snapshot.now)
    if again.plan_id != snapshot.plan.plan_id:
        machine.wrong(f"S4: the plan was {_words(snapshot.plan.actions)}, the same facts give {_words(again.actions)}")
    for key, state in again.states.items():
        kept = snapshot.plan.states.get(key)
        if kept is None or (kept.status, kept.reason) != (state.status, state.reason):
            machine.wrong(f"S4: {key} was said to be {kept}, the same facts give {state}")


def _words(actions: Iterable[Action]) -> str:
    return ", ".join(f"{action.kind} {action.path}" for action in actions) or "nothing"


def _every_job_has_a_reason(machine: Machine, snapshot: Snapshot) -> None:
    """L4."""
    for key in snapshot.desired.index:
        state = snapshot.plan.states.get(key)
        if state is None or not state.message or not state.reason:
            machine.wrong(f"L4: nothing is said about {key}")


def check_diff(daemon: Daemon) -> None:
    """S4: two looks at an unchanged world, by the loop and by `exq diff`, plan the same."""
    world = daemon.world
    if world is None:
        return
    machine, fleet = daemon.machine, daemon.fleet
    fleet.catch_up_hosts(machine.true)
    if any(host.true > machine.true + AHEAD_S for host in fleet.hosts) or world.asked:
        return  # an answer is still on its way: the host has gone on meanwhile
    kept = (world.last, world.turn, world.open_jobs, world.views, world.indexed)
    world.views, world.indexed = dict(world.views), set(world.indexed)
    machine.freeze(True)
    try:
        with OS.on(machine):
            one = look(world)
            two = look(world)
            diff = look(daemon.open(writable=False))
    finally:
        world.last, world.turn, world.open_jobs, world.views, world.indexed = kept
        world.asked.clear()
        machine.freeze(False)
    unchanged = _known_probes(one) == _known_probes(two)
    if unchanged and not one.plan.wanted and one.plan.plan_id != two.plan.plan_id:
        machine.wrong(f"S4: a second look plans {_words(two.plan.actions)} instead of {_words(one.plan.actions)}")
    if fleet.has_several_loops and _adopts(diff):
        return  # what another controller has started is news to the diff alone
    if _same_facts(daemon, diff, two) and not two.plan.wanted and not diff.plan.wanted and not _plans_alike(diff, two):
        machine.wrong(f"S4: diff shows {_words(diff.plan.actions)}, the loop does {_words(two.plan.actions)}")


def _plans_alike(diff: Snapshot, loop: Snapshot) -> bool:
    """Two worlds know the clock of a far host only so well: a deadline may have come for the one and not the other."""
    if diff.plan.plan_id == loop.plan.plan_id:
        return True
    offsets = CLOCKS_DIFFER_S if len(diff.observed.hosts) > 1 else ()
    made = (plan(diff.desired, diff.observed, diff.ledger, diff.now + offset) for offset in offsets)
    return any(each.plan_id == loop.plan.plan_id for each in made)


def _same_facts(daemon: Daemon, diff: Snapshot, loop: Snapshot) -> bool:
    """Not where a spec is being written (diff shows it as it stands), where the loop still gives a tool that hangs a
    rest, or where another loop has changed the ledger since."""
    seen = getattr(daemon.world and daemon.world.ledger._source, "_seen", None)
    return (
        diff.desired.version == loop.desired.version
        and _known_probes(diff) == _known_probes(loop)
        and seen == daemon.database.version
    )


def _known_probes(snapshot: Snapshot) -> list[tuple[bool, bool | None, frozenset[str], float]]:
    """Which probes answered (of the GPUs also, whether processes were told of), the launchers that failed (which only
    the loop knows that started them), and what a host's clock is taken for, which each world knows to a second only."""
    views = [view for view in snapshot.observed.hosts.values() if isinstance(view, HostView)]
    return [
        (isinstance(v.sessions, Unknown), _tells_users(v), _launch_errors(v), round(v.clock_ahead_s, 1)) for v in views
    ]


def _tells_users(view: HostView) -> bool | None:
    """nvidia-smi lists processes by a call of its own, which a loop gives a rest after it has hung."""
    return None if isinstance(view.gpus, Unknown) else any(gpu.processes for gpu in view.gpus)


def _launch_errors(view: HostView) -> frozenset[str]:
    found = ((path, facts) for path, facts in view.attempts.items() if isinstance(facts, AttemptFacts))
    return frozenset(path for path, facts in found if facts.launch_error is not None)


def starts_by_job(machine: Machine) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for start in machine.starts:
        counts[start.state, start.job] = counts.get((start.state, start.job), 0) + 1
    return counts


def ends_by_job(daemons: list[Daemon]) -> dict[tuple[str, str], str]:
    """The last status of every job."""
    return {
        (daemon.where, key): str(state.status)
        for daemon in daemons
        if daemon.snapshot is not None
        for key, state in daemon.snapshot.plan.states.items()
    }


def left_alone(daemons: list[Daemon]) -> bool:
    """All that goes on are attempts whose command the specs have changed since, or that no spec asks for any more (what
    hangs of those is left alone), or that neither ledger nor folder knows any more and whose processes do not end."""
    for daemon in daemons:
        assert daemon.snapshot is not None
        states = daemon.snapshot.plan.states
        drifted = [
            attempt.job in states and (states[attempt.job].drift or states[attempt.job].reason is Reason.ORPHAN)
            for attempt in daemon.snapshot.ledger.open_attempts.values()
        ]
        if daemon.machine.traces_lost and _adopts(daemon.snapshot):
            continue
        if not all(drifted) or daemon.snapshot.plan.actions:
            return False
    return True


def _adopts(snapshot: Snapshot) -> bool:
    return any(action.kind is ActionKind.ADOPT for action in snapshot.plan.actions)


def unsettled(daemons: list[Daemon]) -> str:
    lines = []
    for daemon in daemons:
        if daemon.snapshot is not None:
            plan = daemon.snapshot.plan
            lines += [f"{s.job} {s.status} {s.reason} {s.message}" for s in plan.states.values() if s.is_hold]
            lines += [f"open {path}" for path in daemon.snapshot.ledger.open_attempts]
            lines += [_words(plan.actions), *plan.unknown]
    return "; ".join(lines)


def _has_socket(machine: Machine, pid: int) -> bool:
    """Without one, screen neither lists a session nor lets itself be told anything."""
    return any(path.startswith(f"{SOCKETS}/{pid}.") for path in machine.disk.children[SOCKETS])


def _is_unknown(host: Machine, process: Process) -> bool:
    """The folder of its attempt was removed by hand, and the ledger is lost."""
    return host.traces_lost and f"{process.state}/attempts/{process.attempt}" not in host.disk.entries


def check_end(run: Run) -> None:
    """Nothing of ours is left, and nothing of anyone else is missing."""
    machine = run.machine
    if machine.violations or any(d.snapshot and d.snapshot.ledger.open_attempts for d in run.daemons):
        return  # what is still open was judged before
    if any(daemon.snapshot and _adopts(daemon.snapshot) for daemon in run.daemons):
        return
    lied_to = any(fault.kind == STALE for fault in run.plan.hit)  # an old listing hides a screen for good
    for host in run.fleet.machines.values():
        _check_host_at_end(run, host, lied_to)


def _check_host_at_end(run: Run, host: Machine, lied_to: bool) -> None:
    for process in host.procs.values():
        if process.role == "screen" and (lied_to or not _has_socket(host, process.pid)):
            continue
        if process.role == "screen" and _is_unknown(host, process):
            continue
        if process.attempt is not None:
            host.wrong(f"L1: all is settled, and {process.role} {process.pid} of {process.attempt} is still there")
    for state in run.scenario.states:
        left = list(host.disk.children.get(f"{state}/spool", ()))
        if left and not host.traces_lost:  # a marker of an attempt that nothing knows any more stays
            host.wrong(f"L1: all is settled, and the spool holds {left}")
