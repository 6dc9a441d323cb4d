from __future__ import annotations

import json
from typing import Any

from reconciler.view.history import history_json, render_history
from reconciler.view.style import Style

TS = "2026-04-17T12:01:11.123456Z"


def record(stage: str, action: str = "launch", **more: Any) -> dict[str, Any]:
    return {"ts": TS, "phase": stage, "action": action, "job": "sweep/a", "attempt": 1, "plan_id": "p1", **more}


def moved(**more: Any) -> dict[str, Any]:
    return {"ts": TS, "event": "transfer", "job": "sweep/a", "attempt": 1, "source": "a", **more}


def test_an_intent_and_its_outcome_are_one_line() -> None:
    records = [
        record("intent", message="new in spec", reason="NewInSpec", gpus=[3]),
        record("outcome", message="new in spec", reason="NewInSpec", gpus=[3], ok=True),
        record("intent", "kill", message="stopped"),
        record("intent", "launch", attempt=2),
        record("outcome", "launch", attempt=2, ok=False, error="no space left on device"),
        {"ts": 1776427271.0, "event": "request", "job": "sweep/a", "by": "alice@box", "message": "retry"},
        record("outcome", "launch", attempt=3, ok=False, detail="the host did not answer"),
        {"ts": TS, "event": "tick", "plan_id": "p1", "launch": 1},
        {"ts": TS, "event": "alert", "message": "sweep/a is stuck: exit 1"},
        {"ts": TS, "event": "file", "project": "sweep", "path": "/w/summary.md", "ok": True, "message": ""},
        {"ts": TS, "event": "start", "daemon": "d1", "notices": ["the ledger was rebuilt"]},
    ]
    records += [
        record("outcome", host="b", gpus=[0, 1], ok=True, message="tried again"),
        {"ts": TS, "event": "request", "action": "forget_host", "job": "b", "by": "alice@box"},
        moved(place="b", ok=True, files=1, message=""),
        moved(place="collected", ok=True, files=2, message=""),
        moved(place="b", ok=False, files=0, message="b has no room"),
    ]
    assert (
        render_history(records, Style())
        == """\
  + 2026-04-17 12:01:11  launch       sweep/a #1  on GPU 3, new in spec (NewInSpec)
  - 2026-04-17 12:01:11  kill         sweep/a #1  stopped, intended; its outcome was not recorded
  ! 2026-04-17 12:01:11  launch       sweep/a #2  failed: no space left on device
    2026-04-17 12:01:11  request      sweep/a     retry, by alice@box
  ! 2026-04-17 12:01:11  launch       sweep/a #3  failed: the host did not answer
  ! 2026-04-17 12:01:11  alert                    sweep/a is stuck: exit 1
    2026-04-17 12:01:11  file         sweep       /w/summary.md
    2026-04-17 12:01:11  start                    the ledger was rebuilt
  + 2026-04-17 12:01:11  launch       sweep/a #1  on b, GPU 0-1, tried again
    2026-04-17 12:01:11  forget-host  b           by alice@box
    2026-04-17 12:01:11  transfer     sweep/a #1  from a to b, 1 file
    2026-04-17 12:01:11  transfer     sweep/a #1  collected from a, 2 files
  ! 2026-04-17 12:01:11  transfer     sweep/a #1  from a to b, failed: b has no room
"""
    )


def test_damaged_times_do_not_hide_a_record() -> None:
    assert "yesterday" in render_history([{"ts": "yesterday", "event": "start"}], Style())


def test_nothing() -> None:
    assert render_history([], Style()) == "Nothing has been done yet.\n"


def test_json() -> None:
    shown = json.loads(json.dumps(history_json(iter([record("intent")]))))
    assert shown == {"schema": "exq.history/v1", "records": [record("intent")]}
