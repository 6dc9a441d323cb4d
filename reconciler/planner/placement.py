"""Slots and GPUs: what is free for a project, and in words what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from reconciler.model.enums import LauncherKind, Reason, Waves
from reconciler.model.facts import DiskFacts, Gpu, HostView, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.spec import Job, Placement, Project
from reconciler.planner.draft import Draft, Refusal
from reconciler.planner.limits import DISK_FREE_MIN_MIB, DISK_POLL_S, GPU_UNKNOWN_POLL_S, RELEASE_POLL_MAX_S

Leases = dict[str, set[str]]
"""The UUIDs of GPUs that are taken, by machine (see `Draft.machine_of`)."""


@dataclass(slots=True)
class Slots:
    """How many more jobs may start. `full`: why none, once they are taken; None: because the GPUs are."""

    left: float
    full: Refusal | None = None


@dataclass(slots=True)
class Room:
    """What a project may still use on one host in this plan. Consumed job by job, in spec order."""

    host: str
    slots: Slots
    shared: Slots
    """Those of the project as a whole, on all its hosts together."""
    busy: int = 0
    """How many of its jobs the host has already."""
    usable_gpus: tuple[Gpu, ...] = ()
    """Those whose memory nobody uses; some may be leased."""
    leased: set[str] = field(default_factory=set)
    """What attempts hold or this plan gives out, by all projects and under all names of the machine. It only grows."""
    gpu_count: int = 0
    """How many GPUs the project may use, free or not."""
    closed: Refusal | None = None
    """Why nothing at all can start."""
    no_gpus: Refusal | None = None
    """Why nothing can start that needs a GPU."""
    describe: Callable[[Sequence[Gpu]], str] = str
    """In words, why only these GPUs are free."""
    _no_gpu: Refusal | None = None
    _free: tuple[int, list[Gpu]] = (-1, [])
    """What is free while so many are leased."""

    @property
    def free_gpus(self) -> list[Gpu]:
        """What can be given out now."""
        if self._free[0] != len(self.leased):
            self._free = (len(self.leased), [gpu for gpu in self.usable_gpus if gpu.uuid not in self.leased])
        return self._free[1]

    def refusal(self, job: Job) -> Refusal | None:
        """Why this job cannot start now; None when there is room for it."""
        if self.closed is not None:
            return self.closed
        if job.gpus and self.no_gpus is not None:
            return self.no_gpus
        if job.gpus > self.gpu_count:
            message = f"it needs {job.gpus} GPUs, the project may use {self.gpu_count} here"
            return Refusal(Reason.NO_SUCH_GPU, message)
        for slots in (self.shared, self.slots):
            if slots.left < 1 and slots.full is not None:
                return slots.full
        free = self.free_gpus
        if self.slots.left < 1 or len(free) < job.gpus:
            self._no_gpu = self._no_gpu or Refusal(Reason.NO_FREE_GPU, self.describe(free))
            return self._no_gpu
        return None

    def take(self, job: Job, prefer: Sequence[str] = (), avoid: Sequence[str] = ()) -> tuple[Gpu, ...]:
        """Take a slot and the job's GPUs: those of `prefer` first, those of `avoid` last. There has to be room."""
        ordered = sorted(self.free_gpus, key=lambda gpu: (gpu.uuid in avoid, gpu.uuid not in prefer, gpu.index))
        taken = tuple(ordered[: job.gpus])
        self.leased.update(gpu.uuid for gpu in taken)
        self.slots.left -= 1
        self.shared.left -= 1
        self.busy += 1
        self._no_gpu = None
        return taken


Rooms = Mapping[str, Room]
"""By host, in the order of the spec."""


def rooms_for(draft: Draft, project: Project, leased: Leases) -> Rooms:
    """What is free for a project on each of its hosts. `leased`: what attempts hold or this plan gives out."""
    own = [attempt for attempt in draft.occupying.values() if _belongs(attempt, project)]
    limit = project.max_parallel
    shared = Slots(inf) if limit is None else Slots(limit - len(own), _no_slot(draft, own, limit))
    return {each.host: _room(draft, project, each, shared, own, leased) for each in project.placements}


def _room(
    draft: Draft,
    project: Project,
    placement: Placement,
    shared: Slots,
    own: Sequence[AttemptRecord],
    leased: Leases,
) -> Room:
    host = placement.host
    view = draft.view(host)
    if isinstance(view, Unknown):
        reason = Refusal(Reason.HOST_UNKNOWN, view.message)
        return Room(host, Slots(0), shared, closed=reason)
    closed = (
        _disk_refusal(draft, view)
        or _adoption_refusal(draft, host)
        or _screen_refusal(draft, project, view)
        or _wave_refusal(draft, project, host)
    )
    if closed is not None:
        return Room(host, Slots(0), shared, closed=closed)
    here = [attempt for attempt in own if attempt.host == host]
    limit = placement.max_parallel
    if project.gpu_pool is None:
        limit = 1 if limit is None and project.max_parallel is None else limit
        slots = Slots(inf) if limit is None else Slots(limit - len(here), _no_slot(draft, here, limit))
        return Room(host, slots, shared, busy=len(here))
    return _gpu_room(draft, project, placement, view, shared, here, leased)


def _no_slot(draft: Draft, own: Sequence[AttemptRecord], limit: int) -> Refusal:
    slots = "the one slot is in use" if limit == 1 else f"all {limit} slots are in use"
    ended = [attempt for attempt in own if attempt.path in draft.left]
    words = [f"{attempt.job} has ended, {draft.left[attempt.path]}" for attempt in ended]
    return Refusal(Reason.NO_FREE_SLOT, "; ".join([f"{slots} (max_parallel)", *words]))


def _owners(draft: Draft, host: str) -> dict[str, str]:
    """By GPU of a host, which attempt holds it, in words."""
    owners: dict[str, str] = {}
    for path, attempt in draft.holding_on(host).items():
        left = draft.left.get(path)
        words = f": {attempt.job} has ended, {left}" if left else f" runs {attempt.job}"
        owners.update(dict.fromkeys(attempt.gpus, words))
    return owners


def _belongs(attempt: AttemptRecord, project: Project) -> bool:
    return attempt.job.startswith(project.name + "/")


def _gpu_room(
    draft: Draft,
    project: Project,
    placement: Placement,
    view: HostView,
    shared: Slots,
    here: Sequence[AttemptRecord],
    leased: Leases,
) -> Room:
    limit = placement.max_parallel
    without = Slots((1 if limit is None else limit) - len(here), _no_slot(draft, here, 1 if limit is None else limit))
    if isinstance(view.gpus, Unknown):
        draft.note_unknown(f"{view.host}: {view.gpus.message}; nothing is launched on its GPUs")
        draft.wake(draft.now + GPU_UNKNOWN_POLL_S)
        unknown = Refusal(Reason.GPU_UNKNOWN, view.gpus.message)
        return Room(view.host, without, shared, len(here), no_gpus=unknown)
    pool = pool_of(project, placement, view.gpus)
    if not pool:
        message = _missing_gpus(project, placement, view.gpus)
        return Room(view.host, without, shared, len(here), no_gpus=Refusal(Reason.NO_SUCH_GPU, message))
    full = _no_slot(draft, here, limit) if limit is not None else None
    slots = Slots((len(pool) if limit is None else limit) - len(here), full)
    threshold = project.gpu_free_threshold_mib
    taken = leased.setdefault(draft.machine_of(view.host), set())
    usable = tuple(gpu for gpu in pool if is_free(gpu, threshold))
    if min(slots.left, shared.left) > 0 and any(not is_free(gpu, threshold) for gpu in pool):
        draft.wake(draft.now + RELEASE_POLL_MAX_S)  # others use it; one of ours is polled by its own attempt
    return Room(
        view.host,
        slots,
        shared,
        len(here),
        usable,
        taken,
        gpu_count=len(pool),
        describe=lambda free: describe_gpus(pool, free, threshold, _owners(draft, view.host), taken),
    )


def alert_missing_gpus(draft: Draft, project: Project) -> None:
    """Say it when a host lacks some of the GPUs that the project names; where it lacks all, its jobs say so."""
    for placement in project.placements if project.gpu_pool is not None else ():
        view = draft.view(placement.host)
        if not isinstance(view, HostView) or isinstance(view.gpus, Unknown):
            continue
        if 0 < len(pool_of(project, placement, view.gpus)) < len(set(_ids(project, placement) or ())):
            draft.alert(f"{project.name}: {_missing_gpus(project, placement, view.gpus)}")


def _ids(project: Project, placement: Placement) -> tuple[str, ...] | None:
    """The GPUs that the specs name for a host; None: all it has."""
    if project.gpu_pool is None:
        return ()
    return project.gpu_pool.ids if placement.gpu_ids is None else placement.gpu_ids


def _missing_gpus(project: Project, placement: Placement, gpus: Sequence[Gpu]) -> str:
    asked = ", ".join(_ids(project, placement) or ())
    has = ", ".join(str(gpu.index) for gpu in sorted(gpus, key=lambda gpu: gpu.index)) or "none"
    host = placement.host
    return f"the specs ask for GPU {asked}, {host} has {has}" if asked else f"{host} shows no GPU"


def pool_of(project: Project, placement: Placement, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The host's GPUs that the project may use, in index order."""
    ids = _ids(project, placement)
    chosen = gpus if ids is None else [gpu for gpu in gpus if str(gpu.index) in ids or gpu.uuid in ids]
    return tuple(sorted(chosen, key=lambda gpu: gpu.index))


def is_free(gpu: Gpu, threshold_mib: int) -> bool:
    """Its memory is known to be under the threshold."""
    return gpu.used_mib is not None and gpu.used_mib <= threshold_mib


def describe_gpus(
    pool: Sequence[Gpu],
    free: Sequence[Gpu],
    threshold_mib: int,
    owners: Mapping[str, str],
    leased: set[str],
) -> str:
    """In words, who uses which GPU: `0 of 4 GPUs free: GPU 0 ours, GPU 2 14,850 MiB used by pid 2797307 (alice)`."""
    parts = [_describe(gpu, threshold_mib, owners, leased) for gpu in pool if gpu not in free]
    return f"{len(free)} of {len(pool)} GPUs free: {', '.join(parts)}" if parts else f"all {len(pool)} GPUs taken"


def _describe(gpu: Gpu, threshold_mib: int, owners: Mapping[str, str], leased: set[str]) -> str:
    label = f"GPU {gpu.index}"
    if gpu.uuid in owners:
        return f"{label}{owners[gpu.uuid]}"
    if gpu.uuid in leased:
        return f"{label} just given out"
    if gpu.used_mib is None:
        return f"{label} does not report its memory"
    if is_free(gpu, threshold_mib):
        return f"{label} just given out"
    users = [f"pid {p.pid}" + (f" ({p.user})" if p.user else "") for p in gpu.processes]
    by = f" by {', '.join(users)}" if users else f" (threshold {threshold_mib:,} MiB), by no visible process"
    return f"{label}: {gpu.used_mib:,} MiB used{by}"


def _disk_refusal(draft: Draft, view: HostView) -> Refusal | None:
    disk = view.disk
    if isinstance(disk, Unknown):
        draft.note_unknown(f"{view.host}: {disk.message}; nothing is launched there")
        draft.wake(draft.now + DISK_POLL_S)
        return Refusal(Reason.DISK_FULL, disk.message)
    if disk.writable and disk.free_mib >= DISK_FREE_MIN_MIB:
        return None
    draft.wake(draft.now + DISK_POLL_S)
    # without numbers: an alert is said once for as long as it stays the same
    message = _disk_message(disk)
    draft.alert("disk full: jobs are held until there is room" if disk.writable else f"jobs are held: {message}")
    return Refusal(Reason.DISK_FULL, message)


def _disk_message(disk: DiskFacts) -> str:
    if not disk.writable:
        return disk.message or "the state folder cannot be written"
    return f"only {disk.free_mib} MiB are free in the state folder, {DISK_FREE_MIN_MIB} are needed to start a job"


def _adoption_refusal(draft: Draft, host: str) -> Refusal | None:
    """What a live attempt that is only now taken in uses is known at the next look."""
    if host not in draft.adopting:
        return None
    return Refusal(Reason.ATTEMPT_UNKNOWN, "a live attempt that the ledger did not follow is taken in first")


def _screen_refusal(draft: Draft, project: Project, view: HostView) -> Refusal | None:
    wants = project.launcher is LauncherKind.SCREEN or (project.launcher is LauncherKind.AUTO and view.screen_installed)
    if not wants:
        return None
    if not view.screen_installed:
        message = "screen is not installed here; install it, or set launcher: process"
        draft.note_unknown(f"{view.host}: {message}; nothing is launched in screens")
        return Refusal(Reason.SCREEN_UNKNOWN, message)
    if isinstance(view.sessions, Unknown):
        draft.note_unknown(f"{view.host}: {view.sessions.message}; nothing is launched in screens")
        return Refusal(Reason.SCREEN_UNKNOWN, view.sessions.message)
    return None


def _wave_refusal(draft: Draft, project: Project, host: str) -> Refusal | None:
    """Barrier waves: nothing starts until the whole wave before is gone, screens and GPU memory included."""
    if project.waves is not Waves.BARRIER:
        return None
    held = {path: attempt.job for path, attempt in draft.holding.items() if _belongs(attempt, project)}
    still = sorted(f"{job} has ended, {draft.left[path]}" if path in draft.left else job for path, job in held.items())
    if still:
        message = f"the wave before has {len(still)} still there: {'; '.join(still[:3])}"
        return Refusal(Reason.WAVE_NOT_SETTLED, message)
    return _wave_memory_refusal(draft, project, host)


def _wave_memory_refusal(draft: Draft, project: Project, host: str) -> Refusal | None:
    view = draft.view(host)
    if project.gpu_pool is None or not isinstance(view, HostView) or not isinstance(view.gpus, tuple):
        return None
    lasts = [record.last for key, record in draft.ledger.jobs.items() if key.startswith(project.name + "/")]
    attempts = [attempt for attempt in lasts if attempt is not None and attempt.host == host]
    newest = max((attempt.intended_at for attempt in attempts), default=None)
    wave = {uuid for attempt in attempts if attempt.intended_at == newest for uuid in attempt.gpus}
    busy = [g for g in view.gpus if g.uuid in wave and may_be_ours(g, project.gpu_free_threshold_mib)]
    if not busy:
        return None
    draft.wake(draft.now + RELEASE_POLL_MAX_S)  # while it is fresh, the attempt itself is looked at more often
    used = ", ".join(f"GPU {gpu.index}: {gpu.used_mib or 0:,} MiB" for gpu in busy)
    return Refusal(Reason.WAVE_NOT_SETTLED, f"GPU memory of the wave before is not released: {used}")


def may_be_ours(gpu: Gpu, threshold_mib: int) -> bool:
    """Its memory is in use, and not by processes that are known to be someone else's: what ended here may hold it."""
    if is_free(gpu, threshold_mib):
        return False
    return not gpu.processes or any(process.attempt is not None for process in gpu.processes)
