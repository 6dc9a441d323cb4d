"""The simulation runs quickly here, and nothing of that is left for other tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.quick import hurried


@pytest.fixture(autouse=True, scope="package")
def _quick() -> Iterator[None]:
    with hurried():
        yield
