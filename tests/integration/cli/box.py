"""A folder with specs and state of its own, and the command run in it as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
"""How long to wait for something that should come soon; only a failing test waits that long."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Box:
    """`folder` holds `specs/` and `state/`."""

    folder: Path
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def spec(self, text: str, name: str = "p.yaml") -> None:
        (self.folder / "specs").mkdir(exist_ok=True)
        (self.folder / "specs" / name).write_text(text)

    def exq(self, *words: str) -> Ended:
        done = subprocess.run(
            [*self.command, *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def environment(self) -> dict[str, str]:
        state_home = str(self.folder / "home-state")
        own = {"EXQ_STATE": str(self.state), "XDG_STATE_HOME": state_home, "PYTHONPATH": str(ROOT), "USER": "ann"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EXQ_", "NVIDIA", "CUDA"))}
        return {**kept, **own, **self.env}

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs beside the test; it is killed in the end if it still runs."""
        process = subprocess.Popen(
            [*self.command, *words],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until it holds. Raises AssertionError when it does not come true."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, f"it never came true: {what}"
        time.sleep(0.02)
