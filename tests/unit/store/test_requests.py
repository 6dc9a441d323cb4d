"""Requests: small files that survive anything, carried out in their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.model.enums import RequestKind
from reconciler.store.paths import StatePaths
from reconciler.store.requests import accept, accepted, pending, set_aside_damaged, submit
from tests.unit.store.samples import NOW


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state")


def test_nothing_is_pending_without_a_state_folder(paths: StatePaths) -> None:
    assert pending(paths) == accepted(paths) == set_aside_damaged(paths) == ()
    assert not paths.root.exists()


def test_requests_come_oldest_first(paths: StatePaths) -> None:
    late = submit(paths, RequestKind.RETRY, "p/a", "ann@box", NOW + 1.25)
    early = submit(paths, RequestKind.STOP, "p/a", "bob@box", NOW)
    assert early.id.startswith("20231114T221320.000000Z-")
    assert pending(paths) == (early, late)
    assert sorted(path.stem for path in paths.requests.glob("*.json")) == [early.id, late.id]


def test_an_accepted_request_is_pending_no_more(paths: StatePaths) -> None:
    request = submit(paths, RequestKind.PAUSE, "p", "ann@box", NOW)
    accept(paths, request)
    accept(paths, request)
    assert pending(paths) == ()
    assert accepted(paths) == (request,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"{}",
        b'{"id":"x","kind":"explode","target":"p","by":"a","at":1.0}',
        b'{"id":"other","kind":"stop","target":"p","by":"a","at":1.0}',
        b" " * 70_000,
    ],
)
def test_a_damaged_request_is_set_aside_and_said(paths: StatePaths, content: bytes) -> None:
    good = submit(paths, RequestKind.STOP, "p/a", "ann@box", NOW)
    (paths.requests / "x.json").write_bytes(content)
    assert pending(paths) == (good,)
    assert (paths.requests / "x.json").exists(), "reading moves nothing"
    (notice,) = set_aside_damaged(paths)
    assert "x.json.damaged" in notice
    assert (paths.requests / "x.json.damaged").read_bytes() == content
    assert set_aside_damaged(paths) == ()


def test_half_written_and_other_files_are_no_requests(paths: StatePaths) -> None:
    paths.ensure()
    for name in (".tmp-12", ".hidden.json", "note.txt"):
        (paths.requests / name).write_text("{")
    assert pending(paths) == set_aside_damaged(paths) == ()


def test_fields_of_a_newer_version_are_skipped(paths: StatePaths) -> None:
    request = submit(paths, RequestKind.RESUME, "p", "ann@box", NOW)
    file = paths.requests / f"{request.id}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "new": 1}))
    assert pending(paths) == (request,)
