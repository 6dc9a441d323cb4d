"""One run of a scenario: daemons, happenings and faults on one machine, and what the oracles say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from reconciler.loop.run import RESYNC_S, _full_every_s, finished
from reconciler.model.enums import RequestKind
from tests.sim import oracles, product, tools
from tests.sim.daemon import Daemon, Database
from tests.sim.fake_os import OS
from tests.sim.faults import Fault, FaultPlan, SimCrash
from tests.sim.machine import COLLEAGUE, Machine
from tests.sim.scenarios import Scenario
from tests.sim.screens import user_screen

TICKS_MAX = 600
"""A run that has not settled by then does not converge."""
QUIET_TICKS = 3
"""So many looks after the end have to plan nothing."""
RESTART_S = 1.0


@dataclass(slots=True)
class Result:
    """What came of a run. `ends` are the last statuses by state folder and job."""

    violations: list[str]
    operations: int
    ticks: int
    starts: dict[tuple[str, str], int]
    ends: dict[tuple[str, str], str]
    hit: list[Fault]
    record: list[tuple[str, str]] = field(default_factory=list)
    disasters: int = 0


class Run:
    """A machine, its daemons and the time between their ticks."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int = 0,
        faults: Iterable[Fault] = (),
        *,
        record: bool = False,
        audit_every: int = 7,
    ) -> None:
        self.scenario = scenario
        self.plan = FaultPlan.of(faults)
        self.plan.record = [] if record else None
        self.machine = machine = Machine(seed, self.plan, scenario.gpus)
        OS.use(machine)
        tools.ANSWERS.clear()
        product.FILES.clear()
        self.began = machine.uptime
        self.elapsed_before = 0.0
        self.lost_events = 0.0
        self.audit_every = audit_every
        self.disasters = 0
        self.happenings = list(scenario.happenings)
        machine.sticky_screens = scenario.sticky_screens
        self.write_specs()
        for index, mib in scenario.foreign:
            uuid = machine.gpus[index].uuid
            machine.spawn("foreign", uid=COLLEAGUE, name=b"python", gpus={uuid: mib})
        machine.advance(5.0)
        self.began = machine.uptime
        databases = {state: Database() for state in scenario.states}
        self.daemons = [
            Daemon(machine, state, databases[state], number, scenario.folders[min(number, len(scenario.folders) - 1)])
            for number, state in enumerate(scenario.states)
        ]
        machine.frozen = True
        for daemon in self.daemons:
            machine.disk.folders(daemon.state)
            daemon.paths.ensure()
            machine.intents[daemon.state] = self._intents(daemon)
        machine.frozen = False
        machine.disk.sync_all_names()

    @staticmethod
    def _intents(daemon: Daemon) -> Callable[[str], bool]:
        def intended(attempt: str) -> bool:
            return attempt in daemon.database.attempts

        return intended

    # what happens to the world

    def edit(self, path: str, text: str) -> None:
        for folder in set(self.scenario.folders):
            if not self.machine.disk.full:
                self.machine.disk.put(f"{folder}/{path}", text.encode())

    def write_specs(self) -> None:
        """As the scenario has them."""
        for number, folder in enumerate(dict.fromkeys(self.scenario.folders)):
            for name, text in {**self.scenario.specs, **(self.scenario.more if number else {})}.items():
                try:
                    self.machine.disk.put(f"{folder}/{name}", text.encode())
                except OSError:
                    continue  # the disk is full

    def delete(self, path: str) -> None:
        for folder in set(self.scenario.folders):
            if f"{folder}/{path}" in self.machine.disk.entries:
                self.machine.disk.unlink(f"{folder}/{path}")
        self.machine.disk.sync_all_names()

    def reboot(self, *, power: bool) -> None:
        """All daemons and processes end; other processes of the user come up under the pids of those that are gone."""
        machine = self.machine
        before = [(p.pid, p.start_ticks) for p in machine.procs.values() if p.role in ("payload", "shim")]
        self.elapsed_before += machine.uptime - self.began
        machine.reboot(power=power)
        self.began = machine.uptime
        self.disasters += 1
        for pid, ticks in before:
            machine._next_pid = pid
            machine.spawn("innocent", name=b"bash", cmdline=b"bash").start_ticks = ticks
        machine.power_failed = machine.loop_dead = False
        for daemon in self.daemons:
            daemon.world = None
            daemon.next_at = 0.0

    def colleagues_leave(self) -> None:
        for process in list(self.machine.procs.values()):
            if process.role == "foreign":
                self.machine.end(process, 0)

    def request(self, kind: str, target: str) -> None:
        machine = self.machine
        if machine.disk.full:
            return
        machine.frozen = True
        machine.set_time(machine.uptime + 0.001)  # no two requests come at one time
        for daemon in self.daemons[:1]:
            product.requests.submit(daemon.paths, RequestKind(kind), target, "u", machine.now)
        machine.frozen = False
        for daemon in self.daemons:
            daemon.next_at = 0.0

    def lose_ledger(self) -> None:
        """Its file is deleted, and no loop has it in memory."""
        for daemon in self.daemons:
            daemon.world = None
            daemon.database.contents = None
            daemon.database.version += 1
        self.machine.ledger_lost = True

    def kill_screen(self, job: str) -> None:
        """SIGKILL: its socket stays, dead."""
        for process in list(self.machine.procs.values()):
            if process.role == "screen" and (process.attempt or "").startswith(f"{job}/"):
                self.machine.end(process, 137)

    def user_screens(self, *names: str) -> None:
        for name in names:
            user_screen(self.machine, name)

    # time

    @property
    def elapsed(self) -> float:
        return self.elapsed_before + self.machine.uptime - self.began

    def go(self) -> Result:
        """Run to the end: settled and quiet, or out of ticks."""
        quiet = ticks = 0
        while quiet < QUIET_TICKS * len(self.daemons) and ticks < TICKS_MAX and not self.machine.violations:
            self._happen()
            daemon = min(self.daemons, key=lambda daemon: daemon.next_at)
            self._sleep_until(daemon)
            ticks += 1
            quiet = quiet + 1 if self._tick(daemon) else 0
        if ticks >= TICKS_MAX and not oracles.left_alone(self.daemons):
            self.machine.wrong(f"L1: not settled after {ticks} ticks: {oracles.unsettled(self.daemons)}")
        oracles.check_end(self)
        return Result(
            self.machine.violations,
            self.plan.count,
            ticks,
            oracles.starts_by_job(self.machine),
            oracles.ends_by_job(self.daemons),
            self.plan.hit,
            self.plan.record or [],
            self.disasters,
        )

    def _happen(self) -> None:
        while self.happenings and self.happenings[0][0] <= self.elapsed:
            self.happenings.pop(0)[1](self)
            for daemon in self.daemons:
                daemon.next_at = min(daemon.next_at, self.machine.uptime)  # inotify

    def _sleep_until(self, daemon: Daemon) -> None:
        """Sleep until the daemon's time, a marker in the spool or the next happening."""
        machine = self.machine
        until = daemon.next_at
        if self.happenings:
            until = min(until, machine.uptime + max(0.0, self.happenings[0][0] - self.elapsed))
        while machine.uptime < until:
            at = machine.next_event_at()
            step = until if at is None else min(until, max(at, machine.uptime))
            try:
                machine.advance(max(0.0, step - machine.uptime))
            except SimCrash:
                self.reboot(power=True)
                return
            if machine.spool_dirty:
                machine.spool_dirty = False
                if not self.lost_events or machine.rng.random() >= self.lost_events:
                    return
        self._happen()

    def _tick(self, daemon: Daemon) -> bool:
        """One tick of one daemon; whether it found nothing left to do."""
        machine = self.machine
        now = machine.uptime
        ended = daemon.snapshot is not None and daemon.snapshot.ledger.open_attempts
        woken_early = daemon.snapshot is not None and now < daemon.next_at
        since = now - daemon.last_full_at
        full_every = _full_every_s(daemon.snapshot) if ended and daemon.snapshot else RESYNC_S
        full = not woken_early or since >= full_every
        if self.audit_every and daemon.ticks % self.audit_every == 0:
            oracles.check_diff(daemon)
        alive = daemon.tick(full=full)
        if full:
            daemon.last_full_at = now
        if daemon.looked and daemon.snapshot is not None:
            oracles.check_snapshot(machine, daemon)
        if machine.power_failed:
            self.reboot(power=True)
            return False
        if not alive:
            machine.loop_dead = False
            daemon.next_at = machine.uptime + RESTART_S
            return False
        assert daemon.snapshot is not None
        daemon.next_at = machine.uptime + max(0.0, daemon.rest_s())
        return finished(daemon.snapshot) and not daemon.done and not self.happenings
