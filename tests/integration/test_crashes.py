"""The loop ends at any moment, by a failpoint or by SIGKILL: nothing is lost, nothing runs twice."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

import reconciler
from reconciler.model.enums import RequestKind
from reconciler.store.failpoint import FAILPOINT_EXIT, FAILPOINTS
from reconciler.store.paths import StatePaths
from reconciler.store.requests import submit
from tests.integration.lab import Lab

pytestmark = pytest.mark.needs("screen")

HELD_EXIT = 75
STUCK_EXIT = 3
TERMINATED = 143

SCENARIO = """
    project: p
    cwd: WORK
    gpus: none
    max_parallel: 3
    launcher: screen
    oom_retry: {delay: 1s, max_attempts: 2}
    analyze_on_complete: echo analysis >> ran
    phases:
      - name: first
        jobs:
          - {id: a, cmd: "echo a >> ran"}
          - {id: b, cmd: "echo b >> ran; sleep 0.3"}
          - id: oom
            cmd: >-
              echo oom >> ran; [ -e tried ] ||
              { touch tried; echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1; }
          - {id: d, cmd: "echo d >> ran; echo d > d.out", output_check: d.out}
      - name: second
        depends_on: first
        jobs:
          - {id: stopped, cmd: "echo stopped >> ran; exec sleep 60"}
          - {id: e, cmd: "echo e >> ran; sleep 0.2"}
          - {id: f, cmd: "echo f >> ran"}
          - {id: g, cmd: "echo g >> ran"}
"""
RUNS = Counter({"oom": 2, "a": 1, "b": 1, "d": 1, "stopped": 1, "e": 1, "f": 1, "g": 1, "analysis": 1})
EXIT_CODES = {f"p/{job}": TERMINATED if job == "stopped" else 0 for job in RUNS if job != "analysis"}

PASSED_AGAIN = ("after_journal", "after_launch", "before_verdict", "after_release", "after_outcome")
"""Failpoints whose third passing is another situation: other jobs run by then."""

CASES = [(name, 1) for name in FAILPOINTS] + [(name, 3) for name in PASSED_AGAIN]

ONLY_AFTER_A_LOST_LAUNCH = {"before_revoke", "after_revoke"}


class Campaign:
    """Runs the loop over a lab's specs, once more after each end, until it settles."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.asked = False

    def run(self, failpoint: str = "", limit_s: float = 60) -> int:
        """One loop until it ends; its exit code. As soon as the job to be stopped runs, a user asks for that."""
        self.lab.env.pop("EXQ_FAILPOINT", None)
        if failpoint:
            self.lab.env["EXQ_FAILPOINT"] = failpoint
        child = self.lab.start("run", "--until-settled")
        deadline = time.monotonic() + limit_s
        while child.poll() is None:
            if not self.asked and "stopped" in self.lab.ran():
                self.asked = True
                submit(StatePaths(self.lab.state), RequestKind.STOP, "p/stopped", "tester", time.time())
            assert time.monotonic() < deadline, f"the loop did not settle: {self.lab.ran()}\n{self.lab.kill(child)}"
            time.sleep(0.02)
        out = self.lab.kill(child)
        assert "Traceback" not in out, out
        return child.returncode


def kill_at_random(lab: Lab, seed: int, kills: int, longest_s: float) -> None:
    """Start the loop and SIGKILL it, again and again."""
    chance = random.Random(seed)
    delays = [round(chance.uniform(0.05, longest_s), 3) for _ in range(kills)]
    print(f"seed {seed}: killed after {delays} s")  # shown when the test fails
    for delay_s in delays:
        child = lab.start("run")
        time.sleep(delay_s)
        out = lab.kill(child)
        assert "Traceback" not in out, out


def check_everything_ran_once(lab: Lab, runs: Mapping[str, int], exit_codes: Mapping[str, int]) -> None:
    """What really ran, what is known of it, what is left of it, and what would still be done."""
    assert Counter(lab.ran()) == runs
    assert {key: job["exit_code"] for key, job in lab.status().items()} == exit_codes
    lab.check_nothing_is_left()


def check_one_run_is_reported(lab: Lab) -> None:
    """The project's run has both its files, and its summary was written once."""
    summaries = list(lab.work.glob("experiment_queue/*/summary.md"))
    assert len(summaries) == 1
    manifest = json.loads((summaries[0].parent / "manifest.json").read_text())
    assert sum(len(phase["jobs"]) for phase in manifest["phases"]) == len(EXIT_CODES)


def test_the_list_of_failpoints_is_complete() -> None:
    sources = Path(reconciler.__file__).parent.rglob("*.py")
    named = [name for path in sources for name in re.findall(r'failpoint\("(\w+)"\)', path.read_text())]
    assert sorted(named) == sorted(FAILPOINTS)


@pytest.mark.parametrize(("name", "passing"), CASES)
def test_a_loop_that_ends_at_a_durable_step_loses_and_repeats_nothing(lab: Lab, name: str, passing: int) -> None:
    lab.spec(SCENARIO)
    campaign = Campaign(lab)
    if name in ONLY_AFTER_A_LOST_LAUNCH:
        assert campaign.run("before_launch:1") == FAILPOINT_EXIT
    assert campaign.run(f"{name}:{passing}") == FAILPOINT_EXIT, f"{name} was not passed {passing} times"
    assert campaign.run() == STUCK_EXIT
    check_everything_ran_once(lab, RUNS, EXIT_CODES)
    check_one_run_is_reported(lab)


def test_a_loop_that_ends_at_every_launch_still_gets_there(lab: Lab) -> None:
    lab.spec(SCENARIO)
    campaign = Campaign(lab)
    ends = 0
    while (code := campaign.run("after_launch:1")) == FAILPOINT_EXIT:
        ends += 1
    assert code == STUCK_EXIT
    assert ends == sum(RUNS.values()) - RUNS["analysis"]
    check_everything_ran_once(lab, RUNS, EXIT_CODES)
    check_one_run_is_reported(lab)


@pytest.mark.parametrize(("launcher", "seed", "kills"), [("screen", 1, 30), ("process", 2, 10)])
@pytest.mark.timeout(240)
def test_random_kills_of_the_loop_lose_and_repeat_nothing(lab: Lab, launcher: str, seed: int, kills: int) -> None:
    jobs = ", ".join(f"{{id: j{i}, cmd: 'echo j{i} >> ran; sleep 0.{3 + i % 7}'}}" for i in range(40))
    lab.spec(f"""
        project: p
        cwd: WORK
        gpus: none
        max_parallel: 3
        launcher: {launcher}
        jobs: [{jobs}]
    """)
    kill_at_random(lab, seed, kills, longest_s=0.9)
    lab.settle()
    check_everything_ran_once(lab, Counter(f"j{i}" for i in range(40)), {f"p/j{i}": 0 for i in range(40)})


@pytest.mark.parametrize(("launcher", "waves", "seed"), [("screen", "rolling", 3), ("process", "barrier", 4)])
def test_random_kills_of_the_loop_never_put_two_jobs_on_a_gpu(lab: Lab, launcher: str, waves: str, seed: int) -> None:
    lab.gpus(2)
    cmd = "echo j${i} >> ran; mkdir busy$GPU || echo clash >> ran; FAKE_GPU_MIB=20000 sleep 0.4; rmdir busy$GPU"
    lab.spec(f"""
        project: p
        cwd: WORK
        gpus: all
        launcher: {launcher}
        waves: {waves}
        grid: {{i: {list(range(12))}}}
        template: {{id: "j${{i}}", cmd: "{cmd}"}}
    """)
    kill_at_random(lab, seed, kills=6, longest_s=1.2)
    lab.settle()
    check_everything_ran_once(lab, Counter(f"j{i}" for i in range(12)), {f"p/j{i}": 0 for i in range(12)})


def test_of_two_loops_started_at_once_exactly_one_works(lab: Lab) -> None:
    lab.spec("""
        project: p
        cwd: WORK
        gpus: none
        launcher: process
        jobs: [{id: a, cmd: "echo a >> ran"}]
    """)
    for _ in range(15):
        pair = [lab.start("run", "-q"), lab.start("run", "-q")]
        lab.wait("one of two loops gives way", lambda pair=pair: any(child.poll() is not None for child in pair))
        (loser,) = [child for child in pair if child.poll() is not None]
        assert loser.returncode == HELD_EXIT
        assert f"holds the state folder {lab.state}" in lab.kill(loser)
        (winner,) = [child for child in pair if child is not loser]
        assert winner.poll() is None
        lab.kill(winner)
    lab.settle()
    check_everything_ran_once(lab, Counter(["a"]), {"p/a": 0})


def test_a_screen_that_starts_slowly_is_waited_for(lab: Lab) -> None:
    """A launch counts as lost only after a while: until then its shim may be on its way."""
    slow = lab.root / "slow-screen"
    slow.write_text('#!/bin/sh\ncase " $* " in *" -DmS "*) sleep 2 ;; esac\nexec screen "$@"\n')
    slow.chmod(0o700)
    lab.env["SCREEN"] = str(slow)
    lab.spec("""
        project: p
        cwd: WORK
        gpus: none
        launcher: screen
        jobs: [{id: a, cmd: "echo a >> ran"}]
    """)
    lab.exq("run", "--once")
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"]) == ("running", "Starting")
    assert lab.json("diff")["actions"] == []
    lab.settle()
    job = lab.status()["p/a"]
    assert (job["status"], job["attempts"]) == ("completed", 1)
    assert lab.ran() == ["a"]
