"""One simulated host: clock, processes, locks, screens and GPUs. Single-threaded; a seed decides every chance.

Processes are generators: each runs until it yields seconds to sleep, or another process to wait for. The loop under
test runs outside of them, and every call of it into the machine lets some of them go on: that is how the two overlap.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random

from tests.sim.disk import Disk, Inode
from tests.sim.faults import CRASH_AFTER, CRASH_BEFORE, HANG, POWER, FaultPlan, SimCrash

USER, COLLEAGUE = 1000, 1001
HOME = "/home/u"
SOCKETS = "/run/screen/S-u"
SIGKILL, SIGTERM, SIGHUP = 9, 15, 1
FIRST_PID, LAST_PID = 200, 420
"""Few pids, so that they are used again soon."""
OPERATION_S = 0.0005
HANG_S = 10.0

IDLE_MIB = 3
"""What a GPU without any process uses."""
Script = Generator["float | Process", None, int]


@dataclass(eq=False, slots=True)
class Process:
    """`attempt` and `state` say what it truly belongs to, whatever its environment says."""

    pid: int
    start_ticks: int
    role: str
    uid: int = USER
    session: int = 0
    name: bytes = b"python"
    cmdline: bytes = b"python"
    environ: dict[bytes, bytes] = field(default_factory=dict)
    attempt: str | None = None
    state: str | None = None
    gpus: dict[str, int] = field(default_factory=dict)
    locks: list[int] = field(default_factory=list)
    deaf: bool = False
    """It ignores SIGTERM."""
    alive: bool = True
    code: int = 0
    stat: object = None
    waiters: list[tuple[Process, Script]] = field(default_factory=list)


@dataclass(slots=True)
class SimGpu:
    """One card. `lost`: it fell off the bus."""

    index: int
    uuid: str
    total_mib: int = 80_000
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """User code began to run."""

    state: str
    attempt: str
    at: float
    gpus: tuple[str, ...]
    host: str = ""

    @property
    def job(self) -> str:
        return self.attempt.rpartition("/")[0]


UPTIME_AT_START_S = 1000.0


class Machine:
    """All the truth. `violations` is what the oracles found wrong."""

    def __init__(
        self, seed: int | str, faults: FaultPlan, gpus: int = 0, *, name: str = "", beside: Machine | None = None
    ) -> None:
        """`beside`: the first machine, with which it shares the truth about jobs."""
        self.name = name
        self.has_loop = beside is None
        self.peers: list[Machine] = [self] if beside is None else beside.peers
        if beside is not None:
            self.peers.append(self)
        self.catch_up: Callable[[float], None] = lambda _true: None
        """Let the other hosts come to a true time."""
        self.rng = Random(seed)
        self.faults = faults
        self.epoch = 0.0 if beside is None else beside.true - 1000.0
        self.down_until = 0.0
        """The true time at which it is up again."""
        self.answers: dict[str, tuple[str, int]] = {}
        """The last answer of each tool: what a stale one says again."""
        self.files: dict[str, tuple[bytes, float] | None] = {}
        """What the last read of each file gave: what a stale one gives again. A file server may be that late."""
        self.uptime = UPTIME_AT_START_S
        self.offset = 1_700_000_000.0
        self.boot = 1
        self.disk = Disk(self.rng, lambda: self.uptime + self.offset)
        self.procs: dict[int, Process] = {}
        self.events: list[tuple[float, int, Process, Script]] = []
        self.locks: dict[int, list[Process]] = {}
        self.gpus = [SimGpu(index, f"GPU-{index:04d}") for index in range(gpus)]
        self.gpu_late_s = 0.4
        self.gpus_asked_at = 0.0
        """The uptime when nvidia-smi was last asked."""
        self.late_memory: list[tuple[str, int, float]] = []
        self.sticky_screens = 0
        """How many of the next screens stay when their command ends."""
        self.starts: list[Start] = [] if beside is None else beside.starts
        self.intents: dict[str, Callable[[str], bool]] = {}
        """By state folder: whether an attempt is durably intended."""
        self.violations: list[str] = [] if beside is None else beside.violations
        self.acting: tuple[str, str] | None = None
        """The state folder and attempt that the agent is killing."""
        self.forgotten: set[str] = set() if beside is None else beside.forgotten
        """Hosts that a user gave up: what runs there may run elsewhere, too."""
        self.vain_setups = 0
        """Attempts whose environment was broken."""
        self.ledger_lost = False
        """With an attempt folder lost in a power failure too, nothing is left that knows of an attempt."""
        self.frozen = False
        """Nothing happens and no operation is counted: an oracle is looking."""
        self.loop_dead = False
        self.power_failed = False
        self.spool_dirty = False
        self.interleave = 0.7
        self._running = False
        self._sequence = 0
        self._next_pid = FIRST_PID
        self.set_time(0.0)
        self.disk.folders(SOCKETS)
        self.disk.folders("/sim/specs")
        self.disk.folders(HOME)
        self.disk.sync_all_names()

    # time

    @property
    def now(self) -> float:
        return self.uptime + self.offset

    @property
    def true(self) -> float:
        """The time that all machines share, and none of their clocks shows."""
        return self.uptime + self.epoch

    @property
    def boot_id(self) -> str:
        return f"boot-{self.name}{self.boot}"

    @property
    def running(self) -> bool:
        """One of its processes is just doing something."""
        return self._running

    def freeze(self, frozen: bool) -> None:
        """From now on, nothing happens on any machine, or things go on."""
        for machine in self.peers:
            machine.frozen = frozen

    def set_time(self, uptime: float) -> None:
        self.uptime = max(self.uptime, uptime)

    def advance(self, seconds: float) -> None:
        """Let time pass; all that is due happens in its order."""
        until = self.uptime + seconds
        while self.events and self.events[0][0] <= until:
            self.set_time(self.events[0][0])
            self._run_next()
        self.set_time(until)

    def next_event_at(self) -> float | None:
        """The uptime of the next thing that happens by itself."""
        while self.events and not self.events[0][2].alive:
            heapq.heappop(self.events)
        return self.events[0][0] if self.events else None

    # operations

    def op(self, group: str, name: str) -> str | None:
        """Number one call into the world; what shall go wrong with it. Raises SimCrash."""
        if self.frozen:
            return None
        if group != "shim":
            if self.loop_dead:
                raise SimCrash(name)
            self.uptime += OPERATION_S
            if self.events and self.events[0][0] <= self.uptime and not self._running:
                self._run_some()
        plan = self.faults
        plan.count += 1
        if plan.record is not None:
            plan.record.append((group, name))
        return self._struck(group, name) if plan.count in plan.faults else None

    def _struck(self, group: str, name: str) -> str | None:
        kind = self.faults.take(group)
        if kind == POWER:
            self.power_failed = self.loop_dead = True
            raise SimCrash(name)
        if kind == CRASH_BEFORE:
            self.loop_dead = True
            raise SimCrash(name)
        if kind == HANG and not self._running:
            self.advance(HANG_S)
        return kind

    def done(self, kind: str | None, name: str = "") -> None:
        """The operation has had its effect. Raises SimCrash."""
        if kind == CRASH_AFTER:
            self.loop_dead = True
            raise SimCrash(name)

    def wrong(self, text: str) -> None:
        """Note a broken promise."""
        if text not in self.violations:
            self.violations.append(text)

    # processes

    def _run_some(self) -> None:
        while self.events and self.events[0][0] <= self.uptime and self.rng.random() < self.interleave:
            self._run_next()

    def _run_next(self) -> None:
        _, _, process, script = heapq.heappop(self.events)
        if process.alive:
            self._resume(process, script)

    def _resume(self, process: Process, script: Script) -> None:
        outer, self._running = self._running, True
        try:
            wanted = next(script)
        except StopIteration as end:
            if process.alive:
                self.end(process, end.value or 0)
            return
        finally:
            self._running = outer
        if not process.alive:
            return
        if isinstance(wanted, Process):
            if wanted.alive:
                wanted.waiters.append((process, script))
                return
            wanted = 0.0
        self.schedule(process, script, wanted)

    def schedule(self, process: Process, script: Script, delay_s: float) -> None:
        self._sequence += 1
        heapq.heappush(self.events, (self.uptime + delay_s, self._sequence, process, script))

    def spawn(self, role: str, script: Callable[[Process], Script] | None = None, **fields: object) -> Process:
        """Start a process; its script begins the next time the machine runs."""
        process = Process(self._pid(), int(self.uptime * 100), role, **fields)  # type: ignore[arg-type]
        process.session = process.session or process.pid
        self.procs[process.pid] = process
        for ino in process.locks:
            self.locks.setdefault(ino, []).append(process)
        if script is not None:
            self.schedule(process, script(process), 0.0)
        return process

    def _pid(self) -> int:
        while self._next_pid in self.procs:
            self._next_pid = self._next_pid + 1 if self._next_pid < LAST_PID else FIRST_PID
        pid = self._next_pid
        self._next_pid = pid + 1 if pid < LAST_PID else FIRST_PID
        return pid

    def end(self, process: Process, code: int) -> None:
        """The process is gone; the driver gives its GPU memory back a little later."""
        if not process.alive:
            return
        process.alive, process.code = False, code
        self.procs.pop(process.pid, None)
        for ino in process.locks:
            self.locks[ino].remove(process)
        for uuid, mib in process.gpus.items():
            self.late_memory.append((uuid, mib, self.uptime + self.gpu_late_s))
        for waiter, script in process.waiters:
            self.schedule(waiter, script, 0.0)

    def signal(self, pid: int, number: int) -> None:
        """What `kill` does. Raises ProcessLookupError."""
        process = self.procs.get(pid)
        if process is None:
            raise ProcessLookupError(3, "No such process")
        self.check_signal(process)
        if number == SIGKILL or (number == SIGTERM and not process.deaf):
            self.end(process, 128 + number)

    def check_signal(self, process: Process) -> None:
        """S2 and S5: only what truly is of the attempt that is being ended."""
        if self.acting is None or (process.state, process.attempt) != self.acting:
            self.wrong(f"S2: pid {process.pid} ({process.role} of {process.attempt}) signalled for {self.acting}")

    # locks

    def take_lock(self, process: Process, inode: Inode) -> bool:
        if self.locks.get(inode.ino):
            return False
        self.locks[inode.ino] = [process]
        process.locks.append(inode.ino)
        return True

    def release_locks(self, process: Process) -> None:
        for ino in process.locks:
            self.locks[ino].remove(process)
        process.locks.clear()

    # GPUs

    def used_mib(self) -> dict[str, int]:
        """By GPU, what nvidia-smi shows."""
        used = dict.fromkeys((gpu.uuid for gpu in self.gpus), IDLE_MIB)
        self.late_memory = [entry for entry in self.late_memory if entry[2] > self.uptime]
        for uuid, mib, _ in self.late_memory:
            used[uuid] = used.get(uuid, IDLE_MIB) + mib
        for process in self.procs.values():
            for uuid, mib in process.gpus.items():
                used[uuid] = used.get(uuid, IDLE_MIB) + mib
        return used

    # truth

    def tree(self, state: str, attempt: str) -> list[Process]:
        """What lives of an attempt's payload."""
        return [p for p in self.procs.values() if p.attempt == attempt and p.state == state and p.role in TREE]

    def user_code_starts(self, process: Process) -> None:
        """The moment of truth for S1, S9 and S10."""
        attempt, state = process.attempt, process.state
        assert attempt is not None and state is not None
        job = attempt.rpartition("/")[0]
        if len(self.peers) > 1:
            self._check_other_hosts(attempt, state)
        for other in self.procs.values():
            if other is process or other.role not in TREE or other.attempt is None:
                continue
            if other.state == state and other.attempt.rpartition("/")[0] == job:
                self.wrong(f"S1: {attempt} starts while {other.role} of {other.attempt} lives")
            held = set(gpus_of(process)) & set(gpus_of(other))
            if held:
                self.wrong(f"S10: {attempt} starts on {sorted(held)} while {other.role} of {other.attempt} lives")
        if not self.intents[state](attempt):
            self.wrong(f"S9: {attempt} starts without a durable intent")
        if any(start.attempt == attempt and start.state == state for start in self.starts) and not self.traces_lost:
            self.wrong(f"S1: {attempt} runs twice")
        self.starts.append(Start(state, attempt, self.now, gpus_of(process), self.name))

    def _check_other_hosts(self, attempt: str, state: str) -> None:
        """S1 over all machines: a job lives at most once, unless a user has given up the host of the other."""
        if self.name in self.forgotten:
            return
        self.catch_up(self.true)
        job = attempt.rpartition("/")[0]
        for machine in self.peers:
            for other in machine.procs.values() if machine is not self else ():
                of = (other.attempt or "").rpartition("/")[0]
                if other.role in TREE and other.state == state and of == job and machine.name not in self.forgotten:
                    self.wrong(f"S1: {attempt} starts on {self.name} while {other.attempt} lives on {machine.name}")

    @property
    def traces_lost(self) -> bool:
        """Nothing may be left that knows of some attempt."""
        return self.peers[0].ledger_lost

    # disasters

    def reboot(self, *, power: bool) -> None:
        """Everything ends. `power`: and what was not synced is lost, as far as chance wants it."""
        for process in list(self.procs.values()):
            process.alive = False
        self.procs.clear()
        self.events.clear()
        self.locks.clear()
        self.late_memory.clear()
        if power:
            self.disk.power_loss()
        for socket in list(self.disk.children[SOCKETS]):
            self.disk.unlink(socket)
        self.boot += 1
        self._next_pid = FIRST_PID
        downtime = 40.0
        self.epoch += self.uptime + downtime - 10.0
        self.offset += self.uptime + downtime - 10.0
        self.uptime = 10.0
        self.set_time(10.0)

    def restart(self, *, power: bool) -> None:
        """A reboot, after which other processes of the user come up under the pids of those that are gone."""
        before = [(p.pid, p.start_ticks) for p in self.procs.values() if p.role in ("payload", "shim")]
        self.reboot(power=power)
        for pid, ticks in before:
            self._next_pid = pid
            self.spawn("innocent", name=b"bash", cmdline=b"bash").start_ticks = ticks
        self.power_failed = self.loop_dead = False


TREE = frozenset({"payload", "grandchild"})


def gpus_of(process: Process) -> tuple[str, ...]:
    """The GPUs that a process was given, by its environment."""
    given = process.environ.get(b"SIM_GPUS", b"").decode()
    return tuple(given.split(",")) if given else ()
