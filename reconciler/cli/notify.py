"""How the loop tells whoever started it how it stands: systemd's own protocol, whoever listens."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model.snapshot import Snapshot

Send = Callable[[str], None]
"""Takes one message of lines `NAME=value`; raises OSError when it cannot be delivered now."""

SEND_PATIENCE_S = 1.0

SIGNS_PER_WATCHDOG = 3
"""How many ticks there are, at least, in the time after which the watchdog bites."""


class Supervisor:
    """Says that the loop has begun, that it is alive, what it is at, and that it stops.

    It speaks after a tick that was completed, and never from a thread of its own: a loop that hangs falls silent."""

    def __init__(self, send: Send | None, silence_max_s: float = math.inf) -> None:
        """`send` is None where nobody listens; `silence_max_s` is how soon a tick has to follow a tick."""
        self._send = send
        self.silence_max_s = silence_max_s
        self._ready = False
        self._status = ""

    @property
    def listens(self) -> bool:
        """Somebody wants to hear."""
        return self._send is not None

    def ticked(self, snapshot: Snapshot) -> None:
        """A tick was completed."""
        if self._send is None:
            return
        status = status_words(snapshot)
        lines = ["WATCHDOG=1"] if self._ready else ["READY=1", "WATCHDOG=1"]
        if self._tell([*lines, *([f"STATUS={status}"] if status != self._status else [])]):
            self._ready, self._status = True, status

    def reloading(self) -> None:
        """All is looked at anew; over with the next tick. Callable from any thread."""
        from time import clock_gettime_ns

        monotonic = 1  # CLOCK_MONOTONIC, which newer versions of systemd want to see
        self._ready = not self._tell(["RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(monotonic) // 1000}"])

    def stopping(self) -> None:
        """No tick will follow."""
        self._tell(["STOPPING=1"])

    def _tell(self, lines: list[str]) -> bool:
        """False when it was not heard: the next tick says it again."""
        if self._send is None:
            return False
        try:
            self._send("\n".join(lines))
        except OSError:
            return False
        return True


def status_words(snapshot: Snapshot) -> str:
    """Where all the jobs stand, on one line."""
    from reconciler.view.tick import progress_words

    if not snapshot.plan.phases:
        return "the specs ask for nothing"
    return progress_words(snapshot, "", snapshot.plan.phases, estimate=False)


def systemd_supervisor(env: Mapping[str, str]) -> Supervisor:
    """The service manager that started us; nobody when none did, or when it started who started us.

    Where its watchdog is to end a loop that hangs, Python prints where that was."""
    address = env.get("NOTIFY_SOCKET", "")
    own_pid = str(os.getpid())
    if address[:1] not in ("/", "@") or env.get("SYSTEMD_EXEC_PID", own_pid) != own_pid:
        return Supervisor(None)
    watchdog_us = env.get("WATCHDOG_USEC", "")
    if not watchdog_us.isdecimal():
        return Supervisor(lambda text: _datagram(address, text))
    import faulthandler

    faulthandler.enable()
    return Supervisor(lambda text: _datagram(address, text), int(watchdog_us) / 1e6 / SIGNS_PER_WATCHDOG)


def _datagram(address: str, text: str) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(SEND_PATIENCE_S)
        sender.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
