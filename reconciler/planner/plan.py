"""`plan()`: desired, observed and intended state in, one decision out.

Order matters: attempts first (what is over frees room), then jobs, phase by phase (what is completed opens
phases), then launches into what is free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.model.enums import JobStatus
from reconciler.model.facts import Observed, Unknown
from reconciler.model.ledger import Ledger
from reconciler.model.plan import Milestone, Plan, Settle
from reconciler.model.spec import Desired, Phase, Project
from reconciler.planner.adopt import adopt_strays
from reconciler.planner.backoff import INFRA_REASONS
from reconciler.planner.draft import Draft
from reconciler.planner.environments import is_trial
from reconciler.planner.inputs import plan_transfers
from reconciler.planner.jobs import Candidate, review_job
from reconciler.planner.launch import fill
from reconciler.planner.limits import CLOCK_DOUBT_S, FINISH_POLL_S, SESSION_GRACE_S
from reconciler.planner.phases import Gate, blocked_for_good, gate_of, in_dependency_order, phase_state
from reconciler.planner.pins import plan_drops, plan_pins
from reconciler.planner.placement import Leases, Rooms, alert_missing_gpus, rooms_for
from reconciler.planner.plan_id import plan_id
from reconciler.planner.review import review_attempts
from reconciler.planner.silence import left_words
from reconciler.planner.source import source_alert


def plan(desired: Desired, observed: Observed, ledger: Ledger, now: float) -> Plan:
    """Decide everything for one look at the world. Pure: the same arguments give the same plan."""
    draft = Draft(desired, observed, ledger, now)
    _note_unknown_hosts(draft)
    review_attempts(draft)
    adopt_strays(draft)
    leased: Leases = {}
    for attempt in draft.holding.values():
        leased.setdefault(draft.machine_of(attempt.host), set()).update(attempt.gpus)
    for project in desired.projects.values():
        _plan_project(draft, project, leased)
    plan_drops(draft)
    _check_launches(draft)
    return _finish(draft)


def _note_unknown_hosts(draft: Draft) -> None:
    for name, view in draft.observed.hosts.items():
        if isinstance(view, Unknown):
            draft.wake(view.again_at)
            if not view.quiet:
                draft.note_unknown(f"{name}: {view.message}; {left_words(draft.ledger, name)}")


def _plan_project(draft: Draft, project: Project, leased: Leases) -> None:
    before = len(draft.launches)
    plan_pins(draft, project)
    rooms: Rooms | None = None
    gates: dict[str, Gate] = {}
    for phase in in_dependency_order(project):
        gate = gate_of(draft, project, phase, gates)
        gates[phase.name] = gate
        candidates = _review_phase(draft, project, phase)
        if not gate.open:
            _hold_all(draft, candidates, gate)
        elif candidates:
            rooms = rooms or rooms_for(draft, project, leased)
            fill(draft, project, phase, candidates, rooms)
    launched = draft.launches[before:]
    for phase in project.phases:
        draft.phases.append(phase_state(draft, project, phase, gates[phase.name]))
    if project.gpu_pool is not None and not _all_settled(draft, project):
        alert_missing_gpus(draft, project)
    plan_transfers(draft, project)
    _milestones(draft, project, [action.job for action in launched])


def _review_phase(draft: Draft, project: Project, phase: Phase) -> list[Candidate]:
    found: list[Candidate] = []
    hosts = project.hosts_of(phase)
    for job in phase.jobs:
        if job.key in draft.states:
            continue
        candidate = review_job(draft, project, job, hosts)
        if candidate is not None:
            found.append(candidate)
    return found


def _hold_all(draft: Draft, candidates: Iterable[Candidate], gate: Gate) -> None:
    for candidate in candidates:
        draft.put(candidate.job, JobStatus.PENDING, gate.reason, gate.message)


def _milestones(draft: Draft, project: Project, launched: Sequence[str]) -> None:
    run = draft.ledger.runs.get(project.name)
    if run is None:
        begins = bool(launched)
    elif run.settled_at is not None:
        # one that is tried only to see whether an environment is mended begins no run until it is
        begins = any(not is_trial(draft, job) for job in launched) or _came_to_its_end(draft, project)
    else:
        begins = False
    if begins:
        draft.milestones.append(Milestone(project.name, settled=False))
    elif run is not None and run.settled_at is None and not launched and _project_settled(draft, project):
        draft.milestones.append(Milestone(project.name, settled=True))


def _came_to_its_end(draft: Draft, project: Project) -> bool:
    """An attempt that no run has in it ends with its command having run."""
    return any(
        isinstance(action, Settle)
        and action.attempt > 0
        and action.reason not in INFRA_REASONS
        and action.job in draft.desired.index
        and action.job.startswith(f"{project.name}/")
        for action in draft.actions
    )


def _project_settled(draft: Draft, project: Project) -> bool:
    prefix = project.name + "/"
    if any(job.startswith(prefix) for job in draft.unreleased):
        return False
    # its summary is written there
    if isinstance(draft.view(project.home_host), Unknown):
        return False
    return _all_settled(draft, project)


def _all_settled(draft: Draft, project: Project) -> bool:
    return all(blocked_for_good(draft.states[job.key]) for job in project.jobs())


def _check_launches(draft: Draft) -> None:
    """S1 and S10 at run time: a plan that breaks them is a bug, and is not carried out."""
    jobs = [action.job for action in draft.launches]
    gpus = [(draft.machine_of(action.host), uuid) for action in draft.launches for uuid in action.gpus]
    live = {attempt.job for attempt in draft.holding.values()}
    held = {(draft.machine_of(attempt.host), uuid) for attempt in draft.holding.values() for uuid in attempt.gpus}
    if len(set(jobs)) != len(jobs) or live.intersection(jobs):
        raise AssertionError(f"plan launches a job that is live or twice: {sorted(jobs)}")
    if len(set(gpus)) != len(gpus) or held.intersection(gpus):
        raise AssertionError(f"plan gives a GPU out twice: {sorted(gpus)}")


def _finish(draft: Draft) -> Plan:
    actions = (*draft.actions, *draft.launches)
    states = {job.key: draft.states[job.key] for job in draft.desired.jobs() if job.key in draft.states}
    if len(states) < len(draft.states):
        states.update((key, state) for key, state in draft.states.items() if key not in states)
    over = all(map(blocked_for_good, states.values()))
    ends = any(isinstance(action, Settle) and not action.revoke for action in actions)
    changes = bool(draft.milestones or draft.released)
    if over and (ends or changes or just_ended(draft)):
        draft.wake(draft.now + FINISH_POLL_S)  # to see that nothing is left
    made = Plan(
        plan_id="",
        actions=actions,
        states=states,
        phases=tuple(draft.phases),
        unknown=tuple(draft.unknown),
        milestones=tuple(draft.milestones),
        released=tuple(draft.released),
        wake_at=draft.wake_at,
        settled=over and not (actions or changes or draft.unreleased or draft.ledger.open_attempts or draft.transfers),
        alerts=tuple(text for text in (*draft.alerts, source_alert(draft.desired.source)) if text),
        transfers=tuple(draft.transfers.values()),
        pins=draft.pins,
        snapshots=tuple(draft.snapshots),
        drops=tuple(draft.drops),
        wanted=tuple(draft.wanted),
    )
    return replace(made, plan_id=plan_id(made))


def just_ended(draft: Draft) -> bool:
    """All that is left are attempts that ended moments ago: their screens close by themselves any time."""
    ends = [attempt.ended_at or attempt.verdict.at for attempt in draft.holding.values() if attempt.verdict]
    return (
        not draft.occupying
        and len(ends) == len(draft.holding) > 0
        and all(-CLOCK_DOUBT_S <= draft.now - at < SESSION_GRACE_S for at in ends)
    )
