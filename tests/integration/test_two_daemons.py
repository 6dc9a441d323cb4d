"""Two daemons on one state folder: one gives way, and where the lock between them fails, no job runs twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.integration.lab import Lab, is_gone, project
from tests.integration.prefork import Prefork

pytestmark = pytest.mark.needs("screen")

HELD_EXIT = 75
STARTS = 200
SEED = int(os.environ.get("EXQ_KILL_SEED", "1"))

JOB = 'echo "start $EXQ_JOB" >> ran; sleep 0.SOME; echo "end $EXQ_JOB" >> ran'


def spec(lab: Lab, jobs: int, launcher: str = "process", max_parallel: int = 3) -> None:
    entries = ", ".join(f"{{id: j{i}, cmd: '{JOB.replace('SOME', str(1 + i % 4))}'}}" for i in range(jobs))
    head = f"project: p\ncwd: WORK\ngpus: none\nmax_parallel: {max_parallel}\nlauncher: {launcher}\n"
    lab.spec(f"{head}jobs: [{entries}]\n")


def check_each_ran_once(lab: Lab, jobs: int) -> None:
    """What payloads noted, what is known of them, and what is left of them."""
    lines = (lab.work / "ran").read_text().splitlines()
    assert Counter(lines) == Counter(f"{what} j{i}" for i in range(jobs) for what in ("start", "end"))
    status = lab.status()
    assert {(job["status"], job["exit_code"]) for job in status.values()} == {("completed", 0)}
    assert len(status) == jobs
    lab.check_nothing_is_left()


@pytest.mark.timeout(240)
def test_of_two_daemons_started_at_once_exactly_one_works_two_hundred_times(lab: Lab, prefork: Prefork) -> None:
    spec(lab, jobs=100)
    for _ in range(STARTS):
        pair = set(prefork.start("run", "-q", count=2))
        loser, code, said = prefork.ended()
        (winner,) = pair - {loser}
        assert code == HELD_EXIT, f"exit {code}:\n{said}"
        assert "another loop (" in said
        assert f"holds the state folder {lab.state}\n" in said
        assert f"pid {winner} on " in said or "it has not said which" in said
        os.kill(winner, signal.SIGKILL)
        _, code, said = prefork.ended(winner)
        assert code == -signal.SIGKILL, f"the winner ended by itself with {code}:\n{said}"
        assert "Traceback" not in said
    prefork.close()
    lab.settle()
    check_each_ran_once(lab, 100)


@pytest.mark.parametrize("launcher", ["screen", "process"])
def test_two_daemons_that_both_run_never_run_a_job_twice(lab: Lab, prefork: Prefork, launcher: str) -> None:
    """Someone removes daemon.lock, so both hold one: the claims and locks of the attempts keep them apart."""
    spec(lab, jobs=40, launcher=launcher)
    (first,) = prefork.start("run")
    lab.wait("the first holds its lock", (lab.state / "daemon.lock").exists)
    (lab.state / "daemon.lock").unlink()
    (second,) = prefork.start("run")
    lab.wait("the second holds its own", (lab.state / "daemon.lock").exists)
    lab.wait("all have ended", lambda: lab.ran().count("end") == 40, timeout_s=60)
    assert not is_gone(first)
    assert not is_gone(second)
    for pid in (first, second):
        os.kill(pid, signal.SIGKILL)
        assert "Traceback" not in prefork.ended(pid)[2]
    prefork.close()
    lab.settle()
    check_each_ran_once(lab, 40)


@pytest.mark.timeout(240)
def test_pairs_of_daemons_that_are_killed_never_run_a_job_twice(lab: Lab, prefork: Prefork) -> None:
    print(f"EXQ_KILL_SEED={SEED}")  # shown when the test fails
    chance = random.Random(SEED)
    spec(lab, jobs=40)
    lab.exq("run", "--once")
    living: list[int] = []
    for _ in range(80):
        (lab.state / "daemon.lock").unlink(missing_ok=True)
        living += prefork.start("run")
        time.sleep(chance.uniform(0, 0.15))
        while len(living) > 2:
            pid = living.pop(chance.randrange(len(living)))
            os.kill(pid, signal.SIGKILL)
            _, code, said = prefork.ended(pid)
            assert code == -signal.SIGKILL, f"a daemon ended by itself with {code}:\n{said}"
            assert "Traceback" not in said
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        prefork.ended(pid)
    prefork.close()
    lab.settle()
    check_each_ran_once(lab, 40)


DIES_WITH_A_CHILD = """
import os, signal, sys, time
from pathlib import Path
from reconciler.store.lock import DaemonLock
from reconciler.store.paths import StatePaths
DaemonLock(StatePaths(Path(sys.argv[1])), time.time).acquire()
if os.fork() == 0:
    time.sleep(0.2)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A loop that is killed just as it starts a program: that holds the lock until it has begun."""


def test_a_lock_that_a_dead_daemon_left_behind_for_a_moment_is_waited_for(lab: Lab) -> None:
    spec(lab, jobs=1)
    died = subprocess.run([sys.executable, "-c", DIES_WITH_A_CHILD, str(lab.state)], env=lab.env, check=False)
    assert died.returncode == -signal.SIGKILL
    lab.settle()
    check_each_ran_once(lab, 1)


def test_a_loop_for_other_specs_is_not_the_loop_of_these(lab: Lab) -> None:
    lab.spec(project({"here": "sleep 60"}))
    others = lab.root / "others" / "specs"
    others.mkdir(parents=True)
    (others / "q.yaml").write_text(project({"there": "true"}, name="q").replace("WORK", str(lab.work)))
    words = f"serves the specs in {lab.specs}"
    with lab.daemon():
        lab.wait_for_status("p/here", "running")
        mine = lab.json("status")["daemon"]
        assert (mine["specs"], mine["serves"]) == (str(lab.specs), True)
        assert lab.json("--specs", str(others), "status")["daemon"]["serves"] is False
        shown = lab.exq("--specs", str(others), "status").stdout
        assert words in " ".join(shown.split()) and "exq --state DIR run" in shown
        assert words in lab.exq("--specs", str(others), "diff").stderr
        assert words in lab.exq("--specs", str(others), "stop", "q/there").stderr
        refused = lab.exq("--specs", str(others), "run", "--once", code=75).stderr
        assert words in refused and "takes up changed specs" not in refused
        assert "takes up changed specs" in lab.exq("run", "--once", code=75).stderr
        link = lab.root / "link"
        link.symlink_to(lab.specs)
        assert lab.json("--specs", str(link), "status")["daemon"]["serves"] is True
        (line,) = [c for c in lab.json("--specs", str(others), "doctor", code=None)["checks"] if c["name"] == "loop"]
        assert line["status"] == "warning" and words in line["message"]
        lab.exq("stop", "p/here")
