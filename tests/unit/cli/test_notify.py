"""What a service manager hears of the loop."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.notify import SIGNS_PER_WATCHDOG, Supervisor, systemd_supervisor
from reconciler.model.enums import JobStatus, Reason
from reconciler.model.snapshot import Snapshot
from tests.unit.cli.worlds import snapshot, state

RUNNING = state("a/one", JobStatus.RUNNING, Reason.RUNNING, 1)


class Listener:
    """A socket such as systemd's."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(5)

    def heard(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "n") if request.param == "path" else f"@exq-test-{os.getpid()}"


@pytest.fixture
def listener(address: str) -> Iterator[Listener]:
    made = Listener(address)
    yield made
    made.close()


@pytest.fixture
def world() -> Snapshot:
    return snapshot([RUNNING])


def test_it_is_ready_once_and_alive_with_every_tick(address: str, listener: Listener, world: Snapshot) -> None:
    supervisor = systemd_supervisor({"NOTIFY_SOCKET": address})
    supervisor.ticked(world)
    assert listener.heard() == ["READY=1", "WATCHDOG=1", "STATUS=the specs ask for nothing"]
    supervisor.ticked(world)
    assert listener.heard() == ["WATCHDOG=1"]
    supervisor.reloading()
    assert listener.heard()[0] == "RELOADING=1"
    supervisor.ticked(world)
    assert listener.heard() == ["READY=1", "WATCHDOG=1"]
    supervisor.stopping()
    assert listener.heard() == ["STOPPING=1"]


def test_what_was_not_heard_is_said_again(world: Snapshot) -> None:
    heard: list[str] = []
    deaf = [True]

    def send(text: str) -> None:
        if deaf.pop() if deaf else False:
            raise ConnectionRefusedError
        heard.append(text)

    supervisor = Supervisor(send)
    supervisor.ticked(world)
    supervisor.ticked(world)
    assert [text.partition("\n")[0] for text in heard] == ["READY=1"]


@pytest.mark.parametrize(
    ("env", "listens", "silence_max_s"),
    [
        ({}, False, float("inf")),
        ({"NOTIFY_SOCKET": ""}, False, float("inf")),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, False, float("inf")),
        ({"NOTIFY_SOCKET": "/run/n"}, True, float("inf")),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "180000000"}, True, 180 / SIGNS_PER_WATCHDOG),
        ({"NOTIFY_SOCKET": "/run/n", "SYSTEMD_EXEC_PID": str(os.getpid())}, True, float("inf")),
        ({"NOTIFY_SOCKET": "/run/n", "SYSTEMD_EXEC_PID": "1"}, False, float("inf")),
    ],
)
def test_who_listens(env: dict[str, str], listens: bool, silence_max_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faulthandler.enable", lambda: None)
    supervisor = systemd_supervisor(env)
    assert (supervisor.listens, supervisor.silence_max_s) == (listens, silence_max_s)


def test_nobody_is_told_nothing(world: Snapshot) -> None:
    supervisor = Supervisor(None)
    supervisor.ticked(world)
    supervisor.reloading()
    supervisor.stopping()
