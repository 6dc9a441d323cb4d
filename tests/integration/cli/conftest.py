"""A box for each test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.box import Box


@pytest.fixture
def box(tmp_path: Path, exq_command: list[str]) -> Iterator[Box]:
    found = Box(tmp_path, exq_command)
    yield found
    _end_attempts(str(found.state))


def _end_attempts(state: str) -> None:
    """End what a failed test left running: exactly the processes that carry this state folder's marker."""
    marker = f"EXQ_STATE={state}\0".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:  # it ended, or is not ours to read
            continue
        if marker in environ + b"\0" and b"EXQ_ATTEMPT=" in environ:
            os.kill(int(entry.name), signal.SIGKILL)
