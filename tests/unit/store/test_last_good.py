"""Last good spec texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.store.last_good import LastGoodTexts
from reconciler.store.paths import StatePaths


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    paths = StatePaths(tmp_path)
    paths.ensure()
    return paths


@pytest.mark.parametrize(
    "path", ["a.yaml", "/home/ü/specs/50%/a.yaml", "/" + "deep/" * 200 + "a.yaml", "\n", "/odd\udcff.yaml"]
)
def test_a_text_is_there_after_a_restart(paths: StatePaths, path: str) -> None:
    for text in ("one: 1\n", "two: ü\r\n", ""):
        LastGoodTexts(paths, writable=True).put(path, text)
        assert LastGoodTexts(paths, writable=False).get(path) == text
    assert len(os.listdir(paths.specs_good)) == 1
    assert LastGoodTexts(paths, writable=False).get("other") is None


def test_an_unchanged_text_is_not_written_again(paths: StatePaths) -> None:
    LastGoodTexts(paths, writable=True).put("a", "text")
    before = (paths.specs_good / "a").stat()
    texts = LastGoodTexts(paths, writable=True)
    texts.put("a", "text")
    texts.put("a", "text")
    assert (paths.specs_good / "a").stat() == before


def test_read_only_nothing_is_written(tmp_path: Path) -> None:
    texts = LastGoodTexts(StatePaths(tmp_path / "state"), writable=False)
    texts.put("a", "text")
    assert texts.get("a") == "text"
    assert not (tmp_path / "state").exists()


def test_a_text_that_cannot_be_kept_is_written_later(paths: StatePaths, tmp_path: Path) -> None:
    texts = LastGoodTexts(paths, writable=True)
    texts.put("a", "old")
    paths.specs_good.rename(tmp_path / "away")
    texts.put("a", "new")
    assert texts.problem is not None
    assert texts.get("a") == "new"
    (tmp_path / "away").rename(paths.specs_good)
    texts.put("a", "new")
    assert texts.problem is None
    assert LastGoodTexts(paths, writable=False).get("a") == "new"


def test_a_damaged_text_is_none(paths: StatePaths) -> None:
    (paths.specs_good / "a").write_bytes(b"\xff")
    texts = LastGoodTexts(paths, writable=True)
    assert texts.get("a") is None
    texts.put("a", "good")
    assert LastGoodTexts(paths, writable=False).get("a") == "good"
