from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.model.enums import PreconditionKind
from reconciler.view.runs import oom_retries, run_of
from reconciler.view.summary import common_glob, manifest, summary_markdown
from tests.unit.view import factories as f

IDS = [f"d{i}" for i in range(24)]


def seed_run() -> f.Snapshot:
    """The seed's own report: 42 jobs in three phases, two of which ran out of memory once."""
    phases = {
        "train_teachers": ["t0", "t1"],
        "distill_students": IDS,
        "multi_seed_validation": [f"m{i}" for i in range(16)],
    }
    wanted = f.desired(f.project("dllm_distill", phases, {"distill_students": ["train_teachers"]}))
    spans = {
        "train_teachers": ("07:36:29", "08:34:50"),
        "distill_students": ("08:35", "12:37"),
        "multi_seed_validation": ("12:37", "14:02"),
    }
    records, states = [], []
    for phase, ids in phases.items():
        for job_id in ids:
            key = f"dllm_distill/{job_id}"
            start, end = spans[phase]
            attempts = [f.ended(key, start, end)]
            if job_id in ("d3", "d4"):
                oom = f.ended(
                    key, "09:00", "09:05", "failed_oom", "GpuOutOfMemory", "CUDA out of memory", retry_at=f.at("09:07")
                )
                attempts = [oom, replace(attempts[0], number=2)]
            records.append(f.record(*attempts))
            states.append(f.state(key, "completed", "Succeeded", "exit 0", phase, attempt=len(attempts)))
    return f.snapshot(wanted, f.plan(wanted, states), f.ledger(*records))


def test_the_seeds_report() -> None:
    run = f.ProjectRun("dllm_distill", 1, f.at("07:36:29"), "/x", f.at("14:02:14"))
    files = [f"/home/me/exp/figures/pcdistill_sw_N{n}_seed{seed}.json" for n in (1, 2) for seed in range(21)]
    assert (
        summary_markdown(seed_run(), "dllm_distill", run, files)
        == """\
# Experiment Queue Summary

**Project**: dllm_distill
**Started**: 2026-04-17 07:36:29
**Completed**: 2026-04-17 14:02:14
**Total wall-clock**: 6h 25m
**Jobs**: 40 completed, 2 OOM-retried then completed, 0 stuck

## Phases

| Phase | Jobs | Success | OOM retries | Duration |
| --- | --- | --- | --- | --- |
| train_teachers | 2 | 2 | 0 | 58m |
| distill_students | 24 | 24 | 2 | 4h 02m |
| multi_seed_validation | 16 | 16 | 0 | 1h 25m |

## Results Files

- 42 JSON files in `figures/pcdistill_sw_N*.json`

## Next Steps

- Analyse the results files; `analyze_on_complete` in the spec names a command that does it
- `exq report dllm_distill --html dllm_distill.html` makes an HTML page of this
"""
    )


def test_a_run_that_is_not_over_and_has_a_stuck_job() -> None:
    wanted = f.desired(f.project("p", {"main": ["a", "b", "c"]}, analyze_on_complete="python analyse.py"))
    states = [
        f.state("p/a", "stuck", "CodeError", "exit 1", attempt=1),
        f.state("p/b", "running", "Running", "running", attempt=1),
        f.state("p/c", "pending", "NoFreeSlot", "all slots are in use"),
    ]
    records = [
        f.record(f.ended("p/a", "11:55", "11:56", "failed_other", "CodeError", "exit 1")),
        f.record(f.attempt("p/b", started_at=f.at("11:56"))),
    ]
    run = f.ProjectRun("p", 1, f.at("11:55"), "/x")
    text = summary_markdown(f.snapshot(wanted, f.plan(wanted, states), f.ledger(*records)), "p", run, [])
    assert (
        text
        == """\
# Experiment Queue Summary

**Project**: p
**Started**: 2026-04-17 11:55:00
**Completed**: not yet
**Total wall-clock**: 6m 11s so far
**Jobs**: 0 completed, 0 OOM-retried then completed, 1 stuck, 1 running, 1 waiting

## Phases

| Phase | Jobs | Success | OOM retries | Duration |
| --- | --- | --- | --- | --- |
| main | 3 | 0 | 0 | 6m 11s |

## Stuck Jobs

- `p/a`: exit 1 (CodeError)

## Results Files

- none

## Next Steps

- Look into what is stuck: `exq logs a`; then `exq retry a`
- `python analyse.py` analyses the results (`analyze_on_complete` in `specs/p.yaml`)
- `exq report p --html p.html` makes an HTML page of this
"""
    )


def second_run() -> tuple[f.Snapshot, f.ProjectRun]:
    """`done` was completed in the first run, `again` got stuck there and was retried an hour later."""
    wanted = f.desired(f.project("p", {"one": ["done"], "two": ["again"]}))
    states = [
        f.state("p/done", "completed", "Succeeded", "", "one"),
        f.state("p/again", "completed", "Succeeded", "", "two"),
    ]
    oom = ("failed_oom", "GpuOutOfMemory", "out of memory")
    tries = [
        f.ended("p/again", "08:00", "08:01", *oom, retry_at=f.at("08:03")),
        f.ended("p/again", "08:03", "08:04", *oom, number=2),
        f.ended("p/again", "09:00:01", "09:00:11", *oom, number=3, retry_at=f.at("09:02")),
        f.ended("p/again", "09:02:00", "09:02:20", number=4),
    ]
    records = [f.record(f.ended("p/done", "08:00", "08:30")), f.record(*tries, retry_after=2)]
    return f.snapshot(wanted, f.plan(wanted, states), f.ledger(*records)), f.ProjectRun("p", 2, f.at("09:00"), "/x")


def test_a_second_run_is_told_in_its_own_time() -> None:
    snapshot, run = second_run()
    # the loop's clock may be a little behind the times of files
    run = replace(run, settled_at=f.at("09:02:19"))
    text = summary_markdown(snapshot, "p", run, [])
    assert text.split("\n\n## Results")[0].splitlines()[2:] == [
        "**Project**: p (run 2)",
        "**Started**: 2026-04-17 09:00:00",
        "**Completed**: 2026-04-17 09:02:19",
        "**Total wall-clock**: 2m 19s",
        "**Jobs**: 1 completed, 1 OOM-retried then completed, 0 stuck",
        "",
        "## Phases",
        "",
        "| Phase | Jobs | Success | OOM retries | Duration |",
        "| --- | --- | --- | --- | --- |",
        "| one | 1 | 1 | 0 | - |",
        "| two | 1 | 1 | 1 | 2m 18s |",
    ]


@pytest.mark.parametrize(
    ("oom", "again", "retry_after", "count"),
    [
        ({"retry_at": 1.0}, {}, 0, 1),
        ({"retry_at": None}, {}, 1, 0),
        ({"retry_at": 1.0}, {}, 1, 0),
        ({"retry_at": None}, {"generation": "g2"}, 0, 0),
        ({"retry_at": 1.0}, {"generation": "g2"}, 0, 0),
    ],
    ids=["requeued", "stuck, then retried", "retried before it was due", "another command", "the same, in time"],
)
def test_an_oom_retry_is_one_that_exq_made(oom: dict, again: dict, retry_after: int, count: int) -> None:  # type: ignore[type-arg]
    first = f.ended("p/a", "08:00", "08:01", "failed_oom", "GpuOutOfMemory", "out of memory", **oom)
    record = f.record(first, f.ended("p/a", "08:02", "08:03", number=2, **again), retry_after=retry_after)
    wanted = f.desired(f.project("p", {"main": ["a"]}))
    made = f.plan(wanted, [f.state("p/a", "completed", "Succeeded")])
    snapshot = f.snapshot(wanted, made, f.ledger(record))
    assert oom_retries(snapshot, "p/a", run_of(snapshot, "p")) == count


def test_a_project_that_never_ran_here_has_no_times() -> None:
    wanted = f.desired(f.project("p", {"main": ["a"]}))
    snapshot = f.snapshot(wanted, f.plan(wanted, [f.state("p/a", "stuck", "NoCommand", "no command")]))
    assert run_of(snapshot, "p") is None
    text = summary_markdown(snapshot, "p", None, [])
    assert "**Started**: not run here\n**Completed**: -\n**Total wall-clock**: -\n" in text
    assert "exq retry" not in text
    assert "- `p/a` has no command: write one in `specs/p.yaml:3:5`" in text


@pytest.mark.parametrize(
    ("paths", "glob"),
    [
        (["a/x_1.json", "a/x_22.json"], "a/x_*.json"),
        (["a/x_1.json", "a/x_11.json"], "a/x_1*.json"),
        (["a/x", "a/y"], "a/*"),
        (["a/x1x", "a/x1x1x"], "a/x1x*"),
    ],
)
def test_common_glob(paths: list[str], glob: str) -> None:
    assert common_glob(paths) == glob


def test_files_are_told_by_folder_and_kind() -> None:
    run = f.ProjectRun("dllm_distill", 1, f.at("11:55"), "/x")
    files = ["out/a.json", "out/b.json", "ckpt/t.pt", "notes", "out/a.json"]
    text = summary_markdown(seed_run(), "dllm_distill", run, files)
    assert text.split("## Results Files\n\n")[1].split("\n\n")[0].splitlines() == [
        "- 1 PT file: `ckpt/t.pt`",
        "- 1 file: `notes`",
        "- 2 JSON files in `out/*.json`",
    ]


def test_manifest_keeps_everything_resolved() -> None:
    changes = {
        "a": {
            "env": {"SEED": "1"},
            "params": {"lr": 0.1, "seed": 1},
            "preconditions": (f.Precondition(PreconditionKind.FILE_EXISTS, "data.bin"),),
        }
    }
    wanted = f.desired(
        f.project("p", {"one": ["a"], "two": ["b"]}, {"two": ["one"]}, gpu_pool=f.GpuPool(), job_changes=changes)
    )
    shown = json.loads(json.dumps(manifest(f.snapshot(wanted, f.plan(wanted, [])), "p")))
    assert shown["schema"] == "exq.manifest/v1"
    assert (shown["project"], shown["specs_rev"], shown["source"], shown["gpus"]) == (
        "p",
        "3f2c1d9",
        "specs/p.yaml",
        "all",
    )
    assert shown["oom_retry"] == {"delay_s": 120, "max_attempts": 3}
    assert [(phase["name"], phase["depends_on"]) for phase in shown["phases"]] == [("one", []), ("two", ["one"])]
    assert shown["phases"][0]["jobs"] == [
        {
            "id": "a",
            "phase": "one",
            "cmd": "python train.py --id a",
            "cwd": "/home/me/exp",
            "env": {"SEED": "1"},
            "conda": None,
            "conda_hook": None,
            "venv": None,
            "runner": None,
            "gpus": 1,
            "output_check": ["out/a.json"],
            "params": {"lr": 0.1, "seed": 1},
            "preconditions": [{"type": "file_exists", "subject": "data.bin"}],
            "generation": "g1",
            "source": "specs/p.yaml:3:5",
        }
    ]
