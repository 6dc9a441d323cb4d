"""The simulated world itself: it forgets, lies and reuses as the real one does."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk import Disk
from tests.sim.fake_os import OS, fake_open
from tests.sim.faults import Fault, FaultPlan, SimCrash
from tests.sim.machine import FIRST_PID, LAST_PID, SOCKETS, Machine, Process, Script
from tests.sim.screens import list_screens, quit_screen, user_screen


def forever(_process: Process) -> Script:
    while True:
        yield 1e6


def machine(*faults: Fault, gpus: int = 0) -> Machine:
    made = Machine(1, FaultPlan.of(faults), gpus)
    OS.use(made)
    return made


def test_what_was_not_synced_can_be_lost_and_what_was_cannot() -> None:
    contents = set()
    for seed in range(60):
        disk = Disk(Random(seed), lambda: 0.0)
        disk.folder("/a")
        disk.sync_all_names()
        disk.put("/a/kept", b"kept")
        disk.write(disk.create("/a/loose"), b"whole")
        disk.power_loss()
        assert disk.get("/a/kept").data == b"kept"
        loose = disk.entries.get("/a/loose")
        contents.add(None if loose is None else loose.data)
    assert {None, b"", b"whole"} <= contents
    assert any(data and b"whole".startswith(data) and data != b"whole" for data in contents if data)


def test_a_rename_is_whole_after_a_power_failure() -> None:
    found = set()
    for seed in range(40):
        disk = Disk(Random(seed), lambda: 0.0)
        disk.put("/old", b"old")
        disk.sync_all_names()
        new = disk.create("/new")
        disk.write(new, b"new")
        disk.sync(new)
        disk.rename("/new", "/old")
        disk.power_loss()
        found.add(disk.get("/old").data)
    assert found == {b"old", b"new"}


def test_a_full_disk_refuses() -> None:
    disk = Disk(Random(0), lambda: 0.0)
    disk.full = True
    with pytest.raises(OSError, match="No space"):
        disk.create("/x")


def test_pids_are_used_again() -> None:
    world = machine()
    first = world.spawn("x", forever)
    world.end(first, 0)
    seen = [world.spawn("x") for _ in range(LAST_PID - FIRST_PID)]
    for process in seen:
        world.end(process, 0)
    assert world.spawn("x").pid in {process.pid for process in [first, *seen]}


def test_a_lock_is_held_by_all_who_inherit_it() -> None:
    world = machine()
    inode = world.disk.create("/lock")
    one = world.spawn("shim")
    assert world.take_lock(one, inode)
    child = world.spawn("payload", locks=list(one.locks))
    world.end(one, 0)
    assert not world.take_lock(world.spawn("shim"), inode)
    world.end(child, 0)
    assert world.take_lock(world.spawn("shim"), inode)


def test_gpu_memory_comes_back_late() -> None:
    world = machine(gpus=1)
    uuid = world.gpus[0].uuid
    process = world.spawn("payload", gpus={uuid: 9_000})
    world.end(process, 0)
    assert world.used_mib()[uuid] > 9_000
    world.advance(1.0)
    assert world.used_mib()[uuid] < 10


def test_screen_takes_a_name_for_a_prefix_and_keeps_dead_sockets() -> None:
    world = machine()
    assert list_screens(world) == (f"No Sockets found in {SOCKETS}.\n\n", 1)
    ten = user_screen(world, "exp10")
    assert quit_screen(world, "exp1") == 0
    assert not ten.alive
    assert world.violations  # and the oracle saw that it was nobody's to quit
    gone = user_screen(world, "mine")
    world.end(gone, 137)
    assert "Dead ???" in list_screens(world)[0]


def test_a_fault_hits_the_operation_with_its_number() -> None:
    world = machine(Fault(3, "crash-after"))
    OS.makedirs("/one")
    OS.makedirs("/two")
    with pytest.raises(SimCrash):
        OS.makedirs("/three")
    assert "/three" in world.disk.entries
    with pytest.raises(SimCrash):  # and who is dead does nothing more
        OS.makedirs("/four")
    assert "/four" not in world.disk.entries
    assert world.faults.hit == [Fault(3, "crash-after")]


def test_a_failing_write_leaves_the_file_as_it_was() -> None:
    world = machine(Fault(2, "fail"))
    descriptor = OS.open("/file", OS.O_WRONLY | OS.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        OS.write(descriptor, b"x")
    assert world.disk.get("/file").data == b""
    with fake_open("/file", "rb") as file:
        assert file.read() == b""


def test_a_signal_to_someone_else_is_noticed() -> None:
    world = machine()
    stranger = world.spawn("innocent", forever)
    world.acting = ("/state", "p/a/1")
    OS.kill(stranger.pid, 9)
    assert any(text.startswith("S2") for text in world.violations)


def test_user_code_without_an_intent_or_beside_its_twin_is_noticed() -> None:
    world = machine()
    world.intents["/state"] = lambda attempt: attempt != "p/a/3"
    one = world.spawn("payload", forever, attempt="p/a/1", state="/state")
    world.user_code_starts(one)
    assert world.violations == []
    world.user_code_starts(world.spawn("payload", forever, attempt="p/a/2", state="/state"))
    world.user_code_starts(world.spawn("payload", forever, attempt="p/a/3", state="/state"))
    assert {text[:2] for text in world.violations} == {"S1", "S9"}
