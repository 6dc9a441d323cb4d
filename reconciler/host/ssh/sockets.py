"""The ways to an SSH server's port: TCP, or a ProxyCommand. Each ends when it is closed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from functools import partial
from typing import Any

from reconciler.host.ssh import trouble
from reconciler.host.ssh.closers import Closers
from reconciler.host.ssh.config import Target

USER_TIMEOUT_MS = 6000
"""How long sent data may stay unacknowledged: a partition is noticed after this, also on an idle connection."""
KEEPALIVE_IDLE_S = 3
KEEPALIVE_INTERVAL_S = 2
PROXY_END_S = 1.0
_SAID_BYTES = 2048
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


class Metered:
    """A socket for the library that notes what comes in: silence is only told from slowness by that."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._acknowledge = getattr(inner, "family", None) in _FAMILIES.values() and hasattr(socket, "TCP_QUICKACK")
        self.received_bytes = 0
        self.last_received = time.monotonic()
        self.ended = False

    def recv(self, size: int) -> bytes:
        """As the socket's."""
        data: bytes = self._inner.recv(size)
        if self._acknowledge:
            # sshd keeps a small packet back until the one before is acknowledged, which the kernel puts off by 40 ms
            self._inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if data:
            self.received_bytes += len(data)
            self.last_received = time.monotonic()
        else:
            self.ended = True
        return data

    def send(self, data: bytes) -> int:
        """As the socket's."""
        sent: int = self._inner.send(data)
        return sent

    def settimeout(self, timeout_s: float | None) -> None:
        """As the socket's."""
        self._inner.settimeout(timeout_s)

    def close(self) -> None:
        """End it, and wake whoever waits in it."""
        if isinstance(self._inner, socket.socket):
            end(self._inner)
        else:
            self._inner.close()

    @property
    def _closed(self) -> bool:
        return bool(self._inner._closed)


def end(sock: socket.socket) -> None:
    """Close it, and wake whoever waits in it, which closing alone does not."""
    with contextlib.suppress(OSError):  # it was not connected
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def dial(target: Target, closers: Closers) -> socket.socket:
    """A TCP connection to the target's port. Raises SshTrouble."""
    family = _FAMILIES.get(target.address_family, socket.AF_UNSPEC)
    try:
        addresses = socket.getaddrinfo(target.host, target.port, family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        wrong = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise trouble.no_address(target, wrong) from error
    failure = OSError("it has no address")
    for kind, _, protocol, _, address in addresses:
        sock = socket.socket(kind, socket.SOCK_STREAM, protocol)
        closers.add(partial(end, sock))
        try:
            _connect(sock, address, target.connect_timeout_s)
            return sock
        except OSError as error:
            failure = error
            sock.close()
        if closers.closed:
            break
    raise trouble.no_connection(target, failure) from failure


def _connect(sock: socket.socket, address: Any, timeout_s: float) -> None:
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", USER_TIMEOUT_MS // 1000 // KEEPALIVE_INTERVAL_S),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    with contextlib.suppress(OSError):  # a kernel without it: the pulse notices then
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


class Proxy:
    """A running ProxyCommand; `socket` leads into it. Its last words explain a failure."""

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            self._child = subprocess.Popen(
                [shell, "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._said = b""
        self._listener = threading.Thread(target=self._listen, name="exq-proxy-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        with self._child.stderr as stderr:
            while data := os.read(stderr.fileno(), 65536):
                self._said = (self._said + data)[-_SAID_BYTES:]

    def last_words(self) -> str:
        """What it wrote to its standard error."""
        self._listener.join(0.2)
        return self._said.decode("utf-8", "replace")

    def close(self) -> None:
        """End it, whatever it has started too."""
        self.socket.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(PROXY_END_S)
                return


def start_proxy(target: Target, command: str, closers: Closers) -> Proxy:
    """Run the target's ProxyCommand, as ssh does. Raises SshTrouble."""
    try:
        proxy = Proxy(command)
    except OSError as error:
        raise trouble.no_proxy(target, str(error)) from error
    closers.add(proxy.close)
    return proxy
