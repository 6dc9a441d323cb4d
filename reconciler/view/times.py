"""Times, durations and sizes as people and programs read them. The clock is never read here."""

from __future__ import annotations

import time

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86400


def iso_utc(at: float | None) -> str | None:
    """`2026-04-16T11:36:29Z`, whole seconds, so that jq's `fromdateiso8601` reads it; None stays None."""
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def stamp(at: float) -> str:
    """Date and time in the local zone: `2026-04-16 11:36:29`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def clock(at: float, now: float) -> str:
    """The local time to the second, `12:03:11`; with the date when it is not the day of `now`."""
    return _near(at, now, "%H:%M:%S")


def short_clock(at: float, now: float) -> str:
    """The local time to the minute, `12:03`; with the date when it is not the day of `now`."""
    return _near(at, now, "%H:%M")


def _near(at: float, now: float, form: str) -> str:
    there, here = time.localtime(at), time.localtime(now)
    return time.strftime(form if there[:3] == here[:3] else f"%Y-%m-%d {form}", there)


def compact(duration_s: float) -> str:
    """For tables: `0.3s`, `42s`, `2m 05s`, `58m`, `4h 02m`, `2d 03h`. Rounded to seconds, then cut."""
    if duration_s < 9.95:
        return f"{max(0.0, duration_s):.1f}s"
    total = round(duration_s)
    if total < MINUTE_S:
        return f"{total}s"
    if total < 10 * MINUTE_S:
        return f"{total // MINUTE_S}m {total % MINUTE_S:02d}s"
    if total < HOUR_S:
        return f"{total // MINUTE_S}m"
    if total < DAY_S:
        return f"{total // HOUR_S}h {total % HOUR_S // MINUTE_S:02d}m"
    return f"{total // DAY_S}d {total % DAY_S // HOUR_S:02d}h"


def spoken(duration_s: float) -> str:
    """For sentences: `0.4 s`, `40 s`, `2 min 5 s`, `21 min`, `6 h 25 min`, `2 d 3 h`."""
    if duration_s < 9.95:
        return f"{max(0.0, duration_s):.1f} s"
    total = round(duration_s)
    if total < MINUTE_S:
        return f"{total} s"
    if total < 10 * MINUTE_S:
        return _pair(total, MINUTE_S, "min", 1, "s")
    if total < HOUR_S:
        return f"{total // MINUTE_S} min"
    if total < DAY_S:
        return _pair(total, HOUR_S, "h", MINUTE_S, "min")
    return _pair(total, DAY_S, "d", HOUR_S, "h")


def _pair(total: int, big: int, big_name: str, small: int, small_name: str) -> str:
    head, tail = total // big, total % big // small
    return f"{head} {big_name} {tail} {small_name}" if tail else f"{head} {big_name}"


def about_left(duration_s: float) -> str:
    """An estimate, rounded as coarsely as it is known: `about 40 s left`, `about 21 min left`."""
    if duration_s < 10:
        return f"about {max(1.0, duration_s):.0f} s left"
    if duration_s < 100:
        return f"about {round(duration_s / 5) * 5} s left"
    if duration_s < 90 * MINUTE_S:
        return f"about {round(duration_s / MINUTE_S)} min left"
    return f"about {spoken(round(duration_s / 600) * 600)} left"


def mib(size_mib: int | None) -> str:
    """`14,850 MiB`, or words where the driver does not say."""
    return "unknown memory" if size_mib is None else f"{size_mib:,} MiB"
