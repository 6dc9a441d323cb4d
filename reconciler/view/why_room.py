"""What room there is for a job: free GPUs and slots, host by host, and who has the others."""

from __future__ import annotations

from reconciler.model.enums import JobStatus
from reconciler.model.facts import Unknown
from reconciler.model.plan import JobState
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Placement, Project
from reconciler.view import look
from reconciler.view.look import GpuUse
from reconciler.view.words import ranges, some

JOBS_NAMED = 6
HOSTS_NAMED = 8


def room_words(snapshot: Snapshot, state: JobState) -> str:
    """`a free GPU: 1 of 4 now (...)` or `a free slot: 0 of 2 now (...)`; empty for a job that no spec asks for."""
    project = snapshot.desired.projects.get(state.project)
    if project is None:
        return ""
    hosts = look.possible_hosts(snapshot, state.job)
    placements = [each for each in project.placements if each.host in hosts] or list(project.placements)
    if project.gpu_pool is None:
        return _slots(snapshot, project, placements)
    job = snapshot.desired.index.get(state.job)
    wants = "a free GPU" if job is None or job.gpus <= 1 else f"{job.gpus} free GPUs"
    return f"{wants}: {_gpus(snapshot, project, placements)}"


def _gpus(snapshot: Snapshot, project: Project, placements: list[Placement]) -> str:
    pools = {each.host: _pool(snapshot, project, each) for each in placements}
    known = {host: pool for host, pool in pools.items() if not isinstance(pool, Unknown)}
    free = sum(use.free for pool in known.values() for use in pool)
    numbers = f"{free} of {sum(map(len, known.values()))} now"
    if len(pools) == 1:
        (pool,) = pools.values()
        return f"not known now ({pool.message})" if isinstance(pool, Unknown) else f"{numbers} ({_gpu_words(pool)})"
    # where there is room comes first
    order = sorted(pools, key=lambda host: -sum(use.free for use in known.get(host, ())))
    told = [f"{host}: {_pool_words(pools[host])}" for host in order[:HOSTS_NAMED]]
    told += [f"{len(order) - HOSTS_NAMED} more hosts"] if len(order) > HOSTS_NAMED else []
    return f"{numbers} ({'; '.join(told)})"


def _pool(snapshot: Snapshot, project: Project, placement: Placement) -> list[GpuUse] | Unknown:
    """Those GPUs of a host that the project may use."""
    uses = look.gpu_uses(snapshot, placement.host, project.gpu_free_threshold_mib)
    return uses if isinstance(uses, Unknown) else look.in_pool(project, placement, uses)


def _pool_words(pool: list[GpuUse] | Unknown) -> str:
    if isinstance(pool, Unknown):
        return "not known now"
    return _gpu_words(pool) or "no GPU"


def _gpu_words(pool: list[GpuUse]) -> str:
    """Neighbours that stand alike are drawn together: `GPU 0-1 ours, GPU 2 14,850 MiB by alice pid 2797307`."""
    runs: list[tuple[str, list[int]]] = []
    for use in pool:
        if runs and runs[-1][0] == use.words:
            runs[-1][1].append(use.gpu.index)
        else:
            runs.append((use.words, [use.gpu.index]))
    return ", ".join(f"GPU {ranges(indices)} {words}" for words, indices in runs)


def _slots(snapshot: Snapshot, project: Project, placements: list[Placement]) -> str:
    running = [s for s in look.jobs_of(snapshot, project.name) if s.status is JobStatus.RUNNING]
    names = running_names(snapshot, project.name)
    on_one = len(project.placements) == 1
    if on_one or (project.max_parallel and all(each.max_parallel is None for each in placements)):
        limit = min(filter(None, (project.max_parallel, placements[0].max_parallel)), default=1)
        return f"a free slot: {max(0, limit - len(running))} of {limit} now{f' ({names} running)' if running else ''}"
    taken = [look.host_of(snapshot, state.job) for state in running]
    limits = {each.host: look.room_on(snapshot, project, each) or 1 for each in placements}
    free = {host: max(0, limit - taken.count(host)) for host, limit in limits.items()}
    total = min(sum(limits.values()), project.max_parallel or sum(limits.values()))
    left = max(0, min(sum(free.values()), total - len(running)))
    told = ", ".join(f"{host}: {free[host]} of {limits[host]}" for host in list(limits)[:HOSTS_NAMED])
    return f"a free slot: {left} of {total} now ({told})"


def running_names(snapshot: Snapshot, project: str) -> str:
    """`a, b and 3 more`; empty when none runs."""
    running = [other for other in look.jobs_of(snapshot, project) if other.status is JobStatus.RUNNING]
    return some([other.job.partition("/")[2] for other in running], JOBS_NAMED)
