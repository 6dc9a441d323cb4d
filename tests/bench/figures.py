"""What is measured, and how often."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number, with a floor measured in the same run. `unit` is s, % or MB."""

    name: str
    value: float
    floor: float = 0.0
    floor_is: str = ""
    budget: str = ""
    unit: str = "s"

    def format(self, value: float) -> str:
        """The number for people."""
        if self.unit != "s":
            return f"{value:.2f} {self.unit}"
        return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def median_s(action: Callable[[], object], times: int) -> float:
    """The median wall time of an action, after one warm-up."""
    action()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def command_s(command: Sequence[str], env: Mapping[str, str] | None = None, times: int = 5) -> float:
    """The median wall time of a command."""
    return median_s(lambda: _quietly(command, env), times)


def _quietly(command: Sequence[str], env: Mapping[str, str] | None) -> None:
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def interpreter_floor_s() -> float:
    """What starting the interpreter alone takes."""
    return command_s([sys.executable, "-c", "pass"], times=11)
