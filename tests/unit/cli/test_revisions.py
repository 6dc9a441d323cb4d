"""What `--rev` names, and where the specs folder is in a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.exits import USAGE, CliError
from reconciler.cli.revisions import Range, _existing, range_of


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("main", Range("main", None)),
        ("HEAD~2", Range("HEAD~2", None)),
        ("main..topic", Range("main", "topic")),
        ("main...topic", Range("main", "topic", forked=True)),
        ("main..", Range("main", "HEAD")),
        ("..topic", Range("HEAD", "topic")),
        ("main...", Range("main", "HEAD", forked=True)),
        ("...topic", Range("HEAD", "topic", forked=True)),
        ("v1.0..v1.1", Range("v1.0", "v1.1")),
        ("origin/main...HEAD", Range("origin/main", "HEAD", forked=True)),
    ],
)
def test_ranges(text: str, wanted: Range) -> None:
    assert range_of(text) == wanted


@pytest.mark.parametrize("text", ["", "..", "...", "."])
def test_no_range(text: str) -> None:
    with pytest.raises(CliError) as caught:
        range_of(text)
    assert caught.value.code == USAGE


def test_the_part_of_the_folder_that_is_there(tmp_path: Path) -> None:
    assert _existing(tmp_path / "a" / "b") == (tmp_path, "a/b")
    (tmp_path / "a").mkdir()
    assert _existing(tmp_path / "a" / "b") == (tmp_path / "a", "b")
    assert _existing(tmp_path / "a") == (tmp_path / "a", "")
    assert _existing(Path("no-such-folder")) == (Path(), "no-such-folder")
