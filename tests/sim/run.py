"""One run of a scenario: daemons, happenings and faults on one machine, and what the oracles say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from reconciler.loop.run import RESYNC_S, SPOOL, _full_every_s, _hosts_of, finished
from reconciler.model.enums import JobStatus, Reason, RequestKind
from reconciler.model.facts import Unknown
from tests.sim import oracles, product
from tests.sim.daemon import Daemon, Database
from tests.sim.fake_os import OS
from tests.sim.faults import Fault, FaultPlan, SimCrash
from tests.sim.fleet import HOME, ROUNDING_S, Fleet
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
    forgotten: int = 0
    """Hosts that were given up: what ran there was run again."""


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
        self.fleet = Fleet(seed, self.plan, scenario.gpus)
        self.machine = machine = self.fleet.home
        OS.use(machine)
        self.began = machine.uptime
        self.elapsed_before = 0.0
        self.audit_every = audit_every
        self.happenings = list(scenario.happenings)
        machine.sticky_screens = scenario.sticky_screens
        self._put_specs(machine)
        for index, mib in scenario.foreign:
            uuid = machine.gpus[index].uuid
            machine.spawn("foreign", uid=COLLEAGUE, name=b"python", gpus={uuid: mib})
        machine.advance(5.0)
        self.began = machine.uptime
        for host in scenario.hosts:
            self.fleet.add(host.name, host.gpus, host.ahead_s).sticky_screens = scenario.sticky_screens
        self.daemons = self._daemons()
        self.loop_machines = list(dict.fromkeys(daemon.machine for daemon in self.daemons))
        machine.freeze(True)
        for daemon in self.daemons:
            with OS.on(daemon.machine):
                daemon.machine.disk.folders(daemon.state)
                daemon.paths.ensure()
            for other in self.fleet.machines.values():
                other.intents[daemon.state] = self._intents(daemon.state)
        machine.freeze(False)
        for other in self.fleet.machines.values():
            other.disk.sync_all_names()

    def _daemons(self) -> list[Daemon]:
        scenario = self.scenario
        databases: dict[tuple[str, str], Database] = {}
        made = []
        for number, state in enumerate(scenario.states):
            name = scenario.loops[number] if scenario.loops else HOME
            machine = self.fleet.machines[name]
            machine.has_loop = True
            database = databases.setdefault((name, state), Database())
            folder = scenario.folders[min(number, len(scenario.folders) - 1)]
            made.append(Daemon(self.fleet, machine, state, database, number, folder))
        for name in scenario.loops:
            self._put_specs(self.fleet.machines[name])
        return made

    def _intents(self, state: str) -> Callable[[str], bool]:
        def intended(attempt: str) -> bool:
            return any(attempt in daemon.database.attempts for daemon in self.daemons if daemon.state == state)

        return intended

    @property
    def lost_events(self) -> float:
        """The share of wake-ups that never come."""
        return self.fleet.lost_events

    @lost_events.setter
    def lost_events(self, share: float) -> None:
        self.fleet.lost_events = share

    # what happens to the world

    def edit(self, path: str, text: str) -> None:
        for machine in self.loop_machines:
            for folder in set(self.scenario.folders):
                if not machine.disk.full:
                    machine.disk.put(f"{folder}/{path}", text.encode())

    def write_specs(self) -> None:
        """As the scenario has them."""
        for machine in self.loop_machines:
            self._put_specs(machine)

    def _put_specs(self, machine: Machine) -> None:
        for number, folder in enumerate(dict.fromkeys(self.scenario.folders)):
            for name, text in {**self.scenario.specs, **(self.scenario.more if number else {})}.items():
                try:
                    machine.disk.put(f"{folder}/{name}", text.encode())
                except OSError:
                    continue  # the disk is full

    def delete(self, path: str) -> None:
        for machine in self.loop_machines:
            for folder in set(self.scenario.folders):
                if f"{folder}/{path}" in machine.disk.entries:
                    machine.disk.unlink(f"{folder}/{path}")
            machine.disk.sync_all_names()

    def reboot(self, *, power: bool) -> None:
        """The first machine goes down and comes up: its daemons and processes end."""
        self._reboot(self.machine, power=power)

    def _reboot(self, machine: Machine, *, power: bool) -> None:
        if machine is self.machine:
            self.elapsed_before += machine.uptime - self.began
        machine.restart(power=power)
        if machine is self.machine:
            self.began = machine.uptime
        self.fleet.disasters += 1
        for daemon in self.daemons:
            if daemon.machine is machine:
                daemon.world = None
                daemon.next_at = 0.0

    @property
    def disasters(self) -> int:
        """How often a machine went down."""
        return self.fleet.disasters

    def colleagues_leave(self) -> None:
        for machine in self.fleet.machines.values():
            for process in list(machine.procs.values()):
                if process.role == "foreign":
                    machine.end(process, 0)

    def request(self, kind: str, target: str) -> None:
        machine = self.machine
        if machine.disk.full:
            return
        machine.freeze(True)
        machine.set_time(machine.uptime + 0.001)  # no two requests come at one time
        with OS.on(machine):
            for daemon in self.daemons[:1]:
                product.requests.submit(daemon.paths, RequestKind(kind), target, "u", machine.now)
        machine.freeze(False)
        for daemon in self.daemons:
            daemon.next_at = 0.0

    def lose_ledger(self) -> None:
        """Its file is deleted, and no loop has it in memory."""
        for daemon in self.daemons:
            if daemon.machine is not self.machine:
                continue
            daemon.world = None
            daemon.database.contents = None
            daemon.database.version += 1
        self.machine.ledger_lost = True

    def forget(self, host: str) -> None:
        """A user gives a host up."""
        self.machine.forgotten.add(host)
        self.request("forget_host", host)

    def expect_completed(self, project: str) -> None:
        """L1: all jobs of a project are over by now, where at most one thing went wrong."""
        if not self._is_calm():
            return
        for daemon in self.daemons:
            states = daemon.snapshot.plan.states.values() if daemon.snapshot else ()
            for state in states:
                if state.project == project and state.status is not JobStatus.COMPLETED:
                    self.machine.wrong(f"L1: {state.job} is {state.status} by now: {state.message}")

    def expect_started(self, host: str, job: str) -> None:
        """L1: a job runs, or ran, on a host by now."""
        if self._is_calm() and not any(start.job == job and start.host == host for start in self.machine.starts):
            self.machine.wrong(f"L1: {job} was not started on {host} by now")

    def _is_calm(self) -> bool:
        """Things can be expected at certain times: at most one thing goes wrong."""
        return len(self.plan.faults) < 2 and not self.lost_events and not self.scenario.mixed

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
            daemon = min(self.daemons, key=lambda daemon: daemon.due)
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
            len(self.machine.forgotten),
        )

    def _happen(self) -> None:
        while self.happenings and self.happenings[0][0] <= self.elapsed:
            self.happenings.pop(0)[1](self)
            for daemon in self.daemons:
                daemon.next_at = min(daemon.next_at, daemon.machine.uptime)  # inotify

    def _sleep_until(self, daemon: Daemon) -> None:
        """Sleep until the daemon's time, news of a host, a marker in the spool or the next happening."""
        try:
            self._sleep(daemon)
        except SimCrash:
            self._power_failed()
            return
        self._happen()

    def _sleep(self, daemon: Daemon) -> None:
        machine = daemon.machine
        if len(self.loop_machines) > 1:
            self.fleet.catch_up(machine.true)
        until = daemon.due
        if self.happenings:
            until = min(until, self.machine.true + max(0.0, self.happenings[0][0] - self.elapsed))
        while machine.true < until - ROUNDING_S and not daemon.woken:
            at = self.fleet.next_event_at()
            step = until if at is None else min(until, max(at, machine.true))
            self.fleet.catch_up(step)
            self.fleet.deliver()
            self._hear_spool(daemon)

    def _hear_spool(self, daemon: Daemon) -> None:
        machine = daemon.machine
        if machine.spool_dirty:
            machine.spool_dirty = False
            daemon.hear(SPOOL)

    def _power_failed(self) -> None:
        for machine in self.loop_machines:
            if machine is self.machine and machine.power_failed:
                self.reboot(power=True)
            elif machine.power_failed:
                self._reboot(machine, power=True)

    def _tick(self, daemon: Daemon) -> bool:
        """One tick of one daemon; whether it found nothing left to do."""
        machine = daemon.machine
        now = machine.uptime
        ended = daemon.snapshot is not None and daemon.snapshot.ledger.open_attempts
        woken_early = daemon.snapshot is not None and now < daemon.next_at
        since = now - daemon.last_full_at
        full_every = _full_every_s(daemon.snapshot) if ended and daemon.snapshot else RESYNC_S
        hosts = _hosts_of(daemon.woken) if daemon.woken else None
        full = not woken_early or since >= full_every or hosts == frozenset()
        if self.audit_every and daemon.ticks % self.audit_every == 0:
            oracles.check_diff(daemon)
        alive = daemon.tick(full=full, woken=hosts)
        if full:
            daemon.last_full_at = now
        if daemon.looked and daemon.snapshot is not None:
            oracles.check_snapshot(machine, daemon)
        if machine.power_failed:
            self._power_failed()
            return False
        if not alive:
            machine.loop_dead = False
            daemon.next_at = machine.uptime + RESTART_S
            return False
        assert daemon.snapshot is not None
        daemon.next_at = machine.uptime + max(0.0, daemon.rest_s())
        if daemon.done or self.happenings or not finished(daemon.snapshot):
            return False
        silent = any(isinstance(view, Unknown) for view in daemon.snapshot.observed.hosts.values())
        # a loop that goes on looks whether the environment is mended
        tried = any(state.reason is Reason.ENVIRONMENT_BROKEN for state in daemon.snapshot.plan.states.values())
        return not (silent or tried)
