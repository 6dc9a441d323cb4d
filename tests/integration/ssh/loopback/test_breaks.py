"""What becomes of a connection that works: it breaks, hangs, is closed, comes back."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest

from reconciler.host.ssh import connect, link, sockets
from reconciler.model.connection import LinkState
from tests.integration.ssh.loopback.sshd import Sshd, children, end
from tests.integration.ssh.loopback.user import User, answer, ask, wait_for

pytestmark = pytest.mark.needs("ssh", "ssh-agent", "ssh-keygen", "ssh-keyscan", "/usr/sbin/sshd")


def test_second_agent_over_the_same_connection(user: User, box: Sshd) -> None:
    host = user.link()
    first = ask(host)["pid"]
    second = host.open_second()
    assert ask(second)["pid"] != first
    assert len(box.sessions()) == 1
    big = second.send({"op": "echo", "blob": b"x" * 50_000_000})
    assert ask(host)["pid"] == first
    assert len(answer(big)["blob"]) == 50_000_000
    second.close()
    assert ask(host)["pid"] == first


def test_server_process_killed_mid_request(user: User, box: Sshd) -> None:
    events = threading.Semaphore(0)
    host = user.link(on_event=events.release)
    ask(host)
    waiting = host.send({"op": "nothing"})
    (serving,) = box.sessions()
    for pid in (*children(serving), serving):  # where privileges are separated, it has a child
        end(pid)
    found = answer(waiting)
    assert (found["kind"], found["trouble"]) == ("lost", "lost")
    assert "the connection to box broke" in found["error"]
    user.skew_s = 2.0
    assert ask(host)["hostname"] == "far", "and it comes back"


def test_agent_killed_mid_request(user: User, box: Sshd) -> None:
    host = user.link()
    pid = ask(host)["pid"]
    waiting = host.send({"op": "nothing"})
    end(pid)
    assert answer(waiting)["kind"] == "lost"


def test_last_words_of_an_agent_are_told(user: User, box: Sshd) -> None:
    host = user.link()
    ask(host)
    found = ask(host, "exit", code=3)
    assert (found["kind"], found["trouble"]) == ("lost", "agent")
    assert "the agent on box ended with exit code 3: the end of the world" in found["error"]


def test_agent_that_stands_still_is_given_up(user: User, box: Sshd) -> None:
    host = user.link()
    pid = ask(host)["pid"]
    os.kill(pid, signal.SIGSTOP)
    found = ask(host, deadline_s=0.3)
    assert (found["kind"], found["trouble"]) == ("lost", "stuck")
    user.skew_s = 2.0
    assert ask(host)["pid"] != pid
    end(pid)


def test_silent_connection_is_given_up(user: User, box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENT_LIMIT_S", 0.5)
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 0.05)
    monkeypatch.setattr(connect, "PULSE_INTERVAL_S", 0.05)
    host = user.link()
    ask(host)
    (serving,) = box.sessions()
    family = [*children(serving), serving]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: host.condition().state is LinkState.UNREACHABLE, "silence is noticed without a request")
    found = host.condition().trouble
    assert found is not None
    assert "nothing came from box" in found.message
    for pid in family:
        os.kill(pid, signal.SIGCONT)


def test_close_ends_a_connection_that_takes_nothing_more(user: User, box: Sshd) -> None:
    far = user.server("far")
    user.entry(far, "ProxyJump box")
    before = set(threading.enumerate())
    host = user.link("far")
    ask(host)
    (serving,) = box.sessions()
    family = [*children(serving), serving]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    full = [host.send({"op": "echo", "blob": b"x" * (4 << 20)}) for _ in range(8)]
    time.sleep(0.3)  # time to fill what lies between, which nothing shows from here
    host.close()
    assert {answer(reply)["kind"] for reply in full} == {"lost"}
    wait_for(lambda: set(threading.enumerate()) <= before, "its threads end")
    for pid in family:
        os.kill(pid, signal.SIGCONT)


def test_server_comes_back(user: User, box: Sshd) -> None:
    box.stop()
    host = user.link()
    assert ask(host)["trouble"] == "refused"
    box.start()
    assert host.send({"op": "hello"}).done, "not before its time"
    user.skew_s = 2.0
    assert ask(host)["hostname"] == "far"


def test_small_packets_are_not_held_back(user: User, box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[socket.socket] = []
    real = sockets.dial
    monkeypatch.setattr(connect, "dial", lambda *args: dialled.append(real(*args)) or dialled[-1])
    ask(user.link())
    (sock,) = dialled
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, 18) == sockets.USER_TIMEOUT_MS
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
