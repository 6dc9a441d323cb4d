"""When to try again."""

from __future__ import annotations

import pytest

from reconciler.host.ssh.backoff import Backoff, Clock


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1.0), (0.999999, 0.75)])
def test_delays_double_up_to_a_minute(chance: float, share: float) -> None:
    now = [100.0]
    backoff = Backoff(Clock(monotonic=lambda: now[0], chance=lambda: chance))
    delays = []
    for _ in range(9):
        assert backoff.wait_s() == 0
        backoff.failed()
        delays.append(backoff.wait_s())
        now[0] += delays[-1]
    assert delays == pytest.approx([share * delay for delay in (1, 2, 4, 8, 16, 32, 60, 60, 60)], rel=1e-3)
    backoff.failed()
    backoff.reset()
    assert backoff.wait_s() == 0


def test_thousands_of_failures_are_no_trouble() -> None:
    backoff = Backoff(Clock(monotonic=lambda: 0.0, chance=lambda: 0.0))
    for _ in range(5000):
        backoff.failed()
    assert backoff.wait_s() == 60
