"""When to try again: a second after the first failure, twice as long after each further one, up to a minute."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_S = 1.0
LONGEST_S = 60.0
JITTER = 0.25
_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from. `monotonic` counts seconds, `now` is the epoch, `chance` is in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


class Backoff:
    """Many hosts behind one broken switch are not tried all at once: each delay is up to a quarter shorter."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._try_at: float | None = None

    def failed(self) -> None:
        """A try failed, or what it made did not last."""
        delay_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self._failures, _DOUBLINGS_MAX))
        self._failures += 1
        self._try_at = self._clock.monotonic() + delay_s * (1 - JITTER * self._clock.chance())

    def reset(self) -> None:
        """The next try may be at once."""
        self._failures = 0
        self._try_at = None

    def wait_s(self) -> float:
        """How long until the next try; 0 when it may be now."""
        return 0.0 if self._try_at is None else max(0.0, self._try_at - self._clock.monotonic())
