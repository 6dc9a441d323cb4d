"""Answers that are lost on their way, whichever side ends at which moment: every job runs, exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.integration.lab import Lab
from tests.integration.prefork import Prefork
from tests.integration.ssh.fleet import NOTES, end_of, fleet, ran
from tests.integration.ssh.host import Host
from tests.integration.ssh.hosts import Hosts

SEED = int(os.environ.get("EXQ_CUT_SEED", "1"))
CUTS = int(os.environ.get("EXQ_CUTS", "24"))
JOBS = 24
FAILPOINT_EXIT = 70
FAILPOINTS = (
    "before_journal",
    "after_journal",
    "after_launch",
    "after_launch:3",
    "before_outcome",
    "after_outcome:2",
    "before_verdict",
    "after_verdict:2",
    "after_release",
    "after_settle_run",
)


@pytest.fixture
def prefork(lab: Lab, hosts: Hosts) -> Iterator[Prefork]:
    server = Prefork(lab, hosts.enter)
    yield server
    lab.close()
    server.close()


def once(jobs: int) -> Counter[str]:
    return Counter(f"j{i}" for i in range(jobs))


def check_all_completed_at_once(lab: Lab, jobs: int) -> None:
    status = lab.status().values()
    assert {(job["status"], job["exit_code"]) for job in status} == {("completed", 0)}
    assert len(status) == jobs


CUT: dict[str, Callable[[Host], object]] = {
    "sshd": Host.kill_sessions,
    "agent": Host.kill_agents,
    "reset": lambda host: (host.partition("reject"), host.heal()),
    "none": lambda host: None,
}


@pytest.mark.timeout(240)
def test_connections_cut_and_controllers_killed_at_any_moment(hosts: Hosts, lab: Lab, prefork: Prefork) -> None:
    """Each controller loses its connection at a random moment, goes on for a random time, and is killed."""
    print(f"EXQ_CUT_SEED={SEED}")  # shown when the test fails
    chance = random.Random(SEED)
    a, b = hosts.add("a", "b")
    lab.spec(fleet({f"j{i}": f"{NOTES}; sleep 0.{i % 3}" for i in range(JOBS)}, "p", "a", "b", max_parallel=3))
    for number in range(CUTS):
        (pid,) = prefork.start("run")
        time.sleep(chance.uniform(0, 0.5))
        kind = chance.choice(sorted(CUT))
        CUT[kind](chance.choice([a, b]))
        time.sleep(chance.uniform(0, 0.2))
        os.kill(pid, signal.SIGKILL)
        _, code, said = prefork.ended(pid)
        assert code == -signal.SIGKILL, f"controller {number} ended by itself with {code}:\n{said}"
        assert "Traceback" not in said, said
    print(f"after {CUTS} cuts {ran(a, b).total()} jobs have started")
    prefork.close()
    lab.settle(timeout_s=120)
    assert ran(a, b) == once(JOBS)
    check_all_completed_at_once(lab, JOBS)


def test_a_controller_that_ends_at_any_step_goes_on_later(hosts: Hosts, lab: Lab) -> None:
    (host,) = hosts.add("a")
    jobs = 2 * len(FAILPOINTS)
    lab.spec(fleet({f"j{i}": NOTES for i in range(jobs)}, "p", "a", max_parallel=1))
    for name in FAILPOINTS:
        loop = lab.start("run", "--until-settled", env={**lab.env, "EXQ_FAILPOINT": name})
        lab.wait(f"the loop to end at {name}", lambda loop=loop: loop.poll() is not None)
        said = lab.kill(loop)
        assert loop.returncode in (0, FAILPOINT_EXIT), said
        assert all(count == 1 for count in ran(host).values()), f"after {name}: {ran(host)}"
    end_of(lab, lab.start("run", "--until-settled"))
    assert ran(host) == once(jobs)
    check_all_completed_at_once(lab, jobs)
