"""`Include` in ssh_config files: where it counts, how deep it goes, and what follows after it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconciler.parse.ssh_config import BadConfig
from reconciler.parse.ssh_include import DEPTH_MAX, without_includes

FILES = {"a": ["A 1"], "b": ["Host x\n  B 1"], "c*": ["C 1", "C 2"], "deep": ["Include a\nD 1"], "none": []}


def flat(text: str, applies: bool = True) -> list[str]:
    def read(pattern: str) -> Iterable[str]:
        return FILES[pattern]

    return [line.strip() for line in without_includes(text, read, lambda _before, _block: applies).splitlines()]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("X 1\n", ["X 1"]),
        ("Include a\nX 1\n", ["A 1", "Host *", "X 1"]),
        ("include=a\n", ["A 1", "Host *"]),
        ("Host h\n  INCLUDE b\n  X 1\n", ["Host h", "Host x", "B 1", "Host h", "X 1"]),
        ("Include c* none # and no more\n", ["C 1", "Host *", "C 2", "Host *"]),
        ('Include "a"\n', ["A 1", "Host *"]),
        ("Include deep\n", ["A 1", "Host *", "D 1", "Host *"]),
        ("# Include a\nIncluded a\n", ["# Include a", "Included a"]),
    ],
)
def test_one_file_comes_of_it(text: str, lines: list[str]) -> None:
    assert flat(text) == lines


def test_a_block_that_is_not_of_the_host_includes_nothing() -> None:
    assert flat("Host h\n  Include a\n  X 1\n", applies=False) == ["Host h", "X 1"]


def test_what_stands_before_is_told() -> None:
    asked: list[tuple[str, str]] = []

    def applies(before: str, block: str) -> bool:
        asked.append((before, block))
        return False

    without_includes("A 1\nInclude a\nMatch user u\nInclude b\n", lambda _: [], applies)
    assert asked == [("A 1", "Host *"), ("A 1\nMatch user u", "Match user u")]


def test_depth_is_that_of_openssh() -> None:
    def nested(depth: int) -> str:
        return without_includes("Include 1", lambda n: [f"Include {int(n) + 1}" if int(n) < depth else "X 1"], _yes)

    assert "X 1" in nested(DEPTH_MAX)
    with pytest.raises(BadConfig, match="more than 16 deep"):
        nested(DEPTH_MAX + 1)


def _yes(_before: str, _block: str) -> bool:
    return True


def test_an_open_quote_is_told() -> None:
    with pytest.raises(BadConfig, match="cannot be read"):
        flat('Include "a\n')
