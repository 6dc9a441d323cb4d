"""Fixtures of the tests over SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.integration.lab import Lab
from tests.integration.ssh.hosts import Hosts
from tests.integration.ssh.namespaces import cannot


@pytest.fixture
def hosts(missing: Callable[[str], None]) -> Iterator[Hosts]:
    """A network of hosts, empty at first, torn down whatever happens. In CI a machine that cannot do that fails."""
    why = cannot()
    if why:
        missing(why)
    with Hosts() as made:
        yield made


@pytest.fixture
def new_lab(hosts: Hosts, exq_command: list[str]) -> Iterator[Callable[[], Lab]]:
    """Makes controllers: each with specs and a state of its own, at a place that reaches the hosts."""
    with ExitStack() as made:

        def make() -> Lab:
            bench = made.enter_context(closing(Lab([*hosts.enter, *exq_command])))
            bench.env.update(hosts.env)
            return bench

        yield make


@pytest.fixture
def lab(new_lab: Callable[[], Lab]) -> Lab:
    """The controller of a test."""
    return new_lab()
