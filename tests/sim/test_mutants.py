"""The simulation finds the mistakes that it is there to find: each is put into the product, and has to be noticed."""

from __future__ import annotations

import pytest

from tests.sim.explore import fault_free
from tests.sim.mutants import MUTANTS, applied, caught
from tests.sim.run import Run
from tests.sim.scenarios import ALL


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    found = caught(MUTANTS[name])
    assert found is not None, f"nothing noticed that {name}"


def test_there_are_enough_of_them_all_over_the_product() -> None:
    assert len(MUTANTS) >= 25
    places = {"planner", "loop", "agent", "shim", "parse", "spec", "host"}
    assert {mutant.where for mutant in MUTANTS.values()} >= places


def test_a_mutant_is_gone_afterwards() -> None:
    before = fault_free("plain")
    with applied(MUTANTS["the ledger is believed over the facts"]):
        pass
    again = Run(ALL["plain"], record=True).go()
    assert again.record == before.record
    assert again.violations == []
