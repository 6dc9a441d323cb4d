"""What takes long with many jobs is found once, as long as neither the specs nor the ledger change."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.model.ledger import Ledger
from reconciler.planner.needs import open_jobs
from tests.unit import factories as make


def test_it_is_kept_while_both_versions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    look = import_module("reconciler.loop.look")
    monkeypatch.setattr(look, "open_jobs", lambda *told: [found.append(told), open_jobs(*told)][1])
    desired = make.desired(make.project(make.job(), snapshot=""))
    world: Any = SimpleNamespace(open_jobs=None)
    kept = look._open_jobs(world, desired, Ledger(1))
    assert look._open_jobs(world, desired, Ledger(1)) is kept
    assert len(found) == 1
    look._open_jobs(world, desired, Ledger(2))
    look._open_jobs(world, replace(desired, version="v2"), Ledger(2))
    assert len(found) == 3
