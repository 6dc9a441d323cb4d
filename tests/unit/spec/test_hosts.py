"""Several machines: where jobs may run, and whether what they need can be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.model.spec import LOCAL_HOST, GpuPool, Placement, Project
from reconciler.spec.load import load_text
from tests.unit.spec.staged import JOB, TOP, staged

SEED = Path(__file__).parent / "seed"
ALL_GPUS = GpuPool()


def load(text: str) -> Project:
    project, errors = load_text(text, "s.yaml", "/base")
    assert [str(error) for error in errors] == []
    assert project is not None
    return project


@pytest.mark.parametrize(
    ("top", "placements"),
    [
        ("waves: rolling", [Placement(LOCAL_HOST)]),
        ("ssh: box", [Placement("box")]),
        ("ssh: me@box", [Placement("me@box")]),
        ("ssh: local", [Placement(LOCAL_HOST)]),
        ("hosts: box", [Placement("box")]),
        ("hosts: [b, a]", [Placement("b"), Placement("a")]),
        ("hosts: [local, a.b-c_d, '::1', 10.0.0.7]", [
            Placement("local"), Placement("a.b-c_d"), Placement("::1"), Placement("10.0.0.7")
        ]),
        ("hosts: [a, b, {name: c, gpus: [0, 1], max_parallel: 1}]", [
            Placement("a"), Placement("b"), Placement("c", ("0", "1"), 1)
        ]),
        ("hosts: [{name: a, gpus: [3, GPU-8a1b-22]}, {name: b, max_parallel: 2}]", [
            Placement("a", ("3", "GPU-8a1b-22")), Placement("b", None, 2)
        ]),
        ("hosts: [{name: a, gpus: all}]", [Placement("a")]),
    ],
)  # fmt: skip
def test_placements_are_read(top: str, placements: list[Placement]) -> None:
    project = load(f"{top}\n{TOP}")
    assert project.placements == tuple(placements)
    assert project.home_host == placements[0].host
    assert (project.gpu_pool, project.max_parallel) == (ALL_GPUS, None)


@pytest.mark.parametrize(
    ("top", "pool", "of_hosts"),
    [
        ("gpus: [0]\nhosts: [a, {name: b, gpus: [1, 2]}]", GpuPool(("0",)), [None, ("1", "2")]),
        ("gpus: [0]\nhosts: [a, {name: b, gpus: all}, c]", ALL_GPUS, [("0",), None, ("0",)]),
        ("gpus: [0]\nhosts: [{name: a, gpus: [5]}, {name: b, gpus: all}]", ALL_GPUS, [("5",), None]),
        ("gpus: all\nhosts: [a, {name: b, gpus: all}]", ALL_GPUS, [None, None]),
        ("hosts: [a, {name: b, gpus: [7]}]", ALL_GPUS, [None, ("7",)]),
        ("gpus: none\nhosts: [a, b]", None, [None, None]),
    ],
)
def test_gpus_of_hosts_go_before_those_of_the_project(
    top: str, pool: GpuPool | None, of_hosts: list[tuple[str, ...] | None]
) -> None:
    project = load(f"{top}\n{TOP}")
    assert project.gpu_pool == pool
    assert [place.gpu_ids for place in project.placements] == of_hosts


@pytest.mark.parametrize(
    ("top", "most", "of_hosts"),
    [
        ("gpus: none", 1, [None]),
        ("gpus: none\nhosts: a", 1, [None]),
        ("gpus: none\nhosts: [{name: a, max_parallel: 4}]", 4, [4]),
        ("gpus: none\nhosts: [a, b, c]", 3, [1, 1, 1]),
        ("gpus: none\nhosts: [a, {name: b, max_parallel: 4}]", 5, [1, 4]),
        ("gpus: none\nmax_parallel: 2\nhosts: [a, {name: b, max_parallel: 4}]", 2, [None, 4]),
        ("gpus: all\nhosts: [a, {name: b, max_parallel: 4}]", None, [None, 4]),
    ],
)
def test_slots_without_gpus_are_those_of_the_hosts(top: str, most: int | None, of_hosts: list[int | None]) -> None:
    project = load(f"{top}\n{TOP}")
    assert project.max_parallel == most
    assert [place.max_parallel for place in project.placements] == of_hosts


def test_phases_have_hosts_and_what_brings_outputs() -> None:
    project = load(
        "hosts: [a, b, c]\ncwd: ~/w\nfetch: true\nphases:\n"
        "  - {name: p, hosts: [c, a], push: true, jobs: [{id: p, cmd: x, output_check: o}]}\n"
        "  - {name: q, depends_on: p, hosts: b, jobs: [{id: q, cmd: x, output_check: o}]}\n"
        "  - {name: r, depends_on: q, hosts: b, fetch: false, jobs: [{id: r, cmd: x}]}\n"
        "  - {name: s, jobs: [{id: s, cmd: x}]}\n"
    )
    assert [(phase.hosts, phase.fetch, phase.push) for phase in project.phases] == [
        (("c", "a"), True, True),
        (("b",), True, False),
        (("b",), False, False),
        (None, True, False),
    ]
    assert [project.hosts_of(phase) for phase in project.phases] == [("a", "c"), ("b",), ("b",), ("a", "b", "c")]
    assert not project.shared_fs


@pytest.mark.parametrize(
    ("written", "folder"),
    [
        ("true", "/base/collected/p"),
        ("false", None),
        ("runs/all", "/base/runs/all"),
        ("../runs/", "/runs"),
        ("/data/runs", "/data/runs"),
        ("~/runs", "~/runs"),
        ("'true'", "/base/true"),
    ],
)
def test_collected_is_into_a_folder(written: str, folder: str | None) -> None:
    assert load(f"project: p\ncollect: {written}\n{JOB}").collect == folder


def test_nothing_is_collected_or_shared_unless_asked_for() -> None:
    plain, shared = load(JOB), load(f"shared_fs: true\n{JOB}")
    assert (plain.collect, plain.shared_fs, shared.shared_fs) == (None, False, True)
    assert (plain.phases[0].hosts, plain.phases[0].fetch, plain.phases[0].push) == (None, False, False)


@pytest.mark.parametrize(
    "text",
    [
        staged("hosts: [h, i]", ", hosts: h", ", hosts: h"),
        staged("hosts: [h, i]", outputs=""),
        staged("hosts: [h, i]", second=", fetch: true"),
        staged("hosts: [h, i]", first=", push: true"),
        staged("hosts: [h, i]\nfetch: true"),
        staged("hosts: [h, i]\nshared_fs: true"),
        staged("hosts: [h]"),
        staged("ssh: h"),
        staged("gpus: all"),
        staged("hosts: [h, i]\npush: true", first=", hosts: h", second=", hosts: i"),
        f"hosts: [local]\ncwd: work\n{JOB}",
        f"hosts: local\n{JOB}",
        f"hosts: [local, h]\ncwd: /w\n{JOB}",
        "hosts: [h, i]\njobs: [{id: x, cmd: y, cwd: ~/w}]\n",
        f"hosts: [h, {{name: i, gpus: [0, 1, 2, 3]}}]\ngpus: [0]\ngpus_per_job: 4\n{TOP}",
        f"hosts: [{{name: h, gpus: [0]}}, i]\ngpus_per_job: 4\n{TOP}",
        "hosts: [h, {name: i, gpus: [0, 1]}]\ngpus: [0]\ncwd: /w\n"
        "phases: [{name: p, hosts: i, gpus_per_job: 2, jobs: [{id: x, cmd: y}]}]\n",
    ],
)
def test_what_is_sound_loads_without_a_word(text: str) -> None:
    load(text)


def test_what_a_job_runs_is_the_same_wherever_it_runs() -> None:
    tops = ("", "ssh: h", "hosts: [h, {name: i, gpus: [0]}]\ncollect: true\nshared_fs: true")
    made = {next(load(f"{top}\ncwd: /w\n{JOB}").jobs()).generation for top in tops}
    assert len(made) == 1


def test_what_the_jobs_of_older_specs_run_has_kept_its_hash() -> None:
    manifest = (SEED / "manifest.yaml").read_text(encoding="utf-8").replace("N{N}", "N{n_hidden}")
    phases = (SEED / "phases.yaml").read_text(encoding="utf-8")
    assert [job.generation for job in load(manifest).jobs()] == ["706e4b818e4e7a3a", "4b3ab3e98a74261e"]
    assert [job.generation for job in load(phases).jobs()][:3] == [
        "e566441c66ee0756", "9b3ae8c804c45d04", "bb14fea9062f70ab"
    ]  # fmt: skip
