"""What the schema accepted before."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.store import validated
from reconciler.store.validated import ValidatedTexts


def digest(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def test_digests_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "validated"
    texts = ValidatedTexts(path)
    assert digest(1) not in texts
    texts.add(digest(1))
    texts.add(digest(1))
    again = ValidatedTexts(path)
    assert digest(1) in again
    assert digest(2) not in again
    assert path.read_text() == f"{digest(1)}\n"


def test_only_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validated, "VALIDATED_MAX", 10)
    path = tmp_path / "validated"
    texts = ValidatedTexts(path)
    for number in range(100):
        texts.add(digest(number))
    again = ValidatedTexts(path)
    assert [number for number in range(100) if digest(number) in again] == list(range(90, 100))
    assert len(path.read_text().splitlines()) <= 20


@pytest.mark.parametrize("content", [b"\xff\x00", b"short\n", digest(1).encode()[:30], b"\n" * 5000])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "validated"
    path.write_bytes(content)
    texts = ValidatedTexts(path)
    assert digest(1) not in texts
    texts.add(digest(1))
    texts.add(digest(2))
    assert digest(2) in ValidatedTexts(path)


def test_where_it_cannot_be_written_it_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    texts = ValidatedTexts(tmp_path / "file" / "validated")
    texts.add(digest(1))
    assert digest(1) in texts
