"""`exq status sweep`: what is shown of a look when only some jobs are wanted."""

from __future__ import annotations

import pytest

from reconciler.cli.exits import CliError
from reconciler.cli.narrow import narrowed
from reconciler.view.diff import diff_json, render_diff
from reconciler.view.status import render_status
from reconciler.view.style import Style
from tests.unit.view.scenarios import distillation

WORLD = distillation(teacher_runs=False)


@pytest.mark.parametrize(
    ("words", "jobs", "phases", "actions"),
    [
        ([], 42, 3, 2),
        (["sweep"], 16, 1, 1),
        (["t_N384", "t_N512"], 2, 1, 1),
        (["distill", "sweep/s42_*"], 30, 3, 2),
    ],
)
def test_only_these(words: list[str], jobs: int, phases: int, actions: int) -> None:
    plan = narrowed(WORLD, words).plan
    assert (len(plan.states), len(plan.phases), len(plan.actions)) == (jobs, phases, actions)


def test_the_counts_are_of_these() -> None:
    text = render_status(narrowed(WORLD, ["t_N384", "t_N512"]), Style())
    assert text.startswith("distill: 1/2 completed, 1 waiting")
    assert "sweep:" not in text
    assert diff_json(narrowed(WORLD, ["sweep"]))["summary"]["launch"] == 0
    assert "distill" not in render_diff(narrowed(WORLD, ["sweep"]), Style())


def test_an_unknown_name() -> None:
    with pytest.raises(CliError, match="swep"):
        narrowed(WORLD, ["swep"])
