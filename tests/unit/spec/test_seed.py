"""The three examples that the spec language comes from, as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.model.spec import MAIN_PHASE, Placement, Project, SpecError
from reconciler.spec.files import load_file
from reconciler.spec.load import load_text

SEED = Path(__file__).parent / "seed"


def load(name: str) -> tuple[Project | None, tuple[SpecError, ...]]:
    return load_text((SEED / name).read_text(encoding="utf-8"), name, "/base")


def test_the_manifest_names_a_parameter_that_its_jobs_do_not_have() -> None:
    project, errors = load("manifest.yaml")
    assert project is None
    assert [str(error) for error in errors] == [
        "manifest.yaml:15:57: unknown name `{N}`: the job `s200_N64_n50K` has `seed`, `n_hidden`, `n_train_subset`, "
        "`subset_seed`"
    ]


def test_the_manifest_loads_once_its_jobs_define_the_parameter() -> None:
    text = (SEED / "manifest.yaml").read_text(encoding="utf-8").replace("N{N}", "N{n_hidden}")
    project, errors = load_text(text, "manifest.yaml", "/base")
    assert project is not None
    assert not errors
    first, second = project.jobs()
    assert first.cmd == (
        "python run_pc_distill_exp.py --backbone softmax --lam 0.5 --K 500 --L 96 --W 16 --n_steps 30000 "
        "--batch_size 128 --lr 1e-4 --seed 200 --n_hidden 64 --n_train_subset 50000 --subset_seed 2024"
    )
    assert first.key == "dllm_distill/s200_N64_n50K"
    assert first.cwd == project.cwd == "/home/rfyang/rfyang_code/dllm_experiments_torch"
    assert first.conda == "dllm"
    assert first.conda_hook is None
    assert [check.subject for check in second.preconditions] == [
        "checkpoints/transformer/pcc_softmax_L96_K500_N128_wikitext103.pt"
    ]
    assert project.placements == (Placement("SJTUServer5"),)
    assert project.gpu_pool is not None
    assert project.gpu_pool.ids == tuple("01234567")
    assert (project.max_parallel, project.gpu_free_threshold_mib) == (8, 500)
    assert (project.oom_retry.delay_s, project.oom_retry.max_attempts) == (120, 3)


def test_the_grid_makes_36_jobs_that_have_no_command() -> None:
    project, errors = load("grid.yaml")
    assert project is not None
    assert [str(error) for error in errors] == [
        "grid.yaml:6:3: warning: 36 jobs have no command (no `cmd`, and no `default_cmd` to fall back on) "
        "and will not be launched"
    ]
    jobs = list(project.jobs())
    assert len(jobs) == 36
    assert {job.cmd for job in jobs} == {""}
    assert {job.phase for job in jobs} == {MAIN_PHASE}
    assert [job.id for job in jobs[:4]] == ["s42_N64_n50000", "s200_N64_n50000", "s201_N64_n50000", "s42_N64_n150000"]
    assert jobs[-1].params == {"N": 256, "n": 652000, "seed": 201}


def test_the_grid_runs_with_a_command() -> None:
    text = "default_cmd: python train.py\n" + (SEED / "grid.yaml").read_text(encoding="utf-8")
    project, errors = load_text(text, "grid.yaml", "/base")
    assert project is not None
    assert not errors
    assert next(project.jobs()).cmd == "python train.py --seed 42 --n_hidden 64 --n_train_subset 50000"


def test_the_phases_wait_for_each_other() -> None:
    project, errors = load("phases.yaml")
    assert project is not None
    assert not errors
    assert [(phase.name, phase.depends_on, len(phase.jobs)) for phase in project.phases] == [
        ("train_teachers", (), 2),
        ("distill_students", ("train_teachers",), 6),
    ]
    student = project.phases[1].jobs[4]
    assert student.id == "distill_students_N512_seed200"
    assert student.cmd == "python run_pc_distill_exp.py --n_hidden 512 --seed 200 ..."
    assert student.outputs == ("figures/pcdistill_sw_N512_*_seed200.json",)


@pytest.mark.parametrize("name", ["grid.yaml", "phases.yaml"])
def test_a_file_loads_as_its_text_does(name: str) -> None:
    project, _ = load_file(SEED / name)
    assert project is not None
    assert project.name == name.removesuffix(".yaml")
    assert project.cwd == str(SEED)
