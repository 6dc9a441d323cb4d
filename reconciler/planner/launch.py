"""Giving out room: which candidates start now, and why the others wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reconciler.model.enums import ActionKind, JobStatus, LauncherKind, Reason
from reconciler.model.facts import Gpu, HostView, OutputFacts, Unknown
from reconciler.model.ledger import AttemptRecord, JobRecord
from reconciler.model.names import AttemptRef, session_name
from reconciler.model.plan import Launch
from reconciler.model.spec import Job, Phase, Project
from reconciler.planner.backoff import INFRA_REASONS, counted_attempts
from reconciler.planner.draft import Draft, Refusal
from reconciler.planner.environments import failures_of, note_launch, setups_in_vain
from reconciler.planner.inputs import inputs_refusal
from reconciler.planner.jobs import Candidate, blocked_by
from reconciler.planner.pins import commit_of, launch_pin, snapshot_refusal
from reconciler.planner.placement import Room, Rooms

HOSTS_SAID_MAX = 4
"""How many hosts are named when none of them has room."""

_CAPACITY = (Reason.NO_FREE_GPU, Reason.NO_FREE_SLOT)
"""Of several reasons on several hosts, these come first: they pass by themselves."""


Crowded = dict[tuple[int, str | None, tuple[str, ...]], Refusal]
"""Why no host has room, by the GPUs needed, the host before and the hosts that it cannot be set up on.

It holds for all alike until something is given out."""


def fill(draft: Draft, project: Project, phase: Phase, candidates: Sequence[Candidate], rooms: Rooms) -> None:
    """Launch candidates of open phases in their order while there is room; hold the others with the reason."""
    here = [rooms[host] for host in project.hosts_of(phase)]
    untold = _untold(draft, project)
    crowded: Crowded = {}
    for candidate in candidates:
        refusal = _paused(draft, project, candidate.job)
        if refusal is None and untold is not None and not (candidate.record and candidate.record.attempts):
            refusal = untold
        if refusal is None:
            refusal = _place(draft, project, phase, candidate, here, crowded)
        if refusal is not None:
            # a person has to mend that; that it is tried again now and then is for when nobody comes
            status = JobStatus.STUCK if refusal.by_a_person else JobStatus.PENDING
            draft.put(candidate.job, status, refusal.reason, refusal.message, until=refusal.until)


def _untold(draft: Draft, project: Project) -> Refusal | None:
    """Why jobs that the ledger has not seen yet cannot start: a host may have them that has not told."""
    hosts = [placement.host for placement in project.placements]
    views = {host: draft.view(host) for host in hosts if len(hosts) > 1}
    awaited = {host for host, view in views.items() if isinstance(view, Unknown) and view.untold}
    if not awaited:
        return None
    host = min(awaited)
    message = f"{host} has not told yet whether it has it; if it will not come back: exq forget-host {host}"
    return Refusal(Reason.HOST_UNKNOWN, message)


def _place(
    draft: Draft, project: Project, phase: Phase, candidate: Candidate, rooms: Sequence[Room], crowded: Crowded
) -> Refusal | None:
    """Launch it on the best host that takes it; else say why none does."""
    in_vain = _in_vain(draft, candidate, rooms) if failures_of(draft) else {}
    refusals = {host: refusal for host, refusal in in_vain.items() if refusal is not None}
    if len(refusals) == len(rooms):
        return _joined(refusals, None)
    kind = candidate.job.gpus, _host_before(candidate), tuple(refusals)
    if kind in crowded:
        return crowded[kind]
    in_turn = _in_turn([room for room in rooms if room.host not in refusals], kind[1], in_vain)
    full = _without_room(candidate.job, in_turn)
    refusals.update(full)
    if len(full) == len(in_turn):
        crowded[kind] = _joined(refusals, rooms[0].shared.full)
        return crowded[kind]
    wanted: Room | None = None
    for room in in_turn[len(full) :]:
        refusal = room.refusal(candidate.job) or _unreleased(draft, candidate.job)
        if refusal is None:
            blocked = blocked_by(draft, candidate.job, room.host)
            wanted = wanted or (room if blocked is not None and blocked.wanted else None)
            refusal = (
                Refusal(blocked.reason, blocked.message)
                if blocked is not None
                else inputs_refusal(draft, project, phase, room.host)
                or snapshot_refusal(draft, project, candidate.job, room.host)
            )
        if refusal is None:
            draft.launches.append(_launch(draft, project, candidate, room.host, _take(candidate, room)))
            note_launch(draft, candidate.job, room.host)
            draft.put(candidate.job, JobStatus.PENDING, candidate.reason, candidate.message)
            crowded.clear()
            return None
        refusals[room.host] = refusal
    if wanted is not None:
        # while it is looked at its place is kept, so that none behind it passes
        draft.wanted.append(candidate.job.key)
        draft.wake(draft.now)
        _take(candidate, wanted)
        crowded.clear()
    return _joined(refusals, rooms[0].shared.full)


def _host_before(candidate: Candidate) -> str | None:
    """Where its last attempt was, if that is over."""
    last = candidate.record.last if candidate.record else None
    return last.host if last is not None and last.verdict is not None else None


def _in_turn(rooms: Sequence[Room], before: str | None, in_vain: Collection[str]) -> Sequence[Room]:
    """Where it was before comes first, for what it left there; then where most is free.

    What could not be set up on a host is tried there again only when no other one takes it."""
    if len(rooms) < 2:
        return rooms
    return sorted(rooms, key=lambda room: (room.host in in_vain, room.host != before, -len(room.free_gpus), room.busy))


def _in_vain(draft: Draft, candidate: Candidate, rooms: Sequence[Room]) -> dict[str, Refusal | None]:
    hosts = [room.host for room in rooms]
    return setups_in_vain(draft, candidate.job, hosts, asked_for=_asked_for(candidate))


def _asked_for(candidate: Candidate) -> bool:
    """A person asked to try it again after it could not be set up."""
    last = candidate.record.last if candidate.record else None
    in_vain = last is not None and last.verdict is not None and last.verdict.reason is Reason.ENVIRONMENT_BROKEN
    return in_vain and candidate.reason is Reason.RETRY_REQUESTED


def _without_room(job: Job, rooms: Sequence[Room]) -> dict[str, Refusal]:
    """What the hosts say that come before the first one with room for it."""
    refusals: dict[str, Refusal] = {}
    for room in rooms:
        refusal = room.refusal(job)
        if refusal is None:
            break
        refusals[room.host] = refusal
    return refusals


def _joined(refusals: Mapping[str, Refusal], of_all: Refusal | None) -> Refusal:
    """One reason for all hosts, with what each says; `of_all`, where it is that, is said once."""
    if of_all is not None and any(refusal is of_all for refusal in refusals.values()):
        return of_all
    if len(refusals) == 1:
        return next(iter(refusals.values()))
    ranked = sorted(refusals.values(), key=lambda refusal: (refusal.by_a_person, refusal.reason not in _CAPACITY))
    if len({refusal.message for refusal in ranked}) == 1:
        return ranked[0]
    said = [f"{host}: {refusal.message}" for host, refusal in refusals.items()]
    more = [f"and {len(said) - HOSTS_SAID_MAX} hosts more"] if len(said) > HOSTS_SAID_MAX else []
    untils = [refusal.until for refusal in ranked]
    until = min(filter(None, untils)) if all(untils) else None
    return Refusal(ranked[0].reason, "; ".join([*said[:HOSTS_SAID_MAX], *more]), until, ranked[0].by_a_person)


def _paused(draft: Draft, project: Project, job: Job) -> Refusal | None:
    if not draft.ledger.paused:
        return None
    whom = next((name for name in (job.key, project.name) if name in draft.ledger.paused), None)
    return Refusal(Reason.PAUSED, f"{whom} is paused; exq resume {whom} lifts that") if whom else None


def _unreleased(draft: Draft, job: Job) -> Refusal | None:
    number = draft.unreleased.get(job.key)
    if number is None:
        return None
    left = draft.left.get(f"{job.key}/{number}")
    words = f"has ended, {left}" if left else "has not let go yet"
    return Refusal(Reason.STRAGGLERS, f"attempt {number} {words}")


def _take(candidate: Candidate, room: Room) -> tuple[Gpu, ...]:
    """The GPUs it had before, if they are free; rather others after one whose lock someone else held."""
    last = candidate.record.last if candidate.record else None
    if last is None or last.host != room.host:
        return room.take(candidate.job)
    if last.verdict is not None and last.verdict.reason is Reason.LOCK_HELD:
        return room.take(candidate.job, avoid=last.gpus)
    return room.take(candidate.job, prefer=last.gpus)


def _launch(draft: Draft, project: Project, candidate: Candidate, host: str, gpus: tuple[Gpu, ...]) -> Launch:
    job, record = candidate.job, candidate.record
    number = (record.attempts[-1].number if record and record.attempts else 0) + 1
    view = draft.view(host)
    assert isinstance(view, HostView)
    in_screen = project.launcher is LauncherKind.SCREEN or (
        project.launcher is LauncherKind.AUTO and view.screen_installed
    )
    outputs = view.outputs.get(job.key)
    attempt = AttemptRecord(
        job=job.key,
        number=number,
        generation=job.generation,
        host=host,
        launcher=str(LauncherKind.SCREEN if in_screen else LauncherKind.PROCESS),
        session=session_name(AttemptRef(job.key, number)) if in_screen else None,
        gpus=tuple(gpu.uuid for gpu in gpus),
        gpu_indices=tuple(gpu.index for gpu in gpus),
        intended_at=draft.now,
        revision=draft.desired.revision_of(job.project),
        outputs_before=outputs.fingerprints if isinstance(outputs, OutputFacts) else (),
        pin=launch_pin(draft, project, job),
    )
    return Launch(
        kind=ActionKind.LAUNCH,
        job=job.key,
        attempt=number,
        reason=candidate.reason,
        message=_message(project, candidate, record, job) + _from_commit(attempt),
        host=attempt.host,
        gpus=attempt.gpus,
        gpu_indices=attempt.gpu_indices,
        record=attempt,
    )


def _from_commit(attempt: AttemptRecord) -> str:
    return f", from commit {commit_of(attempt)[:12]}" if attempt.pin else ""


def _message(project: Project, candidate: Candidate, record: JobRecord | None, job: Job) -> str:
    if candidate.reason is not Reason.REQUEUED:
        return candidate.message
    ends = (attempt.verdict for attempt in counted_attempts(record, job.generation))
    tries = 1 + sum(verdict is not None and verdict.reason not in INFRA_REASONS for verdict in ends)
    return f"{candidate.message} (try {tries})"
