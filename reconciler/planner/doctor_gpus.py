"""Judges for `exq doctor` whether a host has the GPUs that its jobs want."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.model.doctor import Check, CheckStatus, MachineFacts, Patient
from reconciler.model.facts import Gpu, HostView, Unknown
from reconciler.model.spec import Job, Placement, Project
from reconciler.planner.doctor import there
from reconciler.planner.placement import describe_gpus, is_free, pool_of

SLOW_S = 2.0

OK, WARNING, ERROR = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.ERROR


def gpu_checks(patient: Patient, view: HostView, facts: MachineFacts) -> Iterator[Check]:
    """How nvidia-smi answers, and for each project with jobs to run whether enough GPUs are free."""
    wanted = any(project.gpu_pool is not None for project, _ in patient.projects)
    yield _nvidia_smi(patient, view, facts.nvidia_smi_s, wanted)
    if isinstance(view.gpus, Unknown):
        return
    for project, placement in patient.projects:
        jobs = [job for job in patient.all_jobs() if job.project == project.name and job.gpus]
        if jobs:
            yield _project(patient, project, placement, jobs, view.gpus)


def _nvidia_smi(patient: Patient, view: HostView, took_s: float | None, wanted: bool) -> Check:
    host, name = patient.host, "nvidia-smi"
    if isinstance(view.gpus, Unknown):
        if not wanted:
            return Check(host, name, OK, "no GPU can be seen, and no spec wants one here")
        return Check(host, name, ERROR, view.gpus.message, _nvidia_mend(patient, view.gpus.message))
    count = f"{len(view.gpus)} GPU{'' if len(view.gpus) == 1 else 's'}"
    if took_s is None:
        return Check(host, name, WARNING, f"{count}; how long it takes is not known")
    if took_s > SLOW_S:
        message = f"{count}, but it takes {took_s:.1f} s to say so: without persistence mode the driver starts anew"
        return Check(host, name, WARNING, message, there(patient, "nvidia-smi -pm 1", root=True))
    return Check(host, name, OK, f"{count}, in {took_s:.2f} s")


def _nvidia_mend(patient: Patient, message: str) -> str:
    if "not installed" in message and patient.local:
        return "export NVIDIA_SMI=/path/to/nvidia-smi"
    if "did not answer" in message:
        return there(patient, "dmesg | tail", root=True)
    return there(patient, "nvidia-smi")


def _project(
    patient: Patient, project: Project, placement: Placement, jobs: Sequence[Job], gpus: Sequence[Gpu]
) -> Check:
    host, name = patient.host, f"GPUs for {project.name}"
    pool = pool_of(project, placement, gpus)
    missing = _missing(project, placement, pool)
    each = max(job.gpus for job in jobs)
    if missing:
        there_are = ", ".join(str(gpu.index) for gpu in gpus) or "none"
        message = f"it has no GPU {', '.join(missing)}; there are {there_are}"
        return Check(host, name, ERROR, message, f"correct `gpus` in {project.source}")
    if len(pool) < each:
        keys = tuple(job.key for job in jobs if job.gpus > len(pool))
        message = f"a job wants {each} GPUs, the project may use {len(pool)}"
        return Check(host, name, ERROR, message, f"correct `gpus` or `gpus_per_job` in {project.source}", keys)
    at_once = _at_once(project, placement, len(jobs), len(pool) // each)
    free = [gpu for gpu in pool if is_free(gpu, project.gpu_free_threshold_mib) or _is_ours(patient, gpu)]
    if at_once * each > len(pool):
        message = f"{at_once} jobs at a time want {at_once * each} GPUs, the project may use {len(pool)}"
        return Check(host, name, WARNING, message, f"correct `max_parallel` or `gpus` in {project.source}")
    if len(free) < at_once * each:
        words = describe_gpus(pool, free, project.gpu_free_threshold_mib, {}, set())
        return Check(host, name, WARNING, f"{at_once * each} are wanted at a time; {words}", _who(patient))
    return Check(host, name, OK, f"{len(free)} of {len(pool)} free or ours, {at_once * each} wanted at a time")


def _missing(project: Project, placement: Placement, pool: Sequence[Gpu]) -> list[str]:
    """The GPUs that the spec names and the host does not have."""
    ids = placement.gpu_ids or (project.gpu_pool.ids if project.gpu_pool is not None else None) or ()
    known = {str(gpu.index) for gpu in pool} | {gpu.uuid for gpu in pool}
    return [each for each in ids if each not in known]


def _at_once(project: Project, placement: Placement, jobs: int, room: int) -> int:
    """How many jobs of the project are to run there at a time."""
    limits = [limit for limit in (placement.max_parallel, project.max_parallel) if limit is not None]
    return min([*limits, jobs] if limits else [room, jobs])


def _is_ours(patient: Patient, gpu: Gpu) -> bool:
    return gpu.uuid in patient.held or any(process.attempt for process in gpu.processes)


def _who(patient: Patient) -> str:
    return there(patient, "nvidia-smi --query-compute-apps=pid,gpu_uuid,used_memory,name --format=csv")
