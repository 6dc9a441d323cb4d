"""Logs and their last lines: the text, how many lines are asked for, and what they are."""

from __future__ import annotations

TAILS: list[tuple[bytes, int | None, bytes]] = [
    (b"", 3, b""),
    (b"one", 1, b"one"),
    (b"one\n", 1, b"one\n"),
    (b"one\ntwo\n", 1, b"two\n"),
    (b"one\ntwo", 1, b"two"),
    (b"one\ntwo\nthree\n", 2, b"two\nthree\n"),
    (b"one\ntwo\n", 9, b"one\ntwo\n"),
    (b"one\n\n\n", 2, b"\n\n"),
    (b"\n", 1, b"\n"),
    (b"one\ntwo\n", 0, b""),
    (b"one\ntwo\n", None, b"one\ntwo\n"),
]
