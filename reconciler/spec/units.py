"""Durations (`90s`, `1h30m`) and sizes (`20GiB`) as people write them."""

from __future__ import annotations

import math
import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MIB = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
_PLAIN = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?(?:[eE][-+]?[0-9]{1,3})?")
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)([smhd])")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(MiB|GiB|TiB)")


def duration_s(text: str) -> float | None:
    """Seconds of `120`, `90s`, `2m`, `1h30m` or `2d`; None for anything else."""
    if _PLAIN.fullmatch(text):
        value = float(text)
        return value if math.isfinite(value) else None
    if not text or _PART.sub("", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def size_mib(text: str) -> int | None:
    """Whole MiB of `500`, `500MiB` or `20GiB`; None for anything else."""
    if _PLAIN.fullmatch(text):
        value = float(text)
        return int(value) if math.isfinite(value) else None
    found = _SIZE.fullmatch(text)
    return int(float(found[1]) * _MIB[found[2]]) if found else None
