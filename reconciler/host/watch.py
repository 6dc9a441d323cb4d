"""Wakes the loop early: inotify on a few folders. Losing every event costs time, never correctness."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class Waker:
    """Waits for a change in one of the named folders, a call of `wake()`, or a time-out.

    Where inotify is not to be had (no watches left, a network filesystem), `problems` says so and the loop's own
    timer is all there is."""

    def __init__(self, folders: Mapping[str, Path], *, wait_max_s: float = math.inf) -> None:
        self._folders = folders
        self._wait_max_s = wait_max_s
        self._changed: set[str] = set()
        self._event = threading.Event()
        self._observer: Any = None
        self.problems: list[str] = []

    @staticmethod
    def monotonic() -> float:
        """Seconds that no clock change moves."""
        return time.monotonic()

    def wake(self, name: str) -> None:
        """Say that something of this name changed. Callable from any thread and from signal handlers."""
        self._changed.add(name)
        self._event.set()

    def wait(self, timeout_s: float) -> set[str]:
        """What changed since the last call; empty when the time ran out first."""
        self._event.wait(max(0.0, min(timeout_s, self._wait_max_s)))
        self._event.clear()
        changed, self._changed = self._changed, set()
        return changed

    def __enter__(self) -> Waker:
        from watchdog.observers import Observer

        # It logs what goes wrong while it is stopped, and without a handler that ends up on the user's terminal.
        logging.getLogger("watchdog").addHandler(logging.NullHandler())
        self._observer = Observer()
        for name, folder in self._folders.items():
            self._schedule(name, folder)
        self._observer.start()
        return self

    def _schedule(self, name: str, folder: Path) -> None:
        from watchdog.events import FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent

        # Not opened or read: looking at a folder must not wake the one who looks.
        kinds: list[Any] = [FileCreatedEvent, FileMovedEvent, FileClosedEvent, FileDeletedEvent]
        try:
            self._observer.schedule(_handler(name, self.wake), str(folder), recursive=False, event_filter=kinds)
        except OSError as error:
            self.problems.append(f"{folder} is not watched ({error.strerror or error}); changes are seen by timer")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()
        self._observer.join()


def _handler(name: str, wake: Callable[[str], None]) -> Any:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            wake(name)

    return Handler()
