"""Two controllers that know nothing of each other, and one that forgot: no job runs twice, and no GPU has two."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable

import pytest

from tests.integration.lab import Lab
from tests.integration.ssh.fleet import GATED, NOTES, end_of, fleet, go, ran
from tests.integration.ssh.hosts import Hosts

NewLab = Callable[[], Lab]


def completed(lab: Lab) -> int:
    """How many jobs are, to this controller; all of its jobs are."""
    status = lab.status().values()
    assert {job["status"] for job in status} == {"completed"}, [job for job in status if job["status"] != "completed"]
    return len(status)


def test_two_controllers_of_the_same_jobs_share_them(hosts: Hosts, new_lab: NewLab) -> None:
    (host,) = hosts.add("a")
    jobs = {f"j{i:02}": f"{NOTES}; sleep 0.{i % 3}" for i in range(20)}
    labs = [new_lab(), new_lab()]
    for lab in labs:
        lab.spec(fleet(jobs, "p", "a", max_parallel=3))
    loops = [lab.start("run", "--until-settled") for lab in labs]
    for lab, loop in zip(labs, loops, strict=True):
        end_of(lab, loop)
    assert ran(host) == Counter(jobs.keys())
    assert [completed(lab) for lab in labs] == [20, 20]


def test_a_second_controller_waits_for_the_jobs_of_the_first(hosts: Hosts, new_lab: NewLab) -> None:
    """It comes while they run, and the first one never comes back."""
    (host,) = hosts.add("a")
    jobs = {f"j{i}": GATED for i in range(3)}
    first, second = new_lab(), new_lab()
    for lab in (first, second):
        lab.spec(fleet(jobs, "p", "a", max_parallel=3))
    with first.daemon():
        first.wait("all to run", lambda: ran(host).total() == 3)
    loop = second.start("run", "--until-settled")
    second.wait("it to be connected", host.agent_pids)
    seen = second.wait_for_status("p/j0", "running")
    assert seen["reason"] in {"Adopted", "Running"}
    go(host)
    end_of(second, loop)
    assert ran(host) == Counter(jobs.keys())
    assert completed(second) == completed(first) == 3


@pytest.mark.parametrize("lost", ["ledger", "state"])
def test_a_controller_that_lost_its_memory_repeats_nothing(hosts: Hosts, lab: Lab, lost: str) -> None:
    """It is killed while jobs run there, some are over, and some are to come."""
    a, b = hosts.add("a", "b")
    jobs = {**{f"over{i}": NOTES for i in range(4)}, **{f"live{i}": GATED for i in range(4)}, "last": NOTES}
    lab.spec(fleet(jobs, "p", "a", "b", max_parallel=4))
    with lab.daemon():
        lab.wait("all but the last to run", lambda: ran(a, b).total() == 8)
    if lost == "state":
        shutil.rmtree(lab.state)
    else:
        for file in lab.state.glob("ledger.sqlite3*"):
            file.unlink()
    (b.home / ".bashrc").write_text("sleep 2\n")  # what it has is known late
    loop = lab.start("run", "--until-settled")
    lab.wait("it to be connected", lambda: a.agent_pids() and b.agent_pids())
    go(a, b)
    end_of(lab, loop)
    (b.home / ".bashrc").unlink()
    assert ran(a, b) == Counter(jobs.keys())
    assert {(job["id"], job["status"], job["attempts"]) for job in lab.status().values()} == {
        (name, "completed", 1) for name in jobs
    }


ON_GPU = (
    'echo "$EXQ_PROJECT-$EXQ_JOB" >>~/ran; mkdir ~/gpu$GPU.busy || echo "$EXQ_JOB on $GPU" >>~/twice; '
    "sleep 0.2; rmdir ~/gpu$GPU.busy"
)
"""Notes it when another job is on its GPU."""


@pytest.mark.parametrize("folders", [(None, None), ("~/one", "~/two")], ids=["one state folder", "two"])
def test_a_gpu_is_never_given_to_two_jobs(
    hosts: Hosts, new_lab: NewLab, folders: tuple[str | None, str | None]
) -> None:
    (host,) = hosts.add("a")
    host.gpus(2)
    loops = []
    for name, folder in zip(("p", "q"), folders, strict=True):
        lab = new_lab()
        if folder is not None:
            lab.env["EXQ_REMOTE_STATE"] = folder
        entries = {f"j{i}": {"cmd": ON_GPU, "env": {"FAKE_GPU_MIB": "700"}} for i in range(3)}
        lab.spec(fleet(entries, name, "a", gpus="all", max_parallel=None))
        loops.append((lab, lab.start("run", "--until-settled")))
    for lab, loop in loops:
        end_of(lab, loop)
        assert completed(lab) == 3
    assert ran(host) == Counter(f"{name}-j{i}" for name in ("p", "q") for i in range(3))
    assert not (host.home / "twice").exists(), (host.home / "twice").read_text()
