"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.lab import Lab
from tests.integration.prefork import Prefork


@pytest.fixture
def lab(exq_command: list[str]) -> Iterator[Lab]:
    """A bench of its own, torn down whatever happens."""
    bench = Lab(exq_command)
    yield bench
    bench.close()


@pytest.fixture
def prefork(lab: Lab) -> Iterator[Prefork]:
    """Starts daemons of the lab in milliseconds."""
    server = Prefork(lab)
    yield server
    lab.close()
    server.close()
