"""Quicker records are the same records."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pytest

from reconciler.model.facts import Gpu, HostView
from tests.sim.explore import fault_free
from tests.sim.run import Run
from tests.sim.scenarios import ALL


def test_records_are_the_same() -> None:
    quick = HostView("h", 1.0, gpus=(Gpu(0, "GPU-0", "x", 1, 2, None),))
    other = HostView("h", 1.0)
    assert replace(other, gpus=quick.gpus) == quick
    assert other.attempts is not HostView("h", 1.0).attempts
    assert repr(quick).startswith("HostView(host='h', observed_at=1.0, boot_id=''")
    with pytest.raises(TypeError):
        HostView("h")  # type: ignore[call-arg]


def test_a_replaced_record_is_the_same() -> None:
    quick_replace = vars(import_module("reconciler.loop.look"))["replace"]
    assert quick_replace is not replace, "the tests here are quick"
    view = HostView("h", 1.0, gpus=(Gpu(0, "GPU-0", "x", 1, 2, None),))
    assert quick_replace(view, observed_at=2.0) == replace(view, observed_at=2.0)
    assert (view.observed_at, quick_replace(view)) == (1.0, view)
    with pytest.raises(TypeError, match="no_such"):
        quick_replace(view, no_such=1)


def test_a_run_is_the_same() -> None:
    assert Run(ALL["oom"], record=True).go().record == fault_free("oom").record


AFTERWARDS = """
from dataclasses import FrozenInstanceError
from reconciler.model.facts import Unknown
from tests.sim.quick import hurried
with hurried():
    kept = Unknown("why")
    kept.message = "other"
for word in (kept, Unknown("new")):
    try:
        word.message = "changed"
    except FrozenInstanceError:
        print(word.message)
"""


def test_afterwards_records_are_frozen_again() -> None:
    """In a process of its own, as all of these tests are quick."""
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["other", "new"], "")
