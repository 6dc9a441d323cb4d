"""Since when hosts answer, or do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.store.paths import StatePaths
from reconciler.store.seen import Seen, read_seen, seen_now, with_told, write_seen

UP = HostView("a", 90.0)


@pytest.mark.parametrize(
    ("before", "view", "after"),
    [
        (None, UP, Seen(True, 100.0)),
        (None, Unknown("down", since=80.0), Seen(False, 100.0, 80.0)),
        (Seen(True, 50.0), UP, Seen(True, 50.0)),
        (Seen(True, 50.0), Unknown("down", since=80.0), Seen(False, 100.0, 80.0)),
        (Seen(True, 50.0), Unknown("not asked", quiet=True), Seen(True, 50.0)),
        (Seen(False, 50.0, 40.0), Unknown("still down"), Seen(False, 50.0, 40.0)),
        (Seen(False, 50.0, 40.0), UP, Seen(True, 100.0)),
    ],
)
def test_a_change_is_noted_once(before: Seen | None, view: HostView | Unknown, after: Seen) -> None:
    known = {} if before is None else {"a": before}
    seen = seen_now(Observed({"a": view}), known, 100.0)
    assert seen == {"a": after}
    assert (seen is known) == (before == after)


def test_which_ledger_a_host_has_told_is_noted_once_and_stays() -> None:
    before = {"a": Seen(True, 50.0), "b": Seen(True, 50.0)}
    told = with_told(before, ["a", "unknown"], "ledger 1")
    assert told == {"a": Seen(True, 50.0, told_to="ledger 1"), "b": Seen(True, 50.0)}
    assert with_told(told, ["a"], "ledger 1") is told
    fallen_silent = seen_now(Observed({"a": Unknown("down", since=80.0)}), told, 100.0)
    assert fallen_silent["a"] == Seen(False, 100.0, 80.0, "ledger 1")
    assert with_told(fallen_silent, ["a"], "")["a"].told_to == ""


def test_it_is_kept(tmp_path: Path) -> None:
    seen = {"a": Seen(True, 1.5), "b": Seen(False, 2.5, 2.0, "ledger 1")}
    assert read_seen(StatePaths(tmp_path)) == {}
    write_seen(StatePaths(tmp_path), seen)
    assert read_seen(StatePaths(tmp_path)) == seen


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"reachable": "yes"}}', "\x00"])
def test_what_cannot_be_read_is_nothing(text: str, tmp_path: Path) -> None:
    StatePaths(tmp_path).seen.write_text(text)
    assert read_seen(StatePaths(tmp_path)) == {}
