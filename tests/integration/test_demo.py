"""The demo as a user runs it: real training on real data to the end, and nothing left to do the second time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CROWDED = "digits/d_N128_lr0.1_s200"
Exq = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.needs("module:sklearn"), pytest.mark.timeout(300)]


@pytest.fixture(params=["screen", "process"])
def launcher(request: pytest.FixtureRequest, require: Callable[[str], None]) -> str:
    if request.param == "screen":
        require("screen")
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, launcher: str) -> Path:
    """A copy of what the demo uses, with the launcher that is to be tried."""
    for name in ("specs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    spec = tmp_path / "specs" / "digits.yaml"
    spec.write_text(spec.read_text().replace("gpus: none\n", f"gpus: none\nlauncher: {launcher}\n"))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def exq(folder: Path, exq_command: list[str], screen_dir: Path) -> Exq:
    """Run the command in the demo's folder, with an empty home."""
    environment = {
        "HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT)),
        "EXQ_STATE": str(folder / "state"),
        "SCREENDIR": str(screen_dir),
        "NO_COLOR": "1",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*exq_command, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, object]]]:
    assert done.stdout, done.stderr
    parsed: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return parsed


def test_the_demo_settles_and_then_plans_nothing(exq: Exq, folder: Path, launcher: str) -> None:
    before = as_json(exq("diff", "--json"))
    assert [action["job"] for action in before["actions"]] == ["digits/t_N32", "digits/t_N128"]
    assert len(before["holds"]) == 12

    ran = exq("run", "--until-settled")
    assert ran.returncode == 0, ran.stdout + ran.stderr

    jobs = {str(job["key"]): job for job in as_json(exq("status", "--json"))["jobs"]}
    assert len(jobs) == 14
    assert {key for key, job in jobs.items() if job["status"] != "completed"} == set()
    attempts = {key: job["attempts"] for key, job in jobs.items()}
    assert attempts == {key: 2 if key == CROWDED else 1 for key in jobs}

    assert_launched_with(folder, launcher)
    assert_first_attempt_ran_out_of_memory(folder)
    assert_results_are_real(folder)
    assert_summary(folder)

    after = as_json(exq("diff", "--json"))
    assert (after["actions"], after["holds"]) == ([], [])
    again = exq("run", "--until-settled")
    assert again.returncode == 0, again.stdout + again.stderr
    assert not (folder / "state" / "attempts" / CROWDED / "3").exists()


def assert_launched_with(folder: Path, launcher: str) -> None:
    intents = [json.loads(path.read_text()) for path in (folder / "state" / "attempts").rglob("intent.json")]
    assert len(intents) == 15
    assert {intent["launcher"] for intent in intents} == {launcher}


def assert_first_attempt_ran_out_of_memory(folder: Path) -> None:
    first, second = (folder / "state" / "attempts" / CROWDED / number for number in ("1", "2"))
    assert "MemoryError: Unable to allocate" in (first / "log").read_text()
    assert json.loads((first / "verdict.json").read_text())["status"] == "failed_oom"
    assert json.loads((second / "verdict.json").read_text())["status"] == "completed"


def assert_results_are_real(folder: Path) -> None:
    results = [json.loads(path.read_text()) for path in (folder / "runs" / "digits" / "students").glob("*.json")]
    assert len(results) == 12
    assert len({(result["n_hidden"], result["lr"], result["seed"]) for result in results}) == 12
    assert all(0.9 < result["test_accuracy"] < 1.0 for result in results), results
    table = subprocess.run(
        [sys.executable, folder / "examples/digits/table.py", folder / "runs/digits/students"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[:2] for line in table.stdout.splitlines()[1:]] == [
        ["32", "0.01"],
        ["32", "0.1"],
        ["128", "0.01"],
        ["128", "0.1"],
    ]


def assert_summary(folder: Path) -> None:
    (summary,) = (folder / "experiment_queue").glob("*/summary.md")
    text = summary.read_text()
    assert "**Project**: digits" in text
    assert "13 completed, 1 OOM-retried then completed, 0 stuck" in text
    assert (summary.parent / "manifest.json").exists()
