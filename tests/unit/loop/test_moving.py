"""Transfers beside the loop: in order, not too many at once, again after a failure, and never in its way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.agent import Agent
from reconciler.host.bring import Brought, NotBrought, Progress
from reconciler.host.reply import HostAgent
from reconciler.loop.moving import FIRST_DELAY_S, SILENT_S, UNWANTED_S, Moved, Moving
from reconciler.model.ledger import COLLECTED, Copy
from reconciler.model.plan import Transfer
from tests.unit.host.two_homes import Host, collected

WAIT_S = 30.0
"""How long a test waits for what should come at once, before it says that it does not."""


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Far:
    """An agent that nothing is asked of in these tests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds: list[Far] = []
        self.closed = False

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(request)

    def open_second(self) -> Far:
        self.seconds.append(Far(f"{self.name}, second"))
        return self.seconds[-1]

    def close(self) -> None:
        self.closed = True


class Bench:
    """What a Moving is given, and what it makes of that."""

    def __init__(self, *, threads: bool = False) -> None:
        self.clock = Clock()
        self.hosts = {name: Far(name) for name in ["a", "b", "c", "d", COLLECTED]}
        self.woken = 0
        self.begun: list[str] = []
        self.ends: dict[str, Callable[[Progress], Brought]] = {}
        self.agents: list[tuple[HostAgent, HostAgent]] = []
        self.moving = Moving(
            self.hosts.get, self._wake, now=lambda: 5.0, monotonic=self.clock, threads=threads, bring=self._bring
        )

    def _wake(self) -> None:
        self.woken += 1

    def _bring(self, source: HostAgent, target: HostAgent, transfer: Transfer, progress: Progress) -> Brought:
        self.begun.append(transfer.job)
        self.agents.append((source, target))
        return self.ends.get(transfer.job, lambda _: Brought(2, 10))(progress)

    def fail(self, job: str, kind: str = "failed", place: str = "a") -> None:
        def end(_: Progress) -> Brought:
            raise NotBrought(f"{place} is ill", kind, place)

        self.ends[job] = end


def transfer(job: str, source: str = "a", place: str = "b", attempt: int = 1) -> Transfer:
    return Transfer(f"p/{job}", attempt, source, place, "~", ("x",))


def jobs(moved: list[Moved]) -> list[str]:
    return [each.transfer.job for each in moved]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_wanted_is_moved_in_order(bench: Bench) -> None:
    wanted = [transfer("2"), transfer("1"), transfer("3", place=COLLECTED)]
    bench.moving.want(wanted)
    assert bench.begun == ["p/2", "p/1", "p/3"]
    assert bench.woken == 3
    copies = [Copy("b", 1, 2, 10, 5.0), Copy("b", 1, 2, 10, 5.0), Copy(COLLECTED, 1, 2, 10, 5.0)]
    assert bench.moving.finished() == [Moved(t, c) for t, c in zip(wanted, copies, strict=True)]
    assert bench.moving.finished() == []


def test_what_is_over_is_not_begun_again_before_it_is_told(bench: Bench) -> None:
    bench.moving.want([transfer("1")])
    bench.moving.want([transfer("1")])
    assert bench.begun == ["p/1"]
    bench.moving.finished()  # the ledger could not take it: it is wanted still
    bench.moving.want([transfer("1")])
    assert bench.begun == ["p/1", "p/1"]


def test_each_host_has_one_further_agent(bench: Bench) -> None:
    bench.moving.want([transfer("1"), transfer("2")])
    bench.moving.finished()
    bench.moving.want([transfer("3")])
    assert {name: len(host.seconds) for name, host in bench.hosts.items()} == {"a": 1, "b": 1, "c": 0, "d": 0, "": 0}
    assert set(bench.agents) == {(bench.hosts["a"].seconds[0], bench.hosts["b"].seconds[0])}
    bench.moving.close()
    assert bench.hosts["a"].seconds[0].closed
    assert not bench.hosts["a"].closed  # that one is the loop's


def test_the_loops_machine_has_a_further_agent_too(tmp_path: Path) -> None:
    own = Agent(str(tmp_path / "state"), {})
    seen: list[HostAgent] = []

    def bring(source: HostAgent, target: HostAgent, _transfer: Transfer, _progress: Progress) -> Brought:
        seen.extend([source, target])
        return Brought(0, 0)

    Moving(lambda host: own, threads=False, bring=bring).want([transfer("1", place=COLLECTED)])
    assert seen[0] is seen[1]
    assert isinstance(seen[0], Agent)
    assert seen[0] is not own
    assert seen[0].state == own.state


def test_a_failure_is_told_and_tried_again_later_and_later(bench: Bench) -> None:
    bench.fail("p/1")
    delays = []
    for _ in range(9):
        bench.moving.want([transfer("1")])
        assert bench.moving.problems() == {("p/1", 1, "b"): "a is ill"}
        assert bench.moving.finished() == [Moved(transfer("1"), None, "a is ill")]
        wait_s = bench.moving.wait_s()
        assert wait_s is not None
        delays.append(wait_s)
        begun = len(bench.begun)
        bench.clock.at += wait_s - 0.01
        bench.moving.want([transfer("1")])
        assert len(bench.begun) == begun
        bench.clock.at += 0.02
    assert all(
        0.75 * due <= delay <= due for delay, due in zip(delays, [5, 10, 20, 40, 80, 160, 300, 300, 300], strict=True)
    )
    assert len({round(delay / due, 3) for delay, due in zip(delays, [5, 10, 20], strict=False)}) == 3  # jitter
    del bench.ends["p/1"]
    bench.moving.want([transfer("1")])
    assert bench.moving.problems() == {}
    assert bench.moving.wait_s() is None


def test_a_failure_that_is_not_wanted_any_more_is_forgotten(bench: Bench) -> None:
    bench.fail("p/1")
    bench.moving.want([transfer("1")])
    bench.moving.finished()
    bench.moving.want([])
    assert bench.moving.problems() == {}
    assert bench.moving.wait_s() is None
    bench.moving.want([transfer("1")])
    assert bench.begun == ["p/1", "p/1"]


@pytest.mark.parametrize("kind", ["unreachable", "lost", "disk_full"])
def test_a_host_that_is_ill_is_left_alone_and_the_others_are_not(bench: Bench, kind: str) -> None:
    bench.fail("p/1", kind, "b")
    bench.moving.want([transfer("1"), transfer("2"), transfer("3", "b", "c"), transfer("4", "a", "c")])
    assert bench.begun == ["p/1", "p/4"]
    bench.clock.at += 5
    bench.fail("p/2", kind, "b")
    bench.moving.finished()
    bench.moving.want([transfer("2"), transfer("3", "b", "c")])
    assert bench.begun == ["p/1", "p/4", "p/2"]
    assert (bench.moving.wait_s() or 0) > 7  # twice as long


@pytest.mark.parametrize("kind", ["refused", "missing", "changed", "failed"])
def test_one_bad_transfer_does_not_hold_up_its_host(bench: Bench, kind: str) -> None:
    bench.fail("p/1", kind)
    bench.moving.want([transfer("1"), transfer("2")])
    assert bench.begun == ["p/1", "p/2"]


def test_a_mistake_in_the_program_does_not_end_the_moving(bench: Bench) -> None:
    def end(_: Progress) -> Brought:
        raise ZeroDivisionError("oh")

    bench.ends["p/1"] = end
    bench.moving.want([transfer("1"), transfer("2")])
    assert bench.begun == ["p/1", "p/2"]
    assert bench.moving.problems() == {("p/1", 1, "b"): "it failed (ZeroDivisionError: oh)"}


def test_a_host_that_is_not_reached_is_said(bench: Bench) -> None:
    bench.moving.want([transfer("1", "a", "zoo"), transfer("2")])
    assert bench.begun == ["p/2"]
    assert bench.moving.problems() == {("p/1", 1, "zoo"): "there is no connection to zoo"}
    assert bench.moving.wait_s() is None


def test_what_is_wanted_under_the_same_name_may_be_something_else(bench: Bench) -> None:
    other = Transfer("p/1", 1, "a", "b", "~", ("y",))

    def end(_: Progress) -> Brought:
        del bench.ends["p/1"]
        bench.moving.want([other])  # the spec was edited meanwhile
        return Brought(1, 1)

    bench.ends["p/1"] = end
    bench.moving.want([transfer("1")])
    assert [moved.transfer for moved in bench.moving.finished()] == [other]
    assert bench.begun == ["p/1", "p/1"]


# --- with threads


class Gates:
    """Transfers that go on when they are told to."""

    def __init__(self) -> None:
        self.bench = Bench(threads=True)
        self.inside: dict[str, threading.Event] = {}
        self.gate: dict[str, threading.Event] = {}
        self.stopped: list[str] = []
        self.done = threading.Semaphore(0)
        self.bench.moving._wake = self.done.release  # type: ignore[method-assign]

    def hold(self, *names: str) -> None:
        for name in names:
            self.inside[name], self.gate[name] = threading.Event(), threading.Event()

            def end(progress: Progress, name: str = name) -> Brought:
                self.inside[name].set()
                assert self.gate[name].wait(WAIT_S)
                try:
                    progress(1)
                except Exception:
                    self.stopped.append(name)
                    raise
                return Brought(1, 1)

            self.bench.ends[f"p/{name}"] = end

    def entered(self, *names: str) -> None:
        for name in names:
            assert self.inside[name].wait(WAIT_S), name

    def release(self, *names: str) -> None:
        for name in names:
            self.gate[name].set()
            assert self.done.acquire(timeout=WAIT_S)


@pytest.fixture
def gates() -> Iterator[Gates]:
    made = Gates()
    with closing(made.bench.moving):
        yield made
        for gate in made.gate.values():
            gate.set()


def test_two_at_a_time_for_a_host_and_four_in_all(gates: Gates) -> None:
    gates.hold(*"123456789")
    moving = gates.bench.moving
    wanted = [
        *(transfer(name, "a", COLLECTED) for name in "123"),
        *(transfer(name, "b", COLLECTED) for name in "45"),
        transfer("6", "c", COLLECTED),
        transfer("7", "d", COLLECTED),
    ]
    moving.want(wanted)
    gates.entered(*"1245")
    moving.want(wanted)
    assert sorted(gates.bench.begun) == ["p/1", "p/2", "p/4", "p/5"]
    gates.release("5")
    gates.entered("6")
    gates.release("1")
    gates.entered("3")
    assert "p/7" not in gates.bench.begun
    assert jobs(moving.finished()) == ["p/5", "p/1"]


def test_a_host_that_is_written_to_counts_too(gates: Gates) -> None:
    gates.hold(*"1234")
    gates.bench.moving.want(
        [transfer(n, s, "d") for n, s in [("1", "a"), ("2", "b"), ("3", "c")]] + [transfer("4", "a", "c")]
    )
    gates.entered("1", "2", "4")
    assert "p/3" not in gates.bench.begun


def test_one_cut_that_breaks_two_transfers_is_one_failure_of_the_host(gates: Gates) -> None:
    gates.hold("1", "2")
    for name in "12":
        held = gates.bench.ends[f"p/{name}"]

        def cut(progress: Progress, held: Callable[[Progress], Brought] = held) -> Brought:
            held(progress)
            raise NotBrought("a is gone", "unreachable", "a")

        gates.bench.ends[f"p/{name}"] = cut
    moving = gates.bench.moving
    moving.want([transfer("1"), transfer("2")])
    gates.entered("1", "2")
    gates.release("1", "2")
    assert len(moving.finished()) == 2
    moving.want([transfer("1"), transfer("2")])
    assert 0 < (moving.wait_s() or 0) <= FIRST_DELAY_S


def test_nothing_waits_for_a_transfer_that_hangs(gates: Gates) -> None:
    gates.hold("1")
    moving = gates.bench.moving
    moving.want([transfer("1")])
    gates.entered("1")
    assert moving.finished() == []
    assert moving.problems() == {}
    gates.bench.clock.at += SILENT_S + 1
    assert moving.problems() == {("p/1", 1, "b"): "nothing has arrived for 2 minutes"}
    moving.close()  # returns
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "exq-move")


def test_what_is_not_wanted_for_a_while_is_stopped(gates: Gates) -> None:
    gates.hold("1", "2", "3")
    moving, clock = gates.bench.moving, gates.bench.clock
    always, again, never = transfer("1"), transfer("2"), transfer("3", "c", "d")
    moving.want([always, again, never])
    gates.entered("1", "2", "3")
    moving.want([always])
    clock.at += UNWANTED_S
    moving.want([always, again])  # a later plan may want it again
    clock.at += 1
    gates.release("1", "2", "3")
    assert gates.stopped == ["3"]
    assert jobs(moving.finished()) == ["p/1", "p/2"]


def test_after_the_close_nothing_is_begun_and_the_rest_is_stopped(gates: Gates) -> None:
    gates.hold("1")
    moving = gates.bench.moving
    moving.want([transfer("1")])
    gates.entered("1")
    moving.close()
    gates.release("1")
    assert gates.stopped == ["1"]
    moving.want([transfer("3")])
    assert gates.bench.begun == ["p/1"]


def test_the_real_thing(tmp_path: Path) -> None:
    hosts = {"gpu-a": Host(tmp_path / "a" / "home"), COLLECTED: Host(tmp_path / "b" / "home")}
    hosts["gpu-a"].file("exp/out/x.bin", b"x" * 1000)
    moving = Moving(hosts.get, threads=False, now=lambda: 7.0)
    moving.want([collected("~/kept")])
    assert moving.finished() == [Moved(collected("~/kept"), Copy(COLLECTED, 1, 1, 1000, 7.0))]
    assert hosts[COLLECTED].tree("kept") == {"demo/job/out/x.bin": b"x" * 1000}
