from __future__ import annotations

import time

import pytest

from reconciler.view import times
from tests.unit.view.factories import NOW, at


@pytest.mark.parametrize(
    ("seconds", "compact", "spoken"),
    [
        (-3, "0.0s", "0.0 s"),
        (0.41, "0.4s", "0.4 s"),
        (9.94, "9.9s", "9.9 s"),
        (9.96, "10s", "10 s"),
        (14.63, "15s", "15 s"),
        (59.6, "1m 00s", "1 min"),
        (42, "42s", "42 s"),
        (60, "1m 00s", "1 min"),
        (125, "2m 05s", "2 min 5 s"),
        (58 * 60 + 59, "58m", "58 min"),
        (3600, "1h 00m", "1 h"),
        (4 * 3600 + 2 * 60, "4h 02m", "4 h 2 min"),
        (6 * 3600 + 25 * 60 + 45, "6h 25m", "6 h 25 min"),
        (2 * 86400 + 3 * 3600 + 59, "2d 03h", "2 d 3 h"),
    ],
)
def test_durations(seconds: float, compact: str, spoken: str) -> None:
    assert (times.compact(seconds), times.spoken(seconds)) == (compact, spoken)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "about 1 s left"),
        (3.4, "about 3 s left"),
        (42, "about 40 s left"),
        (99, "about 100 s left"),
        (21 * 60 + 20, "about 21 min left"),
        (3 * 3600 + 8 * 60, "about 3 h 10 min left"),
        (50 * 3600, "about 2 d 2 h left"),
    ],
)
def test_estimates_are_rounded_as_coarsely_as_they_are_known(seconds: float, text: str) -> None:
    assert times.about_left(seconds) == text


def test_clock_times_carry_the_date_on_another_day() -> None:
    assert times.clock(at("12:03:11"), NOW) == "12:03:11"
    assert times.short_clock(at("11:40:59"), NOW) == "11:40"
    assert times.clock(at("12:03:11") - 86400, NOW) == "2026-04-16 12:03:11"
    assert times.short_clock(at("00:00") - 1, NOW) == "2026-04-16 23:59"


def test_local_zone_for_people_utc_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    assert times.stamp(NOW) == "2026-04-17 07:01:11"
    assert times.iso_utc(NOW + 0.9) == "2026-04-17T12:01:11Z"
    assert times.iso_utc(None) is None
