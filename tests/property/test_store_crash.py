"""kill -9 of a writing process at any moment: each commit is there whole or not at all, and none that was reported
is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.store.audit import AuditTrail, read
from reconciler.store.ledger import LedgerStore
from reconciler.store.paths import StatePaths
from reconciler.store.requests import accept, pending
from tests.unit.store.samples import NOW

WRITE = """
import sys
from pathlib import Path
from reconciler.model.enums import RequestKind
from reconciler.model.ledger import JobRecord
from reconciler.store.audit import AuditTrail
from reconciler.store.ledger import LedgerStore
from reconciler.store.paths import StatePaths
from reconciler.store.requests import submit

paths = StatePaths(Path(sys.argv[1]))
store = LedgerStore.open(paths, writable=True)
trail = AuditTrail(paths, lambda: 1700000000.0)
print("ready", flush=True)
number = max((record.retry_after for record in store.ledger().jobs.values()), default=0)
while True:
    number += 1
    store.commit([JobRecord(f"p/{part}", (), retry_after=number) for part in range(4)], accepted=[str(number)])
    trail.write("commit", number=number, text="x" * (number % 500))
    submit(paths, RequestKind.PAUSE, f"p{number}", "ann", number)
    print(number, flush=True)
"""


def run_and_kill(paths: StatePaths, after_s: float) -> int:
    """The last commit that the killed process reported, 0 for none."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITE, str(paths.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        if after_s >= 0:
            assert process.stdout.readline() == "ready\n"
        time.sleep(abs(after_s))
        process.kill()
        lines = [line for line in process.stdout.read().split("\n")[:-1] if line != "ready"]
    return int(lines[-1]) if lines else 0


@pytest.mark.parametrize("seed", range(2))
def test_commits_are_whole_and_none_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    paths = StatePaths(tmp_path / "state")
    reported = 0
    for turn in range(6):
        reported = max(reported, run_and_kill(paths, chance.uniform(0, 0.08)))
        with LedgerStore.open(paths, writable=False) as reader:
            found = {record.retry_after for record in reader.ledger().jobs.values()}
        with LedgerStore.open(paths, writable=bool(turn % 2)) as store:
            jobs = store.ledger().jobs
            assert {record.retry_after for record in jobs.values()} == found
            assert store.notices == ()
        assert len(found) <= 1 and len(jobs) in (0, 4)
        last = max(found, default=0)
        assert reported <= last <= reported + 1
        assert store.is_accepted(str(last)) is bool(last)
        reported = last
    assert reported > 0, "nothing was tested"
    check_trail(paths, reported)
    check_requests(paths, reported)


def check_trail(paths: StatePaths, reported: int) -> None:
    """Every commit but the ones in flight when the process was killed has its record, in order."""
    trail = AuditTrail(paths, lambda: NOW)
    trail.write("end")
    trail.close()
    records = list(read(paths))
    numbers = [record["number"] for record in records[:-1]]
    assert numbers == sorted(set(numbers))
    assert len(set(range(1, reported + 1)) - set(numbers)) <= 6
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))


def check_requests(paths: StatePaths, reported: int) -> None:
    requests = pending(paths)
    assert reported - 6 <= len(requests) <= reported
    for request in requests:
        accept(paths, request)
    assert pending(paths) == ()
    assert not list(paths.requests.glob("*.damaged"))


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.08, 0.1, 0.12])
def test_killed_while_it_opens_the_state_for_the_first_time(tmp_path: Path, after_s: float) -> None:
    paths = StatePaths(tmp_path / "state")
    run_and_kill(paths, -after_s)
    with LedgerStore.open(paths, writable=True) as store:
        assert store.notices == ()
        assert len(store.ledger().jobs) in (0, 4)
