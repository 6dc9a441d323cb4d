"""SIGTERM and Ctrl-C as a wish to stop, which the loop fulfils between two ticks; SIGHUP to a service: look."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END = b"\0"


class StopSignals:
    """While it is entered, the first signal sets `received` and calls `wake`; a second one interrupts at once.

    With a `reload`, SIGHUP calls that instead: a loop without a terminal cannot lose one.
    Both run in a thread of their own: a handler that runs inside a lock's own code may not take that lock."""

    def __init__(self, wake: Callable[[], None], reload: Callable[[], None] | None = None) -> None:
        self._wake = wake
        self._reload = reload
        self._before: dict[signal.Signals, Any] = {}
        self._read_fd = self._write_fd = self._wakeup_before = -1
        self._thread: threading.Thread | None = None
        self._count = 0
        self.received: int | None = None

    def asked(self) -> bool:
        """A stop was asked for."""
        return self.received is not None

    def __enter__(self) -> StopSignals:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        # nohup and background jobs start with some of these ignored, and want to keep it so
        wanted = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in wanted}
        self._thread = threading.Thread(target=self._listen, name="stop-signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._write_fd, _END)
        assert self._thread is not None
        self._thread.join()
        os.close(self._write_fd)
        os.close(self._read_fd)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_reload(number):
            return
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt

    def _listen(self) -> None:
        """Read signal numbers until the end is written: a forked process may hold the pipe open for longer."""
        while _END not in (numbers := os.read(self._read_fd, 16)):
            for number in numbers:
                if self._reload is not None and self._is_reload(number):
                    self._reload()
                elif number in self._before and self.received is None:
                    self.received = number
                    self._wake()

    def _is_reload(self, number: int) -> bool:
        return self._reload is not None and number == signal.SIGHUP
