"""An answer of a host that may still be on its way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol


class HostAgent(Protocol):
    """Whatever answers requests on a host: the agent in this process, or one behind a connection."""

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request. Never raises; a failure is `{"error": ..., "kind": ...}`."""


_COME = threading.Event()
_COME.set()


class Reply:
    """Set once, by whichever thread has the answer."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self._answer = answer
        self._event = _COME if answer is not None else threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """The answer is there."""
        return self._event.is_set()

    def put(self, answer: dict[str, Any]) -> None:
        """Set the answer; a second one is ignored."""
        with self._lock:
            if self._event.is_set():
                return
            self._answer = answer
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def wait(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The answer, or None when it is not there in time."""
        self._event.wait(timeout_s)
        return self._answer

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call it when the answer comes (from that thread), or now when it is there."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()


def send(agent: HostAgent, request: dict[str, Any]) -> Reply:
    """Ask without waiting, where the agent can do that; else the answer is there on return."""
    asked = getattr(agent, "send", None)
    return asked(request) if asked is not None else Reply(agent.handle(request))


def call(agent: HostAgent, request: dict[str, Any], patience_s: float | None = None) -> dict[str, Any]:
    """Ask and wait, at most `patience_s`. An answer that has not come by then is `lost`: it may or may not be done."""
    answer = send(agent, request).wait(patience_s)
    return {"error": "the host has not answered in time", "kind": "lost"} if answer is None else answer
