"""What is measured, and how often."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number, with a floor measured in the same run. `unit` is s, %, MB, MB/s or empty for a plain ratio.

    `cpu_s` is the CPU time behind it, where that is known: other work on the machine changes it little."""

    name: str
    value: float
    floor: float = 0.0
    floor_is: str = ""
    budget: str = ""
    unit: str = "s"
    cpu_s: float = 0.0

    def format(self, value: float) -> str:
        """The number for people."""
        if self.unit != "s":
            return f"{value:,.2f} {self.unit}".strip()
        return seconds(value)

    def format_cpu(self) -> str:
        """The CPU time for people."""
        return seconds(self.cpu_s) if self.cpu_s else ""


@dataclass(frozen=True)
class Taken:
    """How long something took: by the clock, and of processors (this process and its children that have ended)."""

    wall_s: float
    cpu_s: float


def seconds(value_s: float) -> str:
    """A time for people."""
    if value_s < 1e-3:
        return f"{value_s * 1e6:.0f} µs"
    return f"{value_s * 1e3:.1f} ms" if value_s < 1 else f"{value_s:.2f} s"


def timed(action: Callable[[], object]) -> Taken:
    """Do it once."""
    cpu_before, start = _cpu_s(), time.perf_counter()
    action()
    return Taken(time.perf_counter() - start, _cpu_s() - cpu_before)


def median(taken: Iterable[Taken]) -> Taken:
    """The median of either time."""
    every = list(taken)
    return Taken(statistics.median(t.wall_s for t in every), statistics.median(t.cpu_s for t in every))


def median_of(action: Callable[[], object], times: int) -> Taken:
    """The median of an action, after one warm-up."""
    action()
    return median(timed(action) for _ in range(times))


def command(argv: Sequence[str], env: Mapping[str, str] | None = None, times: int = 5) -> Taken:
    """The median of a command."""
    return median_of(lambda: quietly(argv, env), times)


def quietly(argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end, whatever that is."""
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def interpreter_floor_s() -> float:
    """What starting the interpreter alone takes."""
    return command([sys.executable, "-c", "pass"], times=11).wall_s


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
