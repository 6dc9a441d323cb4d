"""A host behind SSH: a real sshd on the loopback, some of it at the end of a slow line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from reconciler import loop
from reconciler.host.agent import Agent
from reconciler.host.bring import bring
from reconciler.loop.world import World
from reconciler.model.ledger import COLLECTED
from reconciler.model.plan import Transfer
from tests.bench.cases import Case, a_lab
from tests.bench.figures import Figure, Taken, median, median_of, quietly, timed
from tests.integration.lab import Lab
from tests.integration.ssh.delay import SlowLine
from tests.integration.ssh.loopback.sshd import Sshd
from tests.integration.ssh.loopback.user import User, ask

ONE_WAY_S = 0.05
LAUNCHED = 100
FILE_MB = 200
SSHD = "/usr/sbin/sshd"


@contextmanager
def a_box(lab: Lab) -> Iterator[User]:
    """One who has a lab's folders, and a server called box; what it starts ends with the lab."""
    (lab.root / "ssh").mkdir()
    user = User(lab.root / "ssh")
    python = os.path.dirname(os.path.realpath(sys.executable))
    home = lab.root / "ssh" / "box" / "home"
    env = f"HOME={home} PATH={python}:/usr/local/bin:/usr/bin:/bin SCREENDIR={lab.screens}"
    box = user.server(SetEnv=env, Subsystem="sftp internal-sftp")
    user.entry(box)
    before = os.environ.copy()
    os.environ.update({"EXQ_SSH_CONFIG": str(user.config), "SCREENDIR": str(lab.screens)})
    os.environ.pop("SSH_AUTH_SOCK", None)
    try:
        yield user
    finally:
        user.close()
        os.environ.clear()
        os.environ.update(before)


def slow_line(user: User, box: Sshd) -> SlowLine:
    """A way to a server on which all takes time, as the entry `slow` of its user's configuration."""
    line = SlowLine(box.address, box.port, ONE_WAY_S, user.folder / "turns")
    kind, key = box.host_key.with_suffix(".pub").read_text().split()[:2]
    with user.known.open("a") as known:
        known.write(f"[127.0.0.1]:{line.port} {kind} {key}\n")
    lines = ["HostName 127.0.0.1", f"Port {line.port}", f"UserKnownHostsFile {user.known}", f"IdentityFile {user.key}"]
    user.write_entry("slow", *lines, "GlobalKnownHostsFile none")
    return line


def remote_tick(_floor_s: float) -> Iterator[Figure]:
    """A tick that finds a remote host as it was: 20 jobs run there, 80 wait."""
    ticks = 15
    with a_lab() as lab, a_box(lab) as user, closing(slow_line(user, user.servers[0])) as line:
        jobs_on(lab, "slow", 100, at_once=20)
        with loop.open_world(lab.specs, lab.state, writable=True, env=lab.env) as world:
            loop.tick(world)
            run_of(world, 20)
            before = line.turns()
            taken = median_of(lambda: loop.tick(world), ticks)
            turns = (line.turns() - before) / (ticks + 1)
    round_trip_s = 2 * ONE_WAY_S
    name = f"steady tick of a host {round_trip_s * 1e3:.0f} ms away, 20 jobs running"
    yield Figure(name, taken.wall_s, round_trip_s, "one round trip", "1.5 round trips", cpu_s=taken.cpu_s)
    yield Figure("turns on the line in each of these ticks, the pulse included", turns, budget="1.5", unit="")


def warm_request(_floor_s: float) -> Iterator[Figure]:
    """A request over a connection that is there."""
    with a_lab() as lab, a_box(lab) as user:
        host = user.link()
        ask(host)
        warm = median_of(lambda: ask(host), 200)
        ssh = ["ssh", "-F", str(user.config), "-o", f"ControlPath={lab.root}/control"]
        with subprocess.Popen([*ssh, "-M", "box", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
            echo = median_of(lambda: echoed(cat), 200)
            shared = median_of(lambda: subprocess.run([*ssh, "box", "true"], check=True), 15)
            cat.kill()
    name = "warm request to a host on the loopback"
    yield Figure(name, warm.wall_s, echo.wall_s, "a line through ssh and cat", "not 44 ms", cpu_s=warm.cpu_s)
    yield Figure("for comparison: ssh with a ControlMaster, true", shared.wall_s, cpu_s=shared.cpu_s)


def echoed(cat: subprocess.Popen[bytes]) -> None:
    """A line there and back."""
    assert cat.stdin is not None
    assert cat.stdout is not None
    cat.stdin.write(b"hello\n")
    cat.stdin.flush()
    assert cat.stdout.readline() == b"hello\n"


def launches(_floor_s: float) -> Iterator[Figure]:
    """The tick that launches 100 jobs, on a host behind SSH and here, one after the other."""
    distance = f"{2 * ONE_WAY_S * 1e3:.0f} ms away"
    kinds = (("box", "screen", "loopback"), ("slow", "screen", distance), ("box", "process", "loopback"))
    for host, launcher, where in kinds:
        there, here = [], []
        for _ in range(3):
            there.append(launching(host, launcher))
            here.append(launching(None, launcher))
        taken, floor = median(there), median(here)
        name = f"launching {LAUNCHED} jobs on a host, {where}, {launcher}"
        yield Figure(name, taken.wall_s, floor.wall_s, "the same on this machine", "2x the floor", cpu_s=taken.cpu_s)


def launching(host: str | None, launcher: str) -> Taken:
    """The tick that launches them, after one that has connected."""
    with a_lab() as lab, a_box(lab) as user, ExitStack() as held:
        if host == "slow":
            held.enter_context(closing(slow_line(user, user.servers[0])))
        jobs_on(lab, host, 1, at_once=LAUNCHED + 1, launcher=launcher)
        with loop.open_world(lab.specs, lab.state, writable=True, env=lab.env) as world:
            loop.tick(world)
            run_of(world, 1)
            jobs_on(lab, host, LAUNCHED + 1, at_once=LAUNCHED + 1, launcher=launcher)
            taken = timed(lambda: loop.tick(world))
            assert world.last is not None
            assert len(world.last.plan.actions) == LAUNCHED
            run_of(world, LAUNCHED + 1)
        return taken


def jobs_on(lab: Lab, host: str | None, jobs: int, *, at_once: int, launcher: str = "process") -> None:
    """A spec of jobs that take long."""
    where = f"ssh: {host}\n" if host else ""
    values = ", ".join(str(number) for number in range(jobs))
    lab.spec(
        f"project: far\n{where}cwd: /\ngpus: none\nmax_parallel: {at_once}\nlauncher: {launcher}\n"
        f"grid: {{i: [{values}]}}\ntemplate: {{id: 'j${{i}}', cmd: 'sleep 60.${{i}}'}}\n"
    )


def run_of(world: World, jobs: int) -> None:
    """Tick until so many jobs run."""
    for _ in range(200):
        snapshot, _done = loop.tick(world)
        if sum(state.status == "running" for state in snapshot.plan.states.values()) == jobs:
            return
    raise AssertionError(f"not all {jobs} jobs run: {snapshot.plan.unknown}")


def transfer(_floor_s: float) -> Iterator[Figure]:
    """A large file from a host behind SSH to this machine, checksums and fsync included; the same with scp."""
    with a_lab() as lab, a_box(lab) as user:
        home = user.servers[0].home
        with (home / "model").open("wb") as file:
            for _ in range(FILE_MB):
                file.write(os.urandom(1_000_000))
        host, local = user.link(), Agent(str(lab.state), {})
        ask(host)
        brought, copied = [], []
        for number in range(3):
            target = lab.root / f"results{number}"
            wanted = Transfer("p/j", 0, "box", COLLECTED, str(home), ("model",), str(target))
            brought.append(timed(lambda wanted=wanted: bring(host, local, wanted)))
            same_files(home / "model", target / "p/j/model")
            argv = ["scp", "-qF", str(user.config), f"box:{home}/model", str(lab.root / "copy")]
            copied.append(timed(lambda argv=argv: quietly(argv)))
            same_files(home / "model", lab.root / "copy")
            shutil.rmtree(target)
            (lab.root / "copy").unlink()
    taken, floor = median(brought), median(copied)
    name = f"bringing a file of {FILE_MB} MB from a host on the loopback"
    yield Figure(name, FILE_MB / taken.wall_s, FILE_MB / floor.wall_s, "scp", unit="MB/s", cpu_s=taken.cpu_s)


def same_files(one: Path, other: Path) -> None:
    """Fails where two files differ."""
    subprocess.run(["cmp", str(one), str(other)], check=True)


REMOTE: tuple[Case, ...] = (remote_tick, warm_request, launches, transfer)
ALL = REMOTE if os.path.exists(SSHD) and shutil.which("ssh") else ()
