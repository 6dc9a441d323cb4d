"""The benchmarks of one machine. Each takes the interpreter's start time in seconds and yields figures."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.bench.figures import Figure, command, median_of
from tests.integration.lab import Lab

EXQ = [sys.executable, "-m", "reconciler"]
NOOP_JOBS = 200


@contextmanager
def a_lab() -> Iterator[Lab]:
    bench = Lab(EXQ)
    try:
        yield bench
    finally:
        bench.close()


def noop_spec(lab: Lab, jobs: int, launcher: str, cmd: str = "true") -> None:
    """A grid of jobs that do nothing, on two slots."""
    values = ", ".join(str(i) for i in range(jobs))
    lab.spec(
        f"project: noop\ncwd: WORK\ngpus: none\nmax_parallel: 2\nlauncher: {launcher}\n"
        f"grid: {{i: [{values}]}}\ntemplate: {{id: 'j${{i}}', cmd: '{cmd}'}}\n"
    )


def floor_of_screens_s(lab: Lab) -> float:
    """`xargs -P2` over `screen -DmS`: what 200 sessions on two slots take with nobody keeping book."""
    script = f"seq {NOOP_JOBS} | xargs -P2 -I@ screen -DmS floor.@ true"
    start = time.perf_counter()
    subprocess.run(["sh", "-c", script], env=lab.env, check=True)
    return time.perf_counter() - start


def throughput(_floor_s: float) -> Iterator[Figure]:
    """200 jobs that do nothing, on two slots."""
    for launcher in ("screen", "process"):
        taken, floors = [], []
        for _ in range(3):
            with a_lab() as lab:
                noop_spec(lab, NOOP_JOBS, launcher)
                start = time.perf_counter()
                lab.settle()
                taken.append(time.perf_counter() - start)
                floors.append(floor_of_screens_s(lab))
        floor_is = "xargs -P2 + screen -DmS"
        name = f"{NOOP_JOBS} no-op jobs on 2 slots, {launcher}, from start to exit"
        budget = "2x the floor" if launcher == "screen" else ""
        yield Figure(name, statistics.median(taken), statistics.median(floors), floor_is, budget)


def handover(_floor_s: float) -> Iterator[Figure]:
    """From one payload's last moment to the next one's first, on one slot."""
    for launcher in ("screen", "process"):
        with a_lab() as lab:
            noop_spec(lab, 40, launcher, "echo $EPOCHREALTIME >> times; sleep 0.05; echo $EPOCHREALTIME >> times")
            spec = lab.specs / "exp.yaml"
            spec.write_text(spec.read_text().replace("max_parallel: 2", "max_parallel: 1"))
            lab.settle()
            stamps = [float(line) for line in (lab.work / "times").read_text().split()]
        gaps = [later - earlier for earlier, later in list(pairwise(stamps))[1::2]]
        name = f"payload exit to next payload start, {launcher}, median of {len(gaps)}"
        yield Figure(name, statistics.median(gaps), budget="10 ms" if launcher == "screen" else "")


def help_time(floor_s: float) -> Iterator[Figure]:
    """`exq --help`."""
    taken = command([*EXQ, "--help"], times=11)
    yield Figure("exq --help", taken.wall_s, floor_s, "python -c pass", "60 ms", cpu_s=taken.cpu_s)


def cold_diff(floor_s: float) -> Iterator[Figure]:
    """`exq diff` without any state."""
    for jobs, budget in ((100, "150 ms"), (10_000, ""), (100_000, "3 s")):
        with a_lab() as lab:
            noop_spec(lab, jobs, "process")
            taken = command([*EXQ, "diff"], env=lab.env, times=5 if jobs < 100_000 else 3)
        name = f"cold exq diff, {jobs:,} jobs"
        yield Figure(name, taken.wall_s, floor_s, "python -c pass", budget, cpu_s=taken.cpu_s)


def steady_tick(_floor_s: float) -> Iterator[Figure]:
    """A tick that finds nothing to do: both slots taken, everything else waiting."""
    from reconciler import loop

    for jobs, budget in ((10_000, ""), (100_000, "20 ms")):
        with a_lab() as lab:
            noop_spec(lab, jobs, "process", "sleep 600")
            lab.exq("run", "--once")
            os.environ.update({"SCREENDIR": str(lab.screens)})
            with loop.open_world(lab.specs, lab.state, writable=True, env=lab.env) as world:
                loop.tick(world)
                every = median_of(lambda world=world: loop.tick(world), 15)
                short = median_of(lambda world=world: loop.tick(world, full=False), 15)
        yield Figure(f"steady tick, {jobs:,} jobs, all probes", every.wall_s, budget=budget, cpu_s=every.cpu_s)
        yield Figure(f"steady tick, {jobs:,} jobs, after an event", short.wall_s, cpu_s=short.cpu_s)


def idle_loop(_floor_s: float) -> Iterator[Figure]:
    """The loop with nothing to do, over a minute."""
    with a_lab() as lab:
        noop_spec(lab, 100, "process", "sleep 600")
        with lab.daemon() as child:
            lab.wait("two jobs run", lambda: sum(bool(job["pid"]) for job in lab.status().values()) == 2)
            time.sleep(2)
            before, start = cpu_s(child.pid), time.monotonic()
            time.sleep(60)
            used = (cpu_s(child.pid) - before) / (time.monotonic() - start)
            memory_mb = rss_mb(child.pid)
    yield Figure("idle loop, share of a core", used * 100, budget="0.2 %", unit="%")
    yield Figure("idle loop, resident memory", memory_mb, budget="60 MB", unit="MB")


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


Case = Callable[[float], Iterator[Figure]]
ALL: tuple[Case, ...] = (help_time, cold_diff, steady_tick, throughput, handover, idle_loop)
if shutil.which("screen") is None:
    raise SystemExit("the benchmarks compare with GNU screen: install it first")
