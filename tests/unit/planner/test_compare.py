"""Two desired states side by side."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from reconciler.model.comparison import ABSENT, Change, FieldChange
from reconciler.model.enums import LauncherKind, SuccessRule, Waves
from reconciler.model.spec import Desired, GpuPool, Job, Phase, Placement, Project, RetryPolicy, SpecFile
from reconciler.planner import compare as module
from reconciler.planner.compare import compare
from tests.unit import factories as make

A, B, C = make.job("a"), make.job("b"), make.job("c")


def of(*jobs: Job, **changes: Any) -> Desired:
    return make.desired(make.project(*jobs, **changes))


def test_the_same_is_no_change() -> None:
    moved = replace(A, source="other.yaml:9:9")
    assert compare(of(A, B), of(moved, B)).projects == ()
    assert compare(of(A), replace(of(A), version="v2", revision="r2")).projects == ()


def test_added_and_removed_jobs() -> None:
    (project,) = compare(of(A, B), of(A, C)).projects
    assert [(job.key, job.change, job.cmd) for job in project.jobs] == [
        ("p/c", Change.ADDED, C.cmd),
        ("p/b", Change.REMOVED, B.cmd),
    ]
    assert (project.change, project.settings, project.phases) == (Change.CHANGED, (), ())


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"cmd": "x"}, [("cmd", A.cmd, "x")]),
        ({"cwd": "/other"}, [("cwd", "/work", "/other")]),
        ({"conda": "env"}, [("conda", None, "env")]),
        ({"outputs": ("o.json",)}, [("outputs", (), ("o.json",))]),
        ({"gpus": 2}, [("gpus", 0, 2)]),
        ({"env": {"LR": "1"}}, [("env.LR", ABSENT, "1")]),
        ({"params": {"n": None}}, [("params.n", ABSENT, None)]),
        ({"venv": ".venv"}, [("venv", None, ".venv")]),
        ({"preconditions": (make.needs_file("x"),)}, [("preconditions", (), (make.needs_file("x"),))]),
    ],
)
def test_what_changed_of_a_job(changes: dict[str, Any], found: list[tuple[str, object, object]]) -> None:
    (project,) = compare(of(A), of(replace(A, **changes))).projects
    (job,) = project.jobs
    assert job.fields == tuple(FieldChange(*each) for each in found)
    assert not job.new_generation


def test_a_value_that_equals_another_type_is_another_value() -> None:
    """In Python 1, 1.0 and True are one; in a table of results they are three."""
    old, new = (of(replace(A, params={"x": value})) for value in (1, True))
    assert [job.fields for job in compare(old, new).jobs(Change.CHANGED)] == [(FieldChange("params.x", 1, True),)]


def test_a_new_generation_is_told_also_where_no_field_tells_why() -> None:
    (job,) = compare(of(A), of(replace(A, generation="g2"))).jobs(Change.CHANGED)
    assert (job.fields, job.new_generation) == ((FieldChange("generation", "g1", "g2"),), True)
    (job,) = compare(of(A), of(replace(A, cmd="x", generation="g2"))).jobs(Change.CHANGED)
    assert ([each.field for each in job.fields], job.new_generation) == (["cmd"], True)


SETTINGS = {
    "cwd": "/other",
    "placements": (Placement("gpu1"),),
    "gpu_pool": GpuPool(None),
    "max_parallel": 9,
    "gpu_free_threshold_mib": 9,
    "oom_retry": RetryPolicy(1.0, 9),
    "failure_retry": RetryPolicy(1.0, 9),
    "waves": Waves.BARRIER,
    "success": SuccessRule.OUTPUT,
    "linger_s": 9.0,
    "launcher": LauncherKind.SCREEN,
    "analyze_on_complete": "python x.py",
    "shared_fs": True,
    "collect": "/home",
    "provenance": False,
    "snapshot": "main",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_changed_of_a_project(name: str) -> None:
    comparison = compare(of(A), of(A, **{name: SETTINGS[name]}))
    (project,) = comparison.projects
    assert [(each.field, each.new) for each in project.settings] == [(name, SETTINGS[name])]
    assert (project.jobs, comparison.settings) == ((), 1)


def test_no_setting_is_forgotten() -> None:
    assert {field.name for field in fields(Project)} - {"name", "source", "phases"} == set(SETTINGS)
    assert set(module._JOB_FIELDS) | {"key", "project", "id", "source", "generation"} == {f.name for f in fields(Job)}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"depends_on": ("one",)}, [("depends_on", (), ("one",))]),
        ({"hosts": ("gpu1",)}, [("hosts", None, ("gpu1",))]),
        ({"fetch": True}, [("fetch", False, True)]),
        ({"push": True}, [("push", False, True)]),
        ({"jobs": ()}, []),
    ],
)
def test_what_changed_of_a_phase(changes: dict[str, Any], found: list[tuple[str, object, object]]) -> None:
    one, two = make.phase("one", [A]), make.phase("two", [B])
    (project,) = compare(of(phases=(one, two)), of(phases=(one, replace(two, **changes)))).projects
    assert [change for phase in project.phases for change in phase.settings] == [FieldChange(*each) for each in found]


def test_phases_come_and_go_and_jobs_move_between_them() -> None:
    old = of(phases=(make.phase("one", [A]), make.phase("two", [B])))
    new = of(phases=(make.phase("one", [A, B]), make.phase("three", [C])))
    (project,) = compare(old, new).projects
    assert [(phase.name, phase.change) for phase in project.phases] == [
        ("three", Change.ADDED),
        ("two", Change.REMOVED),
    ]
    assert [(job.key, job.change, job.phase) for job in project.jobs] == [
        ("p/b", Change.CHANGED, "one"),
        ("p/c", Change.ADDED, "three"),
    ]
    assert project.jobs[0].fields == (FieldChange("phase", "two", "one"),)


def test_another_order_is_a_change_and_an_insertion_is_none() -> None:
    (project,) = compare(of(A, B, C), of(B, A, C)).projects
    assert [phase.settings for phase in project.phases] == [(FieldChange("order", "a", "b"),)]
    (project,) = compare(of(A, C), of(A, B, C)).projects
    assert project.phases == ()
    one, two = make.phase("one", [A]), make.phase("two", [B])
    (project,) = compare(of(phases=(one, two)), of(phases=(two, one))).projects
    assert project.settings == (FieldChange("order", "one", "two"),)


def test_projects_come_and_go() -> None:
    other = make.project(make.job("x", "q"), name="q")
    old, new = make.desired(make.project(A)), make.desired(other)
    found = compare(old, new)
    assert [(each.name, each.change, len(each.jobs)) for each in found.projects] == [
        ("q", Change.ADDED, 1),
        ("p", Change.REMOVED, 1),
    ]


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_file_that_does_not_load_is_not_compared(side: str) -> None:
    broken = Desired("v", "r", {}, (SpecFile("p.yaml", "d", broken=True),))
    pair = (broken, of(A)) if side == "old" else (of(A), broken)
    found = compare(*pair)
    assert (found.projects, found.not_compared) == ((), ("p.yaml",))


def test_a_file_whose_last_good_version_stands_is_compared() -> None:
    new = replace(of(A, B), files=(SpecFile("p.yaml", "d", broken=True, last_good=True),))
    assert [job.key for job in compare(of(A), new).jobs(Change.ADDED)] == ["p/b"]


def test_a_phase_is_compared_by_all_that_it_has() -> None:
    assert set(module._PHASE_FIELDS) == {field.name for field in fields(Phase)} - {"name", "jobs"}
