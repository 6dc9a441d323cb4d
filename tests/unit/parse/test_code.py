"""What a host says of repositories and work trees."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.facts import CodeFacts, CodeVersion, SnapshotFacts, Unknown
from reconciler.parse.code import parse_code, parse_old_snapshots, parse_snapshot, parse_versions
from reconciler.parse.fields import Malformed

A = "a" * 40


@pytest.mark.parametrize(
    ("raw", "facts"),
    [
        ({"root": "/r", "commit": A, "changes": []}, CodeFacts("/r", A)),
        ({"root": "/r", "commit": "c" * 64, "changes": ["x\n.py"]}, CodeFacts("/r", "c" * 64, ("x .py",))),
        ({"problem": "no\nrepository"}, CodeFacts(problem="no repository")),
        ({"unknown": "git hangs"}, Unknown("git hangs")),
    ],
)
def test_code(raw: dict[str, Any], facts: CodeFacts | Unknown) -> None:
    assert parse_code(raw) == facts


@pytest.mark.parametrize(
    ("raw", "facts"),
    [
        ({"path": "/t", "ready": True, "problem": ""}, SnapshotFacts("/t", ready=True)),
        ({"path": "", "ready": False, "problem": "x"}, SnapshotFacts("", ready=False, problem="x")),
        (
            {"path": "", "ready": False, "problem": "x", "again": True},
            SnapshotFacts("", ready=False, problem="x", again=True),
        ),
        ({"unknown": "gone"}, Unknown("gone")),
    ],
)
def test_snapshots(raw: dict[str, Any], facts: SnapshotFacts | Unknown) -> None:
    assert parse_snapshot(raw) == facts


GARBAGE: list[Any] = [
    None, [], "x", 3, {}, {"root": "/r", "commit": "HEAD", "changes": []}, {"root": 1, "commit": A, "changes": []},
    {"root": "/r", "commit": A, "changes": "x"}, {"path": "t", "ready": True, "problem": ""},
    {"path": "/t", "ready": "yes", "problem": ""}, {"path": "/t", "ready": True},
]  # fmt: skip


@pytest.mark.parametrize("raw", GARBAGE)
def test_nonsense_is_unknown(raw: Any) -> None:
    assert isinstance(parse_code(raw), Unknown)
    assert isinstance(parse_snapshot(raw), Unknown)


def test_lists() -> None:
    assert parse_old_snapshots([["r", A]]) == (("r", A),)
    assert parse_versions([[A, True, 3]]) == (CodeVersion(A, True, 3),)


@pytest.mark.parametrize("raw", [None, "x", [["r"]], [["r", 1]], [[A, 1, 3]], {"a": 1}])
def test_nonsense_in_lists(raw: Any) -> None:
    with pytest.raises(Malformed):
        parse_old_snapshots(raw)
    with pytest.raises(Malformed):
        parse_versions(raw)
