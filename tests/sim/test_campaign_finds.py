"""Bugs that long random campaigns found, after those of test_regressions.py and test_hosts.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.planner.plan import plan
from tests.sim import product
from tests.sim.campaign import Case, run_case
from tests.sim.fake_os import OS
from tests.sim.faults import Fault
from tests.sim.run import Run
from tests.sim.scenarios import ALL
from tests.unit import factories as make

# 43: the host was restarted, a later attempt's process got the number of an earlier one's, and was ended for that one


@pytest.mark.parametrize("boot_id", ["boot-before", "boot-1"], ids=["another-boot", "this-boot"])
@pytest.mark.parametrize("of", ["p/a/1", "p/a/2", None], ids=["its-own", "a-later-one's", "unmarked"])
def test_a_number_that_is_another_process_by_now(boot_id: str, of: str | None) -> None:
    """Within one boot, a process without a marker that holds the job's lock belongs to the attempt all the same."""
    machine = Run(ALL["plain"]).machine
    assert machine.boot_id == "boot-1"
    state = "/home/u/.local/state/exq"
    machine.disk.put(f"{state}/locks/p%a.lock", b"p/a/2\n")
    lock = machine.disk.entries[f"{state}/locks/p%a.lock"].ino
    environ = {b"EXQ_SHIM": b"1", b"EXQ_STATE": state.encode(), b"EXQ_ATTEMPT": of.encode()} if of else {}
    process = machine.spawn("payload", attempt=of or "p/a/1", state=state, environ=environ, locks=[lock])
    started = {"boot_id": boot_id, "pid": process.pid, "start_ticks": process.start_ticks - 1}
    machine.disk.put(f"{state}/attempts/p/a/1/claim", f"shim {boot_id} 150 1\n".encode())
    machine.disk.put(f"{state}/attempts/p/a/1/started.json", (json.dumps(started) + "\n").encode())
    found = product.agent.Agent(state, {}).handle({"op": "kill", "path": "p/a/1"})
    belongs = of == "p/a/1" or (of is None and boot_id == machine.boot_id)
    assert found == {"signalled": [process.pid] if belongs else [], "quit": []}
    assert process.alive is not belongs


# 44: at the first contact a host could not make its state folder, then the first launch was lost on its way: for ever
# after, the missing folder was taken for a disk that is not there, and the attempt for one that may be on it


def test_nothing_is_launched_before_the_state_folder_is_there_for_good() -> None:
    run = Run(ALL["far"])
    host = run.fleet.machines["a"]
    agent = product.agent.Agent("/home/u/.local/state/exq", {})
    asked = {"op": "probe", "attempts": [], "index": ["far"], "disk": True}
    host.disk.folders("/home/u/.local/state/exq")
    host.disk.full = True
    with OS.on(host):
        full = agent.handle(asked)
        host.disk.full = False
        after = agent.handle(asked)
    assert "index" not in full and full["disk"]["writable"] is False
    assert full["disk"]["message"] == "/home/u/.local/state/exq cannot be written: No space left on device"
    assert after["index"] == {} and after["disk"]["writable"]


def test_a_first_launch_that_is_lost_after_a_full_disk_is_repeated() -> None:
    assert run_case(Case("far", 0, (Fault(32, "fail"), Fault(45, "crash-after"))))[1] == []


# 46: a shim was killed just after its screen had come up, between the listing of the screens and the look at attempts


def test_a_screen_that_came_up_after_the_listing_is_found() -> None:
    assert run_case(Case("stale", 1028123, (Fault(44, "hang"), Fault(75, "kill-shim"))))[1] == []


@pytest.mark.parametrize(
    ("claimed_after_s", "unlisted"), [(-0.1, False), (-0.005, True), (5.0, True), (86_400.0, False)]
)
def test_what_the_agent_says_of_a_fresh_claim(claimed_after_s: float, unlisted: bool) -> None:
    machine = Run(ALL["plain"]).machine
    state = "/home/u/.local/state/exq"
    machine.disk.put(f"{state}/attempts/p/a/1/claim", b"shim boot-1 150 1\n")
    machine.disk.entries[f"{state}/attempts/p/a/1/claim"].mtime_ns += int(claimed_after_s * 1e9)
    asked = {"op": "probe", "attempts": [{"path": "p/a/1", "scan": True}]}
    found = product.agent.Agent(state, {}).handle(asked)["attempts"]["p/a/1"]
    assert (found["shim_alive"], found["unlisted"]) == (False, unlisted)


@pytest.mark.parametrize(("unlisted", "session"), [(False, "exq.p.a.1"), (True, "exq.p.a.1"), (True, None)])
def test_an_attempt_whose_screen_may_come_up_is_looked_at_again_at_once(unlisted: bool, session: str | None) -> None:
    over = make.over(1, released=False, session=session)
    facts = replace(make.ended(0), unlisted=unlisted)
    spec = make.desired(make.project(make.job("a")))
    result = plan(
        spec, make.observed(make.seen(spec, attempts={over.path: facts})), make.ledger(make.record(over)), make.NOW
    )
    held = unlisted and session is not None
    assert result.released == (() if held else (over.path,))
    assert not held or (result.wake_at is not None and result.wake_at <= make.NOW + 0.05)


# 47: a transfer failed after its file had got its name, but before that was durable: the next try took it for done


def test_a_file_that_is_there_already_is_made_durable() -> None:
    assert run_case(Case("fetch", 1024103, (Fault(155, "fail"), Fault(210, "power")), 1.0))[1] == []
