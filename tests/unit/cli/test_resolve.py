"""What a word on the command line stands for."""

from __future__ import annotations

import pytest

from reconciler.cli.exits import PROBLEM, CliError
from reconciler.cli.resolve import Names, Target, listed, resolve_job, resolve_project, resolve_target

NAMES = Names(
    current=("distill/t_N384", "distill/t_N512", "distill/s42_N64", "sweep/s42_N64", "sweep/s7_N64", "sweep/alpha"),
    projects=("distill", "sweep", "alpha"),
    former=("old/gone", "old/s7_N64"),
)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("distill/t_N384", "distill/t_N384"),
        ("t_N384", "distill/t_N384"),
        ("sweep/s42_N64", "sweep/s42_N64"),
        ("gone", "old/gone"),
        ("old/gone", "old/gone"),
        # a job of the specs wins over one that only the ledger remembers
        ("s7_N64", "sweep/s7_N64"),
    ],
)
def test_one_job(word: str, key: str) -> None:
    assert resolve_job(word, NAMES) == key


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("s42_N64", "is a job of 2 projects", "distill/s42_N64, sweep/s42_N64"),
        ("t_N385", "there is no job 't_N385'", "did you mean distill/t_N384"),
        ("distil/t_N384", "there is no job 'distil/t_N384'", "distill/t_N384"),
        ("sweep", "is a project", "exq status"),
        ("zzzzzz", "there is no job 'zzzzzz'", "known: "),
        ("T_N384*", "there is no job", ""),
        ("", "there is no job ''", ""),
    ],
)
def test_not_one_job(word: str, message: str, hint: str) -> None:
    with pytest.raises(CliError) as caught:
        resolve_job(word, NAMES)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.code == PROBLEM


def test_no_job_at_all() -> None:
    with pytest.raises(CliError, match="the specs list none"):
        resolve_job("a", Names(current=()))


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("t_N512", Target("t_N512", ("distill/t_N512",))),
        ("t_*", Target("t_*", ("distill/t_N384", "distill/t_N512"), explicit=False)),
        ("s42_N6?", Target("s42_N6?", ("distill/s42_N64", "sweep/s42_N64"), explicit=False)),
        ("sweep/s*", Target("sweep/s*", ("sweep/s42_N64", "sweep/s7_N64"), explicit=False)),
        ("distill", Target("distill", NAMES.current[:3], "distill", explicit=False)),
        ("distill/", Target("distill/", NAMES.current[:3], "distill", explicit=False)),
        ("sweep/alpha", Target("sweep/alpha", ("sweep/alpha",))),
        ("alpha/", Target("alpha/", (), "alpha", explicit=False)),
    ],
)
def test_target(word: str, target: Target) -> None:
    assert resolve_target(word, NAMES) == target


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("alpha", "is a project and a job"),
        ("s42_N64", "is a job of 2 projects"),
        ("x*", "no job matches"),
        ("*/t_N999", "no job matches"),
        ("swep", "there is no job"),
    ],
)
def test_no_target(word: str, message: str) -> None:
    with pytest.raises(CliError, match=message):
        resolve_target(word, NAMES)


def test_a_job_whose_id_has_wildcards_is_named_exactly() -> None:
    names = Names(current=("p/a[1]", "p/a1"))
    assert resolve_target("a[1]", names).jobs == ("p/a[1]",)


def test_misspelt_project_is_suggested() -> None:
    with pytest.raises(CliError) as caught:
        resolve_target("swep", NAMES)
    assert "sweep" in caught.value.hint


@pytest.mark.parametrize(("word", "project"), [("distill", "distill"), ("sweep/", "sweep")])
def test_project(word: str, project: str) -> None:
    assert resolve_project(word, NAMES.projects) == project


def test_unknown_project() -> None:
    with pytest.raises(CliError, match="there is no project 'swee'") as caught:
        resolve_project("swee", NAMES.projects)
    assert "sweep" in caught.value.hint


def test_long_lists_are_cut() -> None:
    assert listed([str(n) for n in range(11)]).endswith("7 and 3 more")
