"""A link to a host over pipes: answers always come, whatever becomes of the agent, the connection or the request."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.host.reply import Reply
from reconciler.host.ssh import link, session, trouble, wire
from reconciler.host.ssh.backoff import Clock
from reconciler.host.ssh.link import SshHost
from reconciler.model.connection import LinkState, TroubleKind
from tests.unit.host.ssh.pipes import Pipes, ship_stand_in

PATIENCE_S = 20.0


class Bench:
    """A link, its connections, and what it told of events."""

    def __init__(self, **settings: Any) -> None:
        self.pipes = Pipes()
        self.events = threading.Semaphore(0)
        self.skew_s = 0.0
        self.now = 5000.0
        self.clock = Clock(monotonic=lambda: time.monotonic() + self.skew_s, now=lambda: self.now, chance=lambda: 0.0)
        self.host = SshHost("far", settings, self.events.release, connect=self.pipes, clock=self.clock)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return answer(self.host.send({"op": op, **fields}))

    def wait(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self.host.condition()
            self.events.acquire(timeout=0.05)

    def close(self) -> None:
        self.host.close()
        self.pipes.close()


def answer(reply: Reply) -> dict[str, Any]:
    found = reply.wait(PATIENCE_S)
    assert found is not None, "no answer came"
    return found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    ship_stand_in(monkeypatch)
    made = Bench(state="/far/state")
    yield made
    made.close()


def test_first_request_connects_and_everything_is_answered(bench: Bench) -> None:
    assert bench.host.condition().state is LinkState.IDLE
    replies = [bench.host.send({"op": "echo", "text": number}) for number in range(50)]
    assert [answer(reply) for reply in replies] == [{"text": number} for number in range(50)]
    condition = bench.host.condition()
    assert (condition.state, condition.trouble, condition.last_answer_at) == (LinkState.CONNECTED, None, 5000.0)
    assert condition.hello["hostname"] == "far"
    assert condition.hello["state"] == "/far/state"
    assert condition.round_trip_s == 0.001
    assert len(bench.pipes.made) == 1


def test_blobs_travel_as_they_are(bench: Bench) -> None:
    blob = bytes(range(256)) * 20_000
    assert bench.ask("echo", text="é", blob=blob) == {"text": "é", "blob": blob}


def test_events_and_changes_of_condition_are_told(bench: Bench) -> None:
    bench.ask("hello")
    bench.wait(lambda: bench.events.acquire(blocking=False))
    while bench.events.acquire(timeout=0.1):  # that it connects, and that it is connected
        pass
    bench.ask("hello")
    assert not bench.events.acquire(blocking=False), "an answer is told by its reply"
    bench.ask("event")
    assert bench.events.acquire(timeout=PATIENCE_S)
    bench.ask("exit", code=1)
    assert bench.events.acquire(timeout=PATIENCE_S)


def test_what_is_no_json_is_answered_and_harms_nothing(bench: Bench) -> None:
    assert bench.ask("echo", text=object())["kind"] == "failed"
    assert bench.ask("echo", text="fine") == {"text": "fine"}


def test_failure_answers_all_and_is_remembered_until_the_next_try(bench: Bench) -> None:
    bench.pipes.failure = trouble.trouble(TroubleKind.REFUSED, "far refuses connections", "start it")
    assert bench.ask("hello") == {
        "error": "far refuses connections; start it",
        "kind": "unreachable",
        "trouble": "refused",
        "last_answer_at": None,
        "next_try_at": pytest.approx(5001.0, abs=0.9),
    }
    condition = bench.host.condition()
    assert condition.state is LinkState.UNREACHABLE
    assert condition.trouble is not None
    assert condition.trouble.kind is TroubleKind.REFUSED
    bench.pipes.failure = None
    assert bench.host.send({"op": "hello"}).done, "nothing is tried before its time"
    assert bench.pipes.made == []
    bench.skew_s = 2.0
    assert bench.ask("hello")["hostname"] == "far"
    assert bench.host.condition().trouble is None


def test_unforeseen_failure_is_an_answer_too(bench: Bench) -> None:
    bench.pipes.failure = ZeroDivisionError("what?")
    assert bench.ask("hello")["error"] == "the connection to far failed (ZeroDivisionError: what?)"


@pytest.mark.parametrize(("lived_s", "tries_again"), [(0.0, False), (link.LASTED_S + 1, True)])
def test_broken_connection_answers_all_in_flight(bench: Bench, lived_s: float, tries_again: bool) -> None:
    bench.ask("hello")
    bench.skew_s = lived_s
    replies = [bench.host.send({"op": "nothing"}) for _ in range(3)]
    replies.append(bench.host.send({"op": "exit", "code": 3}))
    for found in map(answer, replies):
        assert found["kind"] == "lost"
        assert found["error"] == (
            "the agent on far ended with exit code 3: the end of the world; "
            "whether the request was carried out is not known"
        )
    assert bench.host.condition().state is LinkState.UNREACHABLE
    assert ("hostname" in bench.ask("hello")) is tries_again


def test_killed_agent_is_a_broken_connection(bench: Bench) -> None:
    pid = bench.ask("hello")["pid"]
    reply = bench.host.send({"op": "nothing"})
    os.kill(pid, signal.SIGKILL)
    assert answer(reply)["trouble"] in ("lost", "agent")
    assert answer(reply)["kind"] == "lost"


def test_stuck_agent_is_given_up_at_the_deadline(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 2 * PATIENCE_S)  # it wakes for the deadline itself
    bench.ask("hello")
    other = bench.host.send({"op": "nothing"})
    found = bench.ask("nothing", deadline_s=0.05)
    assert (found["kind"], found["trouble"]) == ("lost", "stuck")
    assert "no answer within 0.05 s" in found["error"]
    assert answer(other)["kind"] == "lost"
    bench.wait(lambda: bench.pipes.made[0].streams[0].child.poll() is not None)


def test_silence_is_noticed_without_a_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 0.02)
    bench.ask("hello")
    bench.pipes.made[0].silent = link.SILENT_LIMIT_S + 1
    bench.wait(lambda: bench.host.condition().state is LinkState.UNREACHABLE)
    found = bench.host.condition().trouble
    assert found is not None
    assert found.kind is TroubleKind.LOST


def test_quiet_agent_is_kept_alive(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 0.02)
    bench.ask("hello")
    bench.skew_s, bench.now = link.KEEP_INTERVAL_S + 1, 6000.0
    bench.wait(lambda: bench.host.condition().last_answer_at == 6000.0)
    assert bench.host.condition().state is LinkState.CONNECTED


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("no-such-python", TroubleKind.NO_PYTHON, "there is no python3 to run on far"),
        ("echo EXQ-OLD-PYTHON 3.5 >&2; exit 1", TroubleKind.OLD_PYTHON, "python3 on far is 3.5"),
        ("echo This account is not available.; exit 1", TroubleKind.AGENT, "exit code 1 before it answered: This acc"),
        ("kill -9 $$", TroubleKind.AGENT, "was ended before it answered"),
        ("yes", TroubleKind.STARTUP, "prints more than 1024 KiB at login: y"),
        ("printf '\\nEXQ-AGENT 99\\n'; cat >/dev/null", TroubleKind.PROTOCOL, "calls itself version 99"),
        ("printf '\\nEXQ-AGENT 1\\nhi\\n'; cat >/dev/null", TroubleKind.PROTOCOL, "a frame begins with"),
        ("printf '\\nEXQ-AGENT 1\\n8 0\\n{\"id\":1}'; cat >/dev/null", TroubleKind.PROTOCOL, "no answer to the start"),
        ("printf '\\nEXQ-AGENT 1\\n8 0\\n{\"'", TroubleKind.AGENT, "exit code 0 before it answered"),
    ],
)
def test_agent_that_does_not_start(bench: Bench, command: str, kind: TroubleKind, words: str) -> None:
    bench.pipes.wrap = lambda _: command
    assert words in bench.ask("hello")["error"]
    found = bench.host.condition().trouble
    assert found is not None
    assert found.kind is kind


def test_agent_that_refuses_to_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    ship_stand_in(monkeypatch)
    bench = Bench(refuse="~/.local cannot be written: No space left on device")
    try:
        error = bench.ask("hello")["error"]
        assert error == "the agent on far cannot work there: ~/.local cannot be written: No space left on device"
    finally:
        bench.close()


def test_noise_before_the_agent_is_passed_over(bench: Bench) -> None:
    plain = bench.pipes.wrap
    bench.pipes.wrap = lambda command: f"echo Welcome to far; {plain(command)}"
    assert bench.ask("hello")["hostname"] == "far"


@pytest.mark.parametrize(
    ("limit", "kind", "words"),
    [
        ("START_LIMIT_S", "startup", "did not start within 0.1 s: loading"),
        ("CONNECT_LIMIT_S", "timeout", "longer than"),
    ],
)
def test_start_that_takes_too_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limit: str, kind: str, words: str
) -> None:
    monkeypatch.setattr(session, limit, 0.1)
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 0.02)
    release = threading.Event()
    if limit == "CONNECT_LIMIT_S":
        monkeypatch.setattr(bench.host, "_connect", lambda *_: release.wait(PATIENCE_S))
    bench.pipes.wrap = lambda _: "echo loading; exec sleep 100"
    found = bench.ask("hello")
    release.set()
    assert (found["kind"], found["trouble"]) == ("unreachable", kind)
    assert words in found["error"]


def test_garbage_ends_the_connection(bench: Bench) -> None:
    bench.ask("hello")
    found = bench.ask("garbage", deadline_s=PATIENCE_S)
    found = bench.ask("hello") if "trouble" not in found else found
    assert found["trouble"] == "protocol"
    assert "a frame begins with" in found["error"]


def test_caller_never_waits_for_the_far_side(bench: Bench) -> None:
    bench.ask("hello")
    bench.host.send({"op": "sleep", "seconds": 60})
    replies = [bench.host.send({"op": "echo", "blob": b"x" * (1 << 20)}) for _ in range(5)]  # more than a pipe holds
    assert not any(reply.done for reply in replies)
    bench.host.close()
    assert {answer(reply)["kind"] for reply in replies} == {"lost"}


def test_second_agent_works_beside_the_first(bench: Bench) -> None:
    first = bench.ask("hello")["pid"]
    second = bench.host.open_second()
    assert second.handle({"op": "hello"})["pid"] != first
    assert len(bench.pipes.made) == 1, "over the same connection"
    busy = second.send({"op": "sleep", "seconds": 60})
    assert bench.ask("hello")["pid"] == first
    bench.host.close()
    assert answer(busy)["kind"] == "lost"
    assert second.handle({"op": "hello"})["kind"] == "unreachable"


def test_second_agent_makes_the_connection_where_there_is_none(bench: Bench) -> None:
    assert bench.host.open_second().handle({"op": "hello"})["hostname"] == "far"
    assert bench.host.condition().state is LinkState.CONNECTED


def test_second_agent_can_be_closed_alone(bench: Bench) -> None:
    second = bench.host.open_second()
    second.handle({"op": "hello"})
    second.close()
    assert bench.ask("hello")["hostname"] == "far"
    bench.wait(lambda: bench.pipes.made[0].streams[1].child.poll() is not None)


def test_closed_link_stays_closed(bench: Bench) -> None:
    bench.ask("hello")
    waiting = bench.host.send({"op": "nothing"})
    bench.host.close()
    bench.host.close()
    assert answer(waiting)["kind"] == "lost"
    assert bench.ask("hello") == {
        "error": "the connection to far was closed",
        "kind": "unreachable",
        "trouble": "closed",
        "last_answer_at": 5000.0,
        "next_try_at": None,
    }
    assert bench.host.condition().state is LinkState.IDLE
    assert bench.host.open_second().handle({"op": "hello"})["kind"] == "unreachable"
    bench.wait(lambda: bench.pipes.made[0].streams[0].child.poll() is not None)


def test_close_while_connecting_answers_at_once(bench: Bench) -> None:
    bench.pipes.wrap = lambda _: "exec sleep 100"
    waiting = bench.host.send({"op": "hello"})
    bench.wait(lambda: bench.pipes.made and bench.pipes.made[0].streams)
    bench.host.close()
    assert answer(waiting)["kind"] == "unreachable"
    bench.wait(lambda: bench.pipes.made[0].streams[0].child.poll() is not None)


def test_many_frames_go_out_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ask("hello")
    stream = bench.pipes.made[0].streams[0]
    writes: list[int] = []
    gate = threading.Event()
    real = stream.write

    def write(data: bytes) -> None:
        gate.wait(PATIENCE_S)
        writes.append(len(data))
        real(data)

    monkeypatch.setattr(stream, "write", write)
    replies = [bench.host.send({"op": "echo", "text": number}) for number in range(100)]
    gate.set()
    assert [answer(reply)["text"] for reply in replies] == list(range(100))
    assert len(writes) <= 3


def test_real_agent_is_not_changed_by_the_stand_in() -> None:
    assert b"class Agent" in __import__("zlib").decompress(wire.shipment()[9:])


def test_threads_end_with_the_link(bench: Bench) -> None:
    before = set(threading.enumerate())
    host = SshHost("far", connect=bench.pipes)
    host.handle({"op": "hello"})
    host.open_second().handle({"op": "hello"})
    host.close()
    bench.wait(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("error", [RuntimeError("no"), TimeoutError("timed out"), MemoryError()])
def test_what_cannot_be_sent_ends_the_session_and_is_answered(bench: Bench, error: Exception) -> None:
    bench.ask("hello")
    (connection,) = bench.pipes.made
    (stream,) = connection.streams

    def write(_data: bytes) -> None:
        raise error

    stream.write = write  # type: ignore[method-assign]
    found = bench.ask("echo", text="x")
    assert found["kind"] in ("lost", "unreachable"), found
    assert "nothing more can be sent to far" in found["error"]
    assert type(error).__name__ in found["error"]
    bench.skew_s += 3600
    assert bench.ask("echo", text="y") == {"text": "y"}, "the next connection works"
