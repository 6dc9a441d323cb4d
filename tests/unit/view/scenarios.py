"""The situation of the design document's examples: teachers and students on four GPUs, and a sweep with failures."""

from __future__ import annotations

from reconciler.model.ledger import JobRecord
from reconciler.model.plan import Action
from reconciler.model.snapshot import Snapshot
from tests.unit.view import factories as f

TEACHERS, STUDENTS = "train_teachers", "distill_students"
WAITS = "waits for train_teachers (1 of 2 completed)"
STUDENT_IDS = [f"d_N{n}_s{seed}" for n in (384, 512) for seed in range(42, 54)]
SWEEP_IDS = [f"s{seed}_N{n}" for seed in (42, 200, 201, 202) for n in (64, 128, 192, 256)]


def distillation(*, teacher_runs: bool) -> Snapshot:
    """Before (`teacher_runs` False) or after the second teacher was launched."""
    wanted = f.desired(
        f.project(
            "distill",
            {TEACHERS: ["t_N384", "t_N512"], STUDENTS: STUDENT_IDS},
            {STUDENTS: [TEACHERS]},
            gpu_pool=f.GpuPool(),
            max_parallel=None,
        ),
        f.project("sweep", {"main": SWEEP_IDS}, gpu_pool=f.GpuPool(), max_parallel=None),
    )
    records = [f.record(f.ended("distill/t_N384", "11:16", "11:40", gpu_indices=(1,)))]
    states = [f.state("distill/t_N384", "completed", "Succeeded", "exit 0", TEACHERS, attempt=1)]
    actions: list[Action] = []
    facts = {}
    if teacher_runs:
        path = "distill/t_N512"
        records.append(f.record(f.attempt(path, gpu_indices=(3,), started_at=f.at("11:58"), pid=2801)))
        states.append(f.state(path, "running", "Running", "running", TEACHERS, attempt=1))
        facts[f"{path}/1"] = f.running_facts(2801, f.at("11:58"))
    else:
        states.append(f.state("distill/t_N512", "pending", "NewInSpec", "new in spec", TEACHERS))
        actions.append(f.launch("distill/t_N512", gpus=[3]))
    states += [f.state(f"distill/{i}", "pending", "PhaseNotReady", WAITS, STUDENTS) for i in STUDENT_IDS]
    sweep_records, sweep_states, sweep_actions = _sweep()
    made = f.plan(wanted, [*states, *sweep_states], [*sweep_actions, *actions], {STUDENTS: WAITS})
    gpus = (
        f.gpu(0, 30112, [f.GpuProcess(2701, 30109, "me", "python", "sweep/s200_N64/1")]),
        f.gpu(1, 30112, [f.GpuProcess(2702, 30109, "me", "python", "sweep/s200_N128/1")]),
        f.gpu(2, 14850, [f.GpuProcess(2797307, 14847, "alice", "python")]),
        f.gpu(3, 30112 if teacher_runs else 3),
    )
    return f.snapshot(wanted, made, f.ledger(*records, *sweep_records), f.host(gpus=gpus, attempts=facts))


def _sweep() -> tuple[list[JobRecord], list[f.JobState], list[Action]]:
    """Two run, one ran out of memory, one is stuck, twelve are completed."""
    oom = "GPU out of memory on GPU 1, attempt 2 of 3, elsewhere"
    retry_at = f.at("12:03:11")
    records, states = [], []
    for number, job_id in enumerate(SWEEP_IDS):
        key = f"sweep/{job_id}"
        if job_id == "s42_N64":
            states.append(f.state(key, "failed_oom", "GpuOutOfMemory", oom, until=retry_at, attempt=2))
        elif job_id == "s42_N128":
            records.append(f.record(f.ended(key, "11:00", "11:01", "failed_other", "CodeError", "exit 1")))
            states.append(f.state(key, "stuck", "CodeError", "exit 1", attempt=1))
        elif job_id in ("s200_N64", "s200_N128"):
            index = 0 if job_id == "s200_N64" else 1
            records.append(f.record(f.attempt(key, gpu_indices=(index,), started_at=f.at("11:50"), pid=2701 + index)))
            states.append(f.state(key, "running", "Running", "running", attempt=1))
        else:
            records.append(
                f.record(f.ended(key, f"{8 + number // 10}:0{number % 10}", f"{8 + number // 10}:2{number % 10}"))
            )
            states.append(f.state(key, "completed", "Succeeded", "exit 0", attempt=1))
    return records, states, [f.settle("requeue", "sweep/s42_N64", "GpuOutOfMemory", oom, 2, retry_at=retry_at)]
