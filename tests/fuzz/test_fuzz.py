"""A fixed share of what `make fuzz` does, the same on every run."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import specs, state
from tests.fuzz.mutate import SPEC_TOKENS, mutations

SEED = 20260116


def test_every_truncation_of_every_real_spec(tmp_path: Path) -> None:
    assert len(specs.files()) == 4 and len(specs.corpus()) > 10
    for data in specs.cuts(specs.files()):
        specs.check(tmp_path, data)


def test_changed_specs(tmp_path: Path) -> None:
    changed = mutations(specs.corpus(), SPEC_TOKENS, SEED)
    for _ in range(2000):
        specs.check(tmp_path, next(changed))


def test_damaged_state(tmp_path: Path) -> None:
    assert state.run(tmp_path / "bench", lambda count: count >= 120, SEED) == 120
