"""Which of two versions is the newer one, as Python packages order them, as far as exq's own versions go."""

from __future__ import annotations

import re

_PARTS = re.compile(r"\d+|[a-z]+")
_BEFORE_RELEASE = {"dev": -4, "a": -3, "b": -2, "rc": -1}
_AFTER_RELEASE = {"post": 1}


def is_newer(one: str, other: str) -> bool:
    """Whether version `one` comes after `other`."""
    return _key(one) > _key(other)


def _key(version: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The release without trailing zeros, then what comes before or after it."""
    release: list[int] = []
    suffix: list[int] = []
    for part in _PARTS.findall(version.lower().partition("+")[0]):
        if part.isdigit():
            (suffix if suffix else release).append(int(part))
        else:
            suffix.append(_BEFORE_RELEASE.get(part, _AFTER_RELEASE.get(part, 0)))
    while release and release[-1] == 0:
        release.pop()
    return tuple(release), tuple(suffix) or (0,)
