"""The audit trail: in order, readable after any crash, and never in the way of running jobs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model.enums import Reason
from reconciler.store import audit
from reconciler.store.audit import AuditTrail, read, utc_text
from reconciler.store.paths import StatePaths
from tests.unit.store.samples import NOW


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path)


@pytest.fixture
def trail(paths: StatePaths) -> Iterator[AuditTrail]:
    opened = trail_of(paths)
    yield opened
    opened.close()


def trail_of(paths: StatePaths) -> AuditTrail:
    return AuditTrail(paths, lambda: NOW + 0.5)


def seqs(paths: StatePaths) -> list[int]:
    return [record["seq"] for record in read(paths)]


def test_a_record_is_one_line_of_json(paths: StatePaths, trail: AuditTrail) -> None:
    trail.write(
        "action", phase="intent", job="p/ü", attempt=2, reason=Reason.NEW_IN_SPEC, gpus=(0, 1), message="a\nb 100%s"
    )
    trail.write("tick", plan_id="x", error=None, path=Path("/a"))
    first, second = paths.audit.read_text().splitlines()
    assert json.loads(first) == {
        "seq": 1,
        "ts": "2023-11-14T22:13:20.500Z",
        "event": "action",
        "phase": "intent",
        "job": "p/ü",
        "attempt": 2,
        "reason": "NewInSpec",
        "gpus": [0, 1],
        "message": "a\nb 100%s",
    }
    assert json.loads(second)["path"] == "/a"
    assert list(json.loads(second))[:3] == ["seq", "ts", "event"]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "1970-01-01T00:00:00.000Z"), (0.0015, "1970-01-01T00:00:00.001Z")])
def test_times_are_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert utc_text(seconds) == text


def test_numbers_go_on_after_a_restart(paths: StatePaths) -> None:
    for _ in range(3):
        trail = trail_of(paths)
        trail.write("a")
        trail.write("b")
        trail.close()
    assert seqs(paths) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("torn", [b'{"seq":3,"ts', b"{", b"\xff\xfe", b"null", b'{"seq":3}'])
def test_a_torn_last_line_stays_alone(paths: StatePaths, torn: bytes) -> None:
    trail = trail_of(paths)
    trail.write("a")
    trail.write("b")
    trail.close()
    with paths.audit.open("ab") as file:
        file.write(torn)
    again = trail_of(paths)
    again.write("c")
    again.close()
    lines = paths.audit.read_bytes().splitlines()
    assert lines[2] == torn
    whole = torn == b'{"seq":3}'
    assert json.loads(lines[3]) == {"seq": 4 if whole else 3, "ts": utc_text(NOW + 0.5), "event": "c"}
    records = read(paths)
    assert len(list(records)) == (4 if whole else 3)
    assert records.damaged == (0 if whole else 1)


def test_a_line_that_is_being_written_is_not_damage(paths: StatePaths, trail: AuditTrail) -> None:
    trail.write("a")
    with paths.audit.open("ab") as file:
        file.write(b'{"seq":2,')
    for last in (None, 5):
        records = read(paths, last=last)
        assert [record["event"] for record in records] == ["a"]
        assert records.damaged == 0


def test_no_trail_no_records(paths: StatePaths) -> None:
    assert list(read(paths)) == list(read(paths, last=3)) == []
    assert not paths.audit.exists()


def test_only_the_last_records(paths: StatePaths, trail: AuditTrail) -> None:
    for number in range(40):
        trail.write("action", job=f"p/{number % 4}", number=number)
    with paths.audit.open("ab") as file:
        file.write(b"\n\ndamage p/1\n")
    assert [record["number"] for record in read(paths, last=3)] == [37, 38, 39]
    assert [record["number"] for record in read(paths, job="p/1", last=2)] == [33, 37]
    assert len(list(read(paths, job="p/1"))) == 10
    assert len(list(read(paths, last=1000))) == 40
    assert list(read(paths, last=0)) == []
    assert list(read(paths, job="p")) == []


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 16])
def test_reading_from_the_end_gives_the_same_lines(
    paths: StatePaths, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    for number in range(30):
        trail.write("e", text="x" * number)
    monkeypatch.setattr(audit, "_BLOCK_BYTES", block)
    assert list(read(paths, last=100)) == list(read(paths))


def test_the_end_is_read_without_the_rest(paths: StatePaths, trail: AuditTrail) -> None:
    with paths.audit.open("wb") as file:
        file.truncate(64 << 30)  # a sparse file that nobody could read through
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    trail.write("a")
    assert [record["event"] for record in read(paths, last=1)] == ["a"]


def test_records_wait_while_they_cannot_be_written(
    paths: StatePaths, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail.write("a")
    monkeypatch.setattr(audit, "WAITING_MAX_LINES", 3)
    with monkeypatch.context() as full:
        full.setattr(audit.os, "write", no_room)
        for name in "bcdef":
            trail.write(name)
        assert trail.problem is not None and "No space left" in trail.problem
    assert seqs(paths) == [1]
    trail.flush()
    assert trail.problem is None
    assert [(record["seq"], record["event"], record.get("count")) for record in read(paths)] == [
        (1, "a", None),
        (4, "d", None),
        (5, "e", None),
        (6, "f", None),
        (7, "audit_dropped", 2),
    ]


def no_room(handle: int, data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_half_a_line_is_taken_back(paths: StatePaths, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    trail.write("a")
    real_write = os.write
    calls: list[int] = []

    def room_for_five_bytes(handle: int, data: bytes) -> int:
        calls.append(handle)
        if len(calls) > 1:
            return no_room(handle, data)
        return real_write(handle, data[:5])

    with monkeypatch.context() as full:
        full.setattr(audit.os, "write", room_for_five_bytes)
        trail.write("b")
    assert paths.audit.read_text().count("\n") == 1 and paths.audit.read_text().endswith("\n")
    trail.write("c")
    assert [record["event"] for record in read(paths)] == ["a", "b", "c"]


def test_a_trail_that_was_moved_away_is_begun_anew(paths: StatePaths, trail: AuditTrail) -> None:
    trail.write("a")
    paths.audit.rename(paths.root / "old.jsonl")
    trail.write("b")
    assert seqs(paths) == [2]


def test_a_trail_that_cannot_be_opened_stops_nothing(paths: StatePaths) -> None:
    trail = trail_of(paths)
    paths.audit.mkdir()
    trail.write("a")
    assert trail.problem is not None
    paths.audit.rmdir()
    trail.write("b")
    assert seqs(paths) == [1, 2]
    trail.close()


@pytest.mark.parametrize(
    "junk", [b"\0" * (3 << 20), b"x" * (3 << 20) + b"\n", b'{"seq":9,"pad":"' + b"y" * (2 << 20) + b'"}\n']
)
def test_a_line_that_is_far_too_long_is_skipped_from_both_ends(paths: StatePaths, junk: bytes) -> None:
    trail = trail_of(paths)
    trail.write("a")
    trail.close()
    with paths.audit.open("ab") as file:
        file.write(junk)
    trail = trail_of(paths)
    trail.write("b")
    trail.close()
    for records in (read(paths), read(paths, last=5)):
        assert [(record["seq"], record["event"]) for record in records] == [(1, "a"), (2, "b")]
        assert records.damaged == 1
