"""A thousand times `kill -9` of the daemon in one campaign of 200 jobs: each job runs exactly once.

The moments of the kills come from a seed, which a failure prints; EXQ_KILL_SEED tries others.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from reconciler.model.enums import Reason
from reconciler.model.ledger import AttemptRecord, JobRecord
from reconciler.store.ledger import LedgerStore
from reconciler.store.paths import StatePaths
from reconciler.store.rebuild import rebuild
from tests.integration.lab import Lab
from tests.integration.prefork import Prefork

pytestmark = pytest.mark.needs("screen")

SEED = int(os.environ.get("EXQ_KILL_SEED", "1"))
JOBS = 200
KILLS = 1000
FROM_THE_COMMAND_LINE = 250
"""So many of the daemons start as a user starts them, so that kills fall into the start of Python, too."""

SPEC = """
    project: p
    cwd: WORK
    gpus: none
    max_parallel: 6
    launcher: screen
    grid: {i: RANGE}
    template:
      id: "j${i}"
      cmd: >-
        echo "start $EXQ_JOB $EXQ_ATTEMPT_NUMBER" >> ran;
        until [ -e open-${i} ]; do sleep 0.2; done;
        echo "end $EXQ_JOB $EXQ_ATTEMPT_NUMBER" >> ran
"""


def runs(lab: Lab) -> dict[str, Counter[tuple[str, str]]]:
    """What payloads noted, by "start" and "end": how often which attempt of which job did."""
    found: dict[str, Counter[tuple[str, str]]] = {"start": Counter(), "end": Counter()}
    path = lab.work / "ran"
    for line in path.read_text().splitlines() if path.exists() else ():
        what, job, number = line.split()
        found[what][job, number] += 1
    return found


def check_ledger_tells_what_the_folders_tell(lab: Lab) -> None:
    """The index and the truth that it is made from, attempt by attempt."""
    paths = StatePaths(lab.state)
    with closing(sqlite3.connect(paths.ledger)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with LedgerStore.open(paths, writable=False) as store:
        ledger, notices = dict(store.ledger().jobs), store.notices
    folders = rebuild(paths)
    assert (notices, folders.notices) == ((), ())
    assert ledger.keys() == folders.jobs.keys()
    differences = [
        f"{key}: the ledger has {mine!r}, the folders {theirs!r}"
        for key in ledger
        for mine, theirs in zip(told(paths, ledger[key]), told(paths, folders.jobs[key]), strict=True)
        if mine != theirs
    ]
    assert differences == []
    assert all(attempt.released for record in ledger.values() for attempt in record.attempts)


def told(paths: StatePaths, record: JobRecord) -> list[object]:
    """All that both know of a job."""
    of_attempts = [of_attempt(paths, attempt) for attempt in record.attempts]
    return [record.completed, record.generation, [attempt.number for attempt in record.attempts], *of_attempts]


def of_attempt(paths: StatePaths, attempt: AttemptRecord) -> tuple[object, ...]:
    """One that no shim claimed was revoked, and is lost, whatever else of it a kill has cut short."""
    if not (paths.attempts / attempt.path / "claim").read_text().startswith("shim "):
        assert attempt.verdict is None or attempt.verdict.reason is Reason.LAUNCH_LOST
        return (attempt.number, attempt.exit_code, attempt.started_at)
    ended = (attempt.number, attempt.verdict, attempt.exit_code, attempt.started_at, attempt.ended_at)
    return (*ended, attempt.generation, attempt.launcher, attempt.session, attempt.intended_at, attempt.revision)


class Killer:
    """Starts one daemon after the other and kills each at a moment of its own."""

    def __init__(self, lab: Lab, prefork: Prefork, chance: random.Random) -> None:
        self.lab = lab
        self.prefork = prefork
        self.chance = chance
        begun = time.monotonic()
        lab.exq("run", "--once")
        self.start_s = time.monotonic() - begun
        """How long a daemon from the command line takes to its first plan and back."""

    def kill_one(self, *, from_the_command_line: bool) -> None:
        if from_the_command_line:
            child = self.lab.start("run")
            time.sleep(self.chance.uniform(0, min(0.5, 1.2 * self.start_s)))
            assert child.poll() is None, f"a daemon ended by itself:\n{self.lab.kill(child)}"
            out = self.lab.kill(child)
        else:
            (pid,) = self.prefork.start("run")
            time.sleep(self.chance.uniform(0, min(0.15, 0.4 * self.start_s)))
            os.kill(pid, signal.SIGKILL)
            _, code, out = self.prefork.ended(pid)
            assert code == -signal.SIGKILL, f"a daemon ended by itself with {code}:\n{out}"
        assert "Traceback" not in out, out


@pytest.mark.timeout(400)
def test_a_thousand_kills_of_the_daemon_in_one_campaign(lab: Lab, prefork: Prefork) -> None:
    print(f"EXQ_KILL_SEED={SEED}")  # shown when the test fails
    lab.spec(SPEC.replace("RANGE", str(list(range(JOBS)))))
    chance = random.Random(SEED)
    killer = Killer(lab, prefork, chance)
    by_command = set(chance.sample(range(KILLS), FROM_THE_COMMAND_LINE))
    for number in range(KILLS):
        killer.kill_one(from_the_command_line=number in by_command)
        # the jobs may end one by one, so that there is work left until the last kill
        (lab.work / f"open-{number * JOBS // KILLS}").touch()
    seen = runs(lab)
    print(f"after {KILLS} kills {seen['start'].total()} jobs have started and {seen['end'].total()} have ended")
    assert seen["start"].total() > JOBS / 4, "the daemons were killed too early to get anything done"

    prefork.close()
    lab.settle(timeout_s=120)
    check_each_ran_once(lab)
    for file in lab.state.glob("ledger.sqlite3*"):
        file.unlink()
    lab.settle()  # from the folders alone: nothing runs again
    check_each_ran_once(lab)


def check_each_ran_once(lab: Lab) -> None:
    seen = runs(lab)
    assert Counter(job for job, _ in seen["start"].elements()) == Counter(f"j{i}" for i in range(JOBS))
    assert seen["end"] == seen["start"]
    status = lab.status()
    assert {(job["status"], job["exit_code"], job["attempts"]) for job in status.values()} == {("completed", 0, 1)}
    assert len(status) == JOBS
    lab.check_nothing_is_left()
    assert list((lab.state / "spool").iterdir()) == []
    check_ledger_tells_what_the_folders_tell(lab)
