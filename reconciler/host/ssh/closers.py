"""What has to be closed, also while it is still being opened."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable


class Closers:
    """What has to be closed, first opened first: a passage through a dead connection would be waited for, were it not
    ended before. Closable from any thread, also while something is being opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closers: list[Callable[[], object]] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self._closed

    def add(self, closer: Callable[[], object]) -> None:
        """Call it at the end; at once when the end was before."""
        with self._lock:
            if not self._closed:
                self._closers.append(closer)
                return
        _quietly(closer)

    def close(self) -> None:
        """Close everything. A second call does nothing."""
        with self._lock:
            self._closed = True
            closers, self._closers = self._closers, []
        for closer in closers:
            _quietly(closer)


def _quietly(closer: Callable[[], object]) -> None:
    # what is being given up may already be broken, in any way that a library knows
    with contextlib.suppress(Exception):
        closer()
