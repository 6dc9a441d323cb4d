"""`exq diff --rev` as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from reconciler.model.comparison import ABSENT, FieldChange
from reconciler.model.enums import PreconditionKind, Waves
from reconciler.model.spec import GpuPool, Placement, Precondition, RetryPolicy
from reconciler.planner.compare import compare
from reconciler.spec.texts import load_texts
from reconciler.view.compare import Side, comparison_json, render_comparison
from reconciler.view.spec_words import change_words, value_json, value_words
from reconciler.view.style import Style

OLD = """\
project: sweep
gpus: none
max_parallel: 2
grid: {n: [1, 2, 3]}
template: {id: "s${n}", cmd: "python train.py --n ${n}"}
"""
NEW = """\
# a comment
project: sweep
gpus: none
max_parallel: 4
env: {LR: "0.1"}
grid: {n: [2, 3, 4]}
template: {id: "s${n}", cmd: "python train.py --n ${n}"}
"""
PHASES = """\
phases:
  - {name: one, jobs: [{id: a, cmd: "true"}]}
  - {name: two, depends_on: one, jobs: [{id: b, cmd: "true"}]}
"""
BROKEN = "project: sweep\njobs:\n  - {id: a, cmd: 5}\n"


def side(name: str, texts: Mapping[str, str], commit: str | None = None) -> Side:
    return Side(name, commit, commit[:7] if commit else "", load_texts(texts, "/home/ann", "r"))


def text_of(old: Mapping[str, str], new: Mapping[str, str], *, verbose: bool = False) -> str:
    sides = side("main", old, "5af3c1e00"), side("HEAD", new, "8d20b7700")
    return render_comparison(*sides, compare(sides[0].desired, sides[1].desired), Style(), verbose=verbose)


def test_a_change_of_everything() -> None:
    assert (
        text_of({"specs/sweep.yaml": OLD}, {"specs/sweep.yaml": NEW, "specs/new.yaml": PHASES})
        == """\
specs from main (5af3c1e) to HEAD (8d20b77)

sweep         specs/sweep.yaml
  ~ settings  max_parallel: 2 -> 4
  ~ s2, s3    env.LR: (not set) -> 0.1
  + s4        python train.py --n 4
  - s1
new           new: specs/new.yaml
new / one
  + a         true
new / two
  + b         true

! what 2 jobs run changes: completed and running ones stay as they are, others get new tries
! 1 job removed: what of them runs goes on, and is listed as Orphan

Specs: 3 jobs added, 1 removed, 2 changed (2 in what they run); 1 setting changed.
"""
    )


def test_nothing_changes() -> None:
    same = {"specs/sweep.yaml": OLD}
    assert text_of(same, {"specs/sweep.yaml": "# hm\n" + OLD}) == (
        "specs from main (5af3c1e) to HEAD (8d20b77)\n\nThe specs ask for the same.\n"
    )


def test_a_broken_file_is_named_with_its_place() -> None:
    shown = text_of({"specs/sweep.yaml": OLD}, {"specs/sweep.yaml": BROKEN, "specs/new.yaml": PHASES})
    assert "broken in HEAD (8d20b77)\nspecs/sweep.yaml:3:18: `cmd` must be text, not `5`\n" in shown
    assert "? specs/sweep.yaml does not load on one side: its jobs are not compared" in shown
    assert "  + a" in shown
    assert "broken in main" in text_of({"specs/sweep.yaml": BROKEN}, {"specs/sweep.yaml": OLD})


def test_many_jobs_are_cut_and_alike_ones_drawn_together() -> None:
    grid = "grid: {n: [%s]}\ntemplate: {id: 's${n}', cmd: 'echo %s${n}'}\n"
    few, many = (grid % (", ".join(map(str, range(count))), "") for count in (2, 40))
    shown = text_of({"p.yaml": few}, {"p.yaml": many}).splitlines()
    assert "    ... and 26 more (--all)" in shown
    assert len([line for line in shown if line.startswith("  + ")]) == 12
    assert (
        len([line for line in text_of({"p.yaml": few}, {"p.yaml": many}, verbose=True).splitlines() if "+ " in line])
        == 38
    )
    alike = text_of({"p.yaml": many}, {"p.yaml": "conda: x\n" + many})
    assert "  ~ s0, s1, s2, s3 and 36 more  conda: (not set) -> x" in alike


def test_phases() -> None:
    later = PHASES.replace("depends_on: one, ", "").replace("two", "three")
    shown = text_of({"p.yaml": PHASES}, {"p.yaml": later})
    assert "p / three  new phase\n  ~ b  phase: two -> three\n" in shown
    assert "p / two  removed\n" in shown


def test_json() -> None:
    sides = side("main", {"p.yaml": OLD}, "5af3c1e00"), side("the working tree", {"p.yaml": NEW})
    found = json.loads(json.dumps(comparison_json(*sides, compare(sides[0].desired, sides[1].desired))))
    assert (found["schema"], found["old"]["commit"], found["new"]["commit"]) == ("exq.compare/v1", "5af3c1e00", None)
    assert found["summary"] == {"added": 1, "removed": 1, "changed": 2, "new_generation": 2, "settings": 1}
    (project,) = found["projects"]
    assert project["settings"] == [{"field": "max_parallel", "old": 2, "new": 4}]
    assert project["jobs"][0] == {
        "job": "sweep/s2",
        "phase": "main",
        "change": "changed",
        "new_generation": True,
        "fields": [{"field": "env.LR", "new": "0.1"}],
    }
    assert project["jobs"][2] == {"job": "sweep/s4", "phase": "main", "change": "added", "cmd": "python train.py --n 4"}
    assert (found["not_compared"], found["new"]["files"]) == ([], [{"path": "p.yaml", "broken": False}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (FieldChange("outputs", (), ("a", "b")), "output_check: (not set) -> a, b"),
        (FieldChange("env.A", "1", ABSENT), "env.A: 1 -> (not set)"),
        (FieldChange("env.A", "", "x"), 'env.A: "" -> x'),
        (FieldChange("params.x", True, None), "params.x: true -> (not set)"),
        (FieldChange("linger_s", 300.0, 60.0), "linger: 5 min -> 1 min"),
        (FieldChange("gpu_pool", None, GpuPool(None)), "gpus: none -> all"),
        (FieldChange("gpu_pool", GpuPool(("0", "2")), None), "gpus: 0, 2 -> none"),
        (FieldChange("max_parallel", None, 3), "max_parallel: as many as there are GPUs -> 3"),
        (FieldChange("waves", Waves.ROLLING, Waves.BARRIER), "waves: rolling -> barrier"),
        (
            FieldChange("oom_retry", RetryPolicy(0.0, 1), RetryPolicy(120.0, 3)),
            "oom_retry: 1 try -> 3 tries, 2 min apart",
        ),
        (FieldChange("order", "a", "b"), "order: b now comes before a"),
        (
            FieldChange("placements", (Placement("a"),), (Placement("a", ("0",), 2), Placement("b"))),
            "hosts: a -> a (gpus 0, max_parallel 2), b",
        ),
    ],
)
def test_words(change: FieldChange, words: str) -> None:
    assert change_words(change) == words


def test_the_gpus_of_a_job_are_a_number_and_called_so() -> None:
    assert change_words(FieldChange("gpus", 1, 2), of_job=True) == "gpus_per_job: 1 -> 2"


def test_values() -> None:
    condition = Precondition(PreconditionKind.FILE_EXISTS, "x.ckpt")
    assert value_words(condition) == "file_exists x.ckpt"
    assert value_json((condition,)) == [{"kind": "file_exists", "subject": "x.ckpt"}]
    assert value_json(RetryPolicy(1.0, 2)) == {"delay_s": 1.0, "max_attempts": 2}
