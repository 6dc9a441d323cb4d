"""A connection without a network: the command runs here, its standard input and output are pipes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.host.ssh import wire
from reconciler.host.ssh.closers import Closers
from reconciler.host.ssh.connect import Connection

STAND_IN = Path(__file__).with_name("stand_in.py")


class PipeStream:
    """A command of this machine, run by a shell as sshd does."""

    def __init__(self, command: str) -> None:
        self.child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def write(self, data: bytes) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def read(self, limit_bytes: int) -> bytes:
        assert self.child.stdout is not None
        return os.read(self.child.stdout.fileno(), limit_bytes)

    def ending(self) -> tuple[int | None, str]:
        _, stderr = self.child.communicate(timeout=10)
        code = self.child.returncode
        return None if code < 0 else code, stderr.decode()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


class PipeConnection:
    """Opens commands; `silent` is what it says of its silence."""

    def __init__(self, closers: Closers, wrap: Callable[[str], str] = str) -> None:
        self.streams: list[PipeStream] = []
        self.silent = 0.0
        self._closers = closers
        self._wrap = wrap

    def open(self, command: str) -> PipeStream:
        stream = PipeStream(self._wrap(command))
        self.streams.append(stream)
        self._closers.add(stream.close)
        return stream

    def round_trip_s(self) -> float | None:
        return 0.001

    def silent_s(self) -> float:
        return self.silent

    def close(self) -> None:
        self._closers.close()


class Pipes:
    """A connector that remembers what it made. `wrap` changes the command; `failure` is raised in its place."""

    def __init__(self) -> None:
        self.made: list[PipeConnection] = []
        self.wrap: Callable[[str], str] = lambda command: command.replace("python3", sys.executable)
        self.failure: Exception | None = None

    def __call__(self, name: str, closers: Closers) -> Connection:
        if self.failure is not None:
            raise self.failure
        self.made.append(PipeConnection(closers, self.wrap))
        return self.made[-1]

    def close(self) -> None:
        for connection in self.made:
            connection.close()


def ship_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the stand-in in place of the agent."""
    source = STAND_IN.read_bytes()
    monkeypatch.setattr(wire, "shipment", lambda: wire.ship(source))
