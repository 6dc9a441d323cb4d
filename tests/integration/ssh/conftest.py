"""Fixtures of the tests over SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.integration.lab import Lab
from tests.integration.ssh.far import Far
from tests.integration.ssh.hosts import Hosts
from tests.integration.ssh.namespaces import cannot
from tests.integration.ssh.wheelhouse import make_wheelhouse


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


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a far machine without a package index needs to install exq."""
    return make_wheelhouse(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def bare(tmp_path: Path, exq_command: list[str], wheels: Path) -> Iterator[Far]:
    """A machine where nothing was ever pushed to."""
    made = Far(tmp_path, exq_command, wheels)
    yield made
    made.close()
