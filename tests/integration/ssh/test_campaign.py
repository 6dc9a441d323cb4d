"""Campaigns over several hosts while everything fails in turn: each job runs once, and its outputs come home whole."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab import Lab
from tests.integration.ssh.fleet import end_of, fleet, jobs_of, ran
from tests.integration.ssh.host import Host
from tests.integration.ssh.hosts import Hosts

SEED = int(os.environ.get("EXQ_CAMPAIGN_SEED", "1"))
JOBS = 60
NAMES = [f"j{i:02}" for i in range(JOBS)]

WORK = """\
echo $EXQ_JOB >>~/ran
echo "$EXQ_JOB on $(hostname)"
mkdir -p out
head -c 20000 /dev/urandom >out/$EXQ_JOB.part
sleep 0.SOME
mv out/$EXQ_JOB.part out/$EXQ_JOB.bin
echo $EXQ_JOB >>~/ended
"""


def job(number: int) -> dict[str, object]:
    return {"cmd": WORK.replace("SOME", str(3 + number % 6)), "output_check": f"out/{NAMES[number]}.bin"}


@dataclass
class Storm:
    """The faults of one campaign, each when so many jobs have started."""

    lab: Lab
    hosts: list[Host]
    chance: random.Random
    due: list[tuple[int, str, Host]] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    """The jobs that the reboot stopped."""
    rebooted: str = ""
    """The host of it."""

    def plan(self) -> None:
        kinds = ["partition", "sshd", "reboot", "controller"]
        self.chance.shuffle(kinds)
        counts = sorted(self.chance.sample(range(6, JOBS - 10), len(kinds)))
        self.due = [(count, kind, self.chance.choice(self.hosts)) for count, kind in zip(counts, kinds, strict=True)]
        print(f"EXQ_CAMPAIGN_SEED={SEED}", [(count, kind, host.name) for count, kind, host in self.due])

    def run(self) -> None:
        """Let it all happen while the loop works, to the end."""
        loop = self.lab.start("run", "--until-settled")
        for count, kind, host in self.due:
            self.wait_for(count, loop)
            if kind == "partition":
                host.partition(self.chance.choice(["drop", "link", "in", "out"]))
                time.sleep(self.chance.uniform(0.2, 9))
                host.heal()
            elif kind == "sshd":
                host.kill_sessions()
            elif kind == "reboot":
                self.reboot(host)
            else:
                self.lab.kill(loop)
                loop = self.lab.start("run", "--until-settled")
        end_of(self.lab, loop, timeout_s=120)

    def wait_for(self, count: int, loop: subprocess.Popen[str]) -> None:
        def is_so() -> bool:
            assert loop.poll() is None, f"the loop has ended:\n{self.lab.kill(loop)}"
            return ran(*self.hosts).total() >= count

        self.lab.wait(f"{count} jobs to have started", is_so, timeout_s=60)

    def reboot(self, host: Host) -> None:
        host.down()
        self.rebooted = host.name
        ended = (host.home / "ended").read_text().split() if (host.home / "ended").exists() else []
        self.stopped = set(ran(host)) - set(ended)
        host.up()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.timeout(300)
def test_sixty_jobs_on_three_hosts_through_all_that_can_happen(hosts: Hosts, lab: Lab) -> None:
    made = hosts.add("a", "b", "c")
    entries = {name: job(number) for number, name in enumerate(NAMES)}
    each = [{"name": host.name, "max_parallel": 3} for host in made]
    lab.spec(fleet(entries, "p", hosts=each, max_parallel=9, collect=True))
    storm = Storm(lab, made, random.Random(SEED))
    storm.plan()

    storm.run()

    starts = ran(*made)
    twice = {name for name, count in starts.items() if count > 1}
    assert set(starts) == set(NAMES)
    assert twice <= storm.stopped, f"ran twice: {twice}, stopped by the reboot: {storm.stopped}"
    assert max(starts.values()) <= 2
    status = lab.status()
    assert Counter(row["status"] for row in status.values()) == {"completed": JOBS}
    # the reboot may come when the outputs are there and the exit code is not: its payload has ended then
    odd = [
        row
        for row in status.values()
        if row["exit_code"] != 0 and (row["exit_code"], row["host"]) != (None, storm.rebooted)
    ]
    assert odd == []
    check_collected(lab, status, {host.name: host for host in made})


def check_collected(lab: Lab, status: Mapping[str, dict[str, Any]], by_name: Mapping[str, Host]) -> None:
    """Outputs and logs of all jobs are at home, as they are on the hosts."""
    home = lab.root / "collected" / "p"
    for row in status.values():
        source = by_name[row["host"]].home / "out" / f"{row['id']}.bin"
        (copy,) = home.rglob(f"{row['id']}.bin")
        assert digest(copy) == digest(source), row["key"]
    logs = "".join(path.read_text() for path in home.rglob("*log*") if path.is_file())
    assert all(f"{row['id']} on {row['host']}\n" in logs for row in status.values())


TEACHER = (
    "mkdir -p ckpt/deep; head -c 300000 /dev/urandom >ckpt/$EXQ_JOB.pt; date >ckpt/deep/$EXQ_JOB.txt; echo >>~/ran"
)
STUDENT = "sha256sum ckpt/t0.pt ckpt/t1.pt ckpt/deep/*.txt >sums; echo $EXQ_JOB >>~/ran"


@pytest.mark.parametrize("cut", [None, Host.kill_sessions, Host.kill_agents], ids=["calm", "sshd", "agent"])
def test_what_a_phase_needs_is_fetched_from_another_host(
    hosts: Hosts, lab: Lab, cut: Callable[[Host], object] | None
) -> None:
    a, b = hosts.add("a", "b")
    outputs = {f"t{i}": {"cmd": TEACHER, "output_check": [f"ckpt/t{i}.pt", f"ckpt/deep/t{i}.txt"]} for i in range(2)}
    phases = [
        {"name": "teachers", "hosts": "a", "jobs": [{"id": key, **entry} for key, entry in outputs.items()]},
        {
            "name": "students",
            "hosts": "b",
            "depends_on": "teachers",
            "fetch": True,
            "jobs": [{"id": "s", "cmd": STUDENT, "output_check": "sums"}],
        },
    ]
    lab.spec(fleet({}, "p", "a", "b", phases=phases))
    loop = lab.start("run", "--until-settled")
    if cut is not None:
        lab.wait("the teachers to have run", (a.home / "ran").exists)
        cut(a)
        cut(b)
    end_of(lab, loop)
    files = ["ckpt/t0.pt", "ckpt/t1.pt", "ckpt/deep/t0.txt", "ckpt/deep/t1.txt"]
    assert [digest(b.home / name) for name in files] == [digest(a.home / name) for name in files]
    assert (b.home / "sums").read_text().split()[::2] == [digest(a.home / name) for name in files]
    assert [row["host"] for row in jobs_of(lab.status(), "p")] == ["a", "a", "b"]
    assert ran(b) == Counter(["s"])
