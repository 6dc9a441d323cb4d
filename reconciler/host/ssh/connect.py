"""An authenticated SSH connection, over as many jump hosts as it takes, and commands run over it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.host.ssh import trouble
from reconciler.host.ssh.auth import authenticate
from reconciler.host.ssh.closers import Closers
from reconciler.host.ssh.config import Target, route
from reconciler.host.ssh.known import KnownKey, Standing, judge_server, known_name, lines_of, read_known_hosts
from reconciler.host.ssh.sockets import Metered, dial, start_proxy
from reconciler.model.connection import TroubleKind

if TYPE_CHECKING:
    import paramiko

BANNER_TIMEOUT_S = 10.0
HANDSHAKE_TIMEOUT_S = 15.0
CHANNEL_TIMEOUT_S = 10.0
PULSE_INTERVAL_S = 2.0
STATUS_WAIT_S = 0.5
POLL_INTERVAL_S = 1.0
"""How often a waiting connection looks up; the library's own ten times a second add up over many hosts."""
WINDOW_BYTES = 8 << 20
WRITE_BYTES = 32768 - 64
_STDERR_KEPT_BYTES = 4096
_SMOOTHING = 0.25
_LOADING = threading.Lock()
Known = tuple[KnownKey, ...]


class Stream(Protocol):
    """A running command: its standard input and output."""

    def write(self, data: bytes) -> None:
        """All of it. Raises OSError when the command is gone."""

    def read(self, limit_bytes: int) -> bytes:
        """What there is, at most so much; waits for it. Empty at the end."""

    def ending(self) -> tuple[int | None, str]:
        """After the end: the exit status (None or -1: unknown) and the last of its standard error."""

    def close(self) -> None:
        """End it, from any thread."""


class Connection(Protocol):
    """A way to a host, over which commands can be run."""

    def open(self, command: str) -> Stream:
        """Run a command. Raises SshTrouble."""

    def round_trip_s(self) -> float | None:
        """To the server and back, smoothed; None before it was measured."""

    def silent_s(self) -> float:
        """For how long something was expected and nothing at all came; 0 when nothing is expected."""

    def close(self) -> None:
        """End it with all that runs over it, from any thread."""


def connect(name: str, closers: Closers) -> Connection:
    """A connection to a host of the user's ssh configuration. `closers` ends it, also half-made. Raises SshTrouble."""
    _load_quietly()
    first, *others = route(name)
    transport, meter = _enter(first, None, closers)
    for target in others:
        passage = _passage(transport, target)
        closers.add(passage.close)
        transport, meter = _enter(target, passage, closers)
    return SshConnection(transport, meter, others[-1] if others else first, closers)


def _load_quietly() -> None:
    """The library's log and warnings are not for the user's terminal: what went wrong is told in our own words."""
    with _LOADING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import paramiko

    logger = logging.getLogger(paramiko.__name__)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


def _enter(target: Target, sock: Any, closers: Closers) -> tuple[paramiko.Transport, Metered]:
    import paramiko

    proxy = start_proxy(target, target.proxy_command, closers) if target.proxy_command and sock is None else None
    meter = Metered(sock or (proxy.socket if proxy else dial(target, closers)))
    try:
        transport = paramiko.Transport(meter, default_window_size=WINDOW_BYTES)  # type: ignore[arg-type]
        closers.add(transport.close)
        closers.add(meter.close)
        known = _known(target)
        _handshake(transport, target, known, meter)
    except trouble.SshTrouble:
        if proxy is not None and meter.received_bytes == 0:
            raise trouble.no_proxy(target, proxy.last_words()) from None
        raise
    _check_key(transport, target, known)
    authenticate(transport, target, closers)
    meter.settimeout(POLL_INTERVAL_S)
    return transport, meter


def _handshake(transport: paramiko.Transport, target: Target, known: Known, meter: Metered) -> None:
    transport.banner_timeout = BANNER_TIMEOUT_S
    transport.handshake_timeout = HANDSHAKE_TIMEOUT_S
    transport.channel_timeout = CHANNEL_TIMEOUT_S
    _prefer_known_kinds(transport, target, known)
    done = threading.Event()
    transport.start_client(event=done)
    done.wait(BANNER_TIMEOUT_S + HANDSHAKE_TIMEOUT_S)
    if not done.is_set() or not transport.is_active():
        raise trouble.no_ssh(target, transport.get_exception(), meter.received_bytes, meter.ended)


def _known(target: Target) -> Known:
    try:
        return read_known_hosts((*target.user_known_hosts, *target.global_known_hosts))
    except OSError as error:
        raise trouble.trouble(TroubleKind.CONFIG, f"{error.filename} cannot be read: {error.strerror}") from error


def _prefer_known_kinds(transport: paramiko.Transport, target: Target, known: Known) -> None:
    """A server with several keys shows the one that is known."""
    names = {
        known_name(target.host, target.port, target.host_key_alias),
        known_name(target.host, 22, target.host_key_alias),
    }
    kinds = {line.kind for name in names for line in lines_of(known, name) if not line.marker}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)


def _check_key(transport: paramiko.Transport, target: Target, known: Known) -> None:
    key = transport.get_remote_server_key()
    blob, kind = key.asbytes(), key.get_name()
    judgement = judge_server(known, target.host, target.port, target.host_key_alias, kind, blob)
    if judgement.standing is not Standing.KNOWN:
        raise trouble.bad_key(target, judgement, kind, blob)


def _passage(transport: paramiko.Transport, target: Target) -> paramiko.Channel:
    """Through a jump host to the next port."""
    import paramiko

    try:
        return transport.open_channel(
            "direct-tcpip", (target.host, target.port), ("127.0.0.1", 0), timeout=target.connect_timeout_s
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise trouble.no_passage(target, error) from error


class SshConnection:
    """A connection of the library, with a pulse: a question to the server every two seconds."""

    def __init__(self, transport: paramiko.Transport, meter: Metered, target: Target, closers: Closers) -> None:
        self._transport = transport
        self._meter = meter
        self._target = target
        self._closers = closers
        self._round_trip_s: float | None = None
        self._asked_at: float | None = None
        self._ended = threading.Event()
        closers.add(self._ended.set)
        threading.Thread(target=self._beat, name=f"exq-pulse-{target.name}", daemon=True).start()

    def _beat(self) -> None:
        """The server answers by itself, whatever the agent is busy with: the time it takes is that of the way."""
        while not self._ended.is_set() and self._transport.is_active():
            self._asked_at = asked_at = time.monotonic()
            with _gone_is_no_error():
                self._transport.global_request("keepalive@openssh.com", wait=True)
            took_s = time.monotonic() - asked_at
            self._asked_at = None
            old = self._round_trip_s
            self._round_trip_s = took_s if old is None else old + _SMOOTHING * (took_s - old)
            self._ended.wait(PULSE_INTERVAL_S)

    def round_trip_s(self) -> float | None:
        """See Connection."""
        return self._round_trip_s

    def silent_s(self) -> float:
        """See Connection."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - max(asked_at, self._meter.last_received)

    def open(self, command: str) -> Stream:
        """See Connection."""
        import paramiko

        try:
            channel = self._transport.open_session(timeout=CHANNEL_TIMEOUT_S)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            if self._transport.is_active():
                raise trouble.no_session(self._target, error) from error
            raise trouble.broken(self._target.name, None, "") from error
        return ChannelStream(channel)

    def close(self) -> None:
        """See Connection."""
        self._closers.close()


@contextlib.contextmanager
def _gone_is_no_error() -> Iterator[None]:
    """The end of the transport is told by the streams over it; here it only ends what is under way."""
    from paramiko import SSHException

    with contextlib.suppress(SSHException, OSError, EOFError):
        yield


class ChannelStream:
    """A command over a connection of the library."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._stderr = b""

    def write(self, data: bytes) -> None:
        """See Stream."""
        # piece by piece: the library's own `sendall` copies all that is left for each packet
        for start in range(0, len(data), WRITE_BYTES):
            piece = data[start : start + WRITE_BYTES]
            while piece:
                sent = self._send(piece)
                piece = piece[sent:]

    def _send(self, piece: bytes) -> int:
        from paramiko import SSHException

        try:
            return self._channel.send(piece)
        except (SSHException, EOFError) as error:
            raise OSError(str(error)) from error

    def read(self, limit_bytes: int) -> bytes:
        """See Stream."""
        from paramiko import SSHException

        try:
            data = self._channel.recv(limit_bytes)
            self._drain()
        except (SSHException, OSError, EOFError):  # the same as the end
            return b""
        return data

    def _drain(self) -> None:
        """Unread standard error would fill the window and stop everything."""
        while self._channel.recv_stderr_ready():
            self._stderr = (self._stderr + self._channel.recv_stderr(65536))[-_STDERR_KEPT_BYTES:]

    def ending(self) -> tuple[int | None, str]:
        """See Stream."""
        self._channel.status_event.wait(STATUS_WAIT_S)
        with _gone_is_no_error():
            self._drain()
        status = self._channel.exit_status if self._channel.exit_status_ready() else None
        return status, self._stderr.decode("utf-8", "replace")

    def close(self) -> None:
        """See Stream."""
        with _gone_is_no_error():
            self._channel.close()
