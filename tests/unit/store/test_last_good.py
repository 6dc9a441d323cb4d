"""Last good spec texts, and what the schema accepted before."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.store import last_good
from reconciler.store.last_good import VALIDATED_MAX, LastGoodTexts
from reconciler.store.paths import StatePaths


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    paths = StatePaths(tmp_path)
    paths.ensure()
    return paths


def digest(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


@pytest.mark.parametrize("path", ["a.yaml", "/home/ü/specs/50%/a.yaml", "/" + "deep/" * 200 + "a.yaml", "\n"])
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
    texts.mark_validated(digest(1))
    assert texts.get("a") == "text"
    assert texts.is_validated(digest(1))
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


def test_digests_are_remembered(paths: StatePaths) -> None:
    texts = LastGoodTexts(paths, writable=True)
    assert not texts.is_validated(digest(1))
    texts.mark_validated(digest(1))
    texts.mark_validated(digest(1))
    again = LastGoodTexts(paths, writable=False)
    assert again.is_validated(digest(1)) and not again.is_validated(digest(2))
    assert paths.validated.read_text() == f"{digest(1)}\n"


def test_only_so_many_digests_are_remembered(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_good, "VALIDATED_MAX", 10)
    texts = LastGoodTexts(paths, writable=True)
    for number in range(100):
        texts.mark_validated(digest(number))
    again = LastGoodTexts(paths, writable=False)
    assert [number for number in range(100) if again.is_validated(digest(number))] == list(range(90, 100))
    assert len(paths.validated.read_text().splitlines()) <= 20


@pytest.mark.parametrize("content", [b"\xff\x00", b"short\n", digest(1).encode()[:30], b"\n" * 5000])
def test_a_damaged_cache_is_an_empty_one(paths: StatePaths, content: bytes) -> None:
    paths.validated.write_bytes(content)
    texts = LastGoodTexts(paths, writable=True)
    assert not texts.is_validated(digest(1))
    texts.mark_validated(digest(1))
    texts.mark_validated(digest(2))
    assert LastGoodTexts(paths, writable=False).is_validated(digest(2))


def test_the_bound_is_what_is_documented() -> None:
    assert VALIDATED_MAX == 1000
