"""Fixtures of the tests with a real user manager."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.service.machine import Machine
from tests.integration.service.manager import ServiceLab


@pytest.fixture
def service() -> Iterator[ServiceLab]:
    """A user with a user manager, torn down whatever happens."""
    bench = ServiceLab()
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine that is off, removed whatever happens."""
    bench = Machine()
    try:
        yield bench
    finally:
        bench.close()
