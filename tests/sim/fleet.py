"""Further hosts: each a machine of its own, reached through a link that can refuse, lose, delay and be cut.

All machines share one true time. Each has its own clock and runs when it is spoken to, or when time passes for all; a
host may be ahead of the loop that asked it, as its answer is then still on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from reconciler.host.reply import Reply
from reconciler.loop.world import news_of
from tests.sim import product
from tests.sim.fake_os import OS, SHIM_TEXT
from tests.sim.faults import (
    GARBAGE,
    HOST_REBOOT,
    LATE,
    LOSE_REPLY,
    LOSE_REQUEST,
    PARTITION,
    REFUSE,
    RESTART,
    SLOW,
    FaultPlan,
    SimCrash,
)
from tests.sim.machine import Machine, Process, Script

if TYPE_CHECKING:
    from tests.sim.daemon import Daemon

LATENCY_S = 0.02
NEXT_TRY_S = 20.0
"""After a connection that failed, as the back-off has it."""
NOTICED_S = (0.01, 8.0)
"""How long it takes until a connection that broke is given up."""
LATE_S = (0.4, 3.0, 20.0)
SLOW_S = (0.6, 5.0, 20.0, 60.0)
CUT_S = (4.0, 25.0, 70.0)
ROUNDING_S = 1e-6
TINY_S = 1e-7
"""By so much more time passes, so that what is due is not missed by a rounding error."""
RETRY_S = (0.0, 2.0, 5.0)
"""Before this, no connection is tried."""
START = {
    "op": "start",
    "wire": product.agent.VERSION,
    "settings": {"screen": "screen", "nvidia_smi": "nvidia-smi", "shim": SHIM_TEXT},
}
HOME = ""
"""The machine that the loop runs on."""

Answer = dict[str, Any]


class LateReply(Reply):
    """An answer that is there at a true time. Whoever waits for it lets time pass."""

    def __init__(self, link: Link, due: float, answer: Answer) -> None:
        super().__init__()
        self._link = link
        self.due = due
        self._late = answer

    @property
    def done(self) -> bool:
        self.arrive()
        return super().done

    def arrive(self) -> None:
        """Be there, if it is time."""
        if self.due <= self._link.home.true + ROUNDING_S:
            self.put(self._late)

    def lose(self) -> None:
        """The connection ends before it comes."""
        if not self.done:
            self.due, self._late = self._link.home.true, _lost(self._link.host)

    def wait(self, timeout_s: float | None = None) -> Answer | None:
        home = self._link.home
        left_s = self.due - home.true
        if left_s > 0 and not home.frozen:
            home.advance(left_s if timeout_s is None else min(left_s, timeout_s))
        self.arrive()
        return self._answer

    def on_done(self, callback: Callable[[], None]) -> None:
        self.arrive()
        super().on_done(callback)
        if not self._event.is_set():
            self._link.fleet.pending.append(self)


def _lost(host: str) -> Answer:
    return {"error": f"the connection to {host} broke; whether it was carried out is not known", "kind": "lost"}


class Fleet:
    """All machines of a run. The first is the loop's own; further loops may have machines of their own."""

    def __init__(self, seed: int, faults: FaultPlan, gpus: int = 0) -> None:
        self.home = Machine(seed, faults, gpus)
        self.machines: dict[str, Machine] = {HOME: self.home}
        self.pending: list[LateReply] = []
        """Answers whose coming somebody wants to hear of."""
        self.links: list[Link] = []
        self.cut: dict[str, float] = {}
        """Until when a host cannot be reached."""
        self.disasters = 0
        self.lost_events = 0.0
        """The share of wake-ups that never come."""
        self._seed = seed

    def add(self, name: str, gpus: int, ahead_s: float = 0.0) -> Machine:
        """One more machine, with a clock that is so far ahead."""
        home = self.home
        made = Machine(f"{self._seed} {name}", home.faults, gpus, name=name, beside=home)
        made.offset += ahead_s
        made.set_time(0.0)
        self.machines[name] = made
        home.catch_up = self.catch_up_hosts
        made.catch_up = self.catch_up_hosts
        return made

    @property
    def hosts(self) -> Iterator[Machine]:
        """Those that no loop runs on."""
        return (machine for machine in self.machines.values() if not machine.has_loop)

    @property
    def has_several_loops(self) -> bool:
        return sum(machine.has_loop for machine in self.machines.values()) > 1

    # time

    def next_event_at(self) -> float | None:
        """The true time of the next thing that happens by itself on any machine, or arrives."""
        times = [reply.due for reply in self.pending]
        for machine in self.machines.values():
            at = machine.next_event_at()
            if at is not None:
                times.append(max(at, machine.uptime) + machine.epoch)
        return min(times, default=None)

    def catch_up(self, true: float) -> None:
        """Let all machines come to a time. Raises SimCrash when the power of a loop's machine fails."""
        self.catch_up_hosts(true)
        for machine in self.machines.values():
            if machine.has_loop:
                machine.advance(max(0.0, true - machine.true) + TINY_S)

    def catch_up_hosts(self, true: float) -> None:
        for machine in self.machines.values():
            if not machine.has_loop:
                self.bring(machine, true)

    def bring(self, machine: Machine, true: float) -> None:
        """Let one host come to a time; its power may fail meanwhile."""
        while not machine.running:
            try:
                machine.advance(max(0.0, true - machine.true) + TINY_S)
                return
            except SimCrash:
                self.reboot(machine, power=True)

    def deliver(self) -> None:
        """Answers that have come, and news of hosts."""
        for reply in list(self.pending):
            reply.arrive()
            if reply.done:
                self.pending.remove(reply)
        for machine in self.hosts:
            if machine.spool_dirty:
                machine.spool_dirty = False
                for link in self.links:
                    link.hear(machine)

    # disasters

    def reboot(self, machine: Machine, *, power: bool) -> None:
        """A host goes down and comes up, with other processes under the pids of those that are gone."""
        machine.restart(power=power)
        self.disasters += 1
        machine.down_until = machine.true

    def unreachable(self, host: str, now: float) -> bool:
        return self.cut.get(host, 0.0) > now or self.machines[host].down_until > now

    def connect(self, host: str, daemon: Daemon) -> Link:
        """A link for a loop. Those of its earlier lives are gone."""
        self.links = [link for link in self.links if link.is_of_a_living_loop()]
        link = Link(self, host, daemon)
        self.links.append(link)
        return link


class Link:
    """Answers as the product's connection over SSH does, and is the agent's only way to be asked."""

    def __init__(self, fleet: Fleet, host: str, daemon: Daemon, *, listens: bool = True) -> None:
        self.fleet = fleet
        self.host = host
        self.home = daemon.machine
        self._machine = fleet.machines[host]
        self._daemon = daemon
        self._life = daemon.lives
        self._listens = listens
        self._agent: Any = None
        self._boot = 0
        self._free_at = 0.0
        """When the agent there has answered all that it was asked."""
        self._retry_at = 0.0
        self._open: list[LateReply] = []

    def is_of_a_living_loop(self) -> bool:
        return self._daemon.world is not None and self._daemon.lives == self._life

    def open_second(self) -> Link:
        """A further agent over the same connection."""
        return Link(self.fleet, self.host, self._daemon, listens=False)

    def hear(self, machine: Machine) -> None:
        """Markers have appeared there: the agent tells of them, if there is one and the news gets through."""
        lives = machine is self._machine and self._agent is not None and self._boot == machine.boot
        if lives and not self.fleet.unreachable(self.host, self.home.true):
            self._tell()

    def _tell(self) -> None:
        if self._listens and self.is_of_a_living_loop():
            self._daemon.hear(news_of(self.host))

    def handle(self, request: Answer) -> Answer:
        answer = self.send(request).wait()
        assert answer is not None
        return answer

    def send(self, request: Answer) -> Reply:
        """Ask. What goes wrong is decided here; the answer comes when it comes."""
        home = self.home
        if home.frozen:
            return Reply(self._look(request))
        kind = home.op("link", f"{self.host} {request['op']} {request.get('path', '')}")
        reply = self._send(request, kind)
        home.done(kind)
        return reply

    def _send(self, request: Answer, kind: str | None) -> Reply:
        now = self.home.true
        if self._retry_at > now or self.fleet.unreachable(self.host, now):
            self._break()
            return Reply(self._unreachable())
        self.fleet.bring(self._machine, now + LATENCY_S / 2)
        if kind == REFUSE:
            self._fail(now)
            return Reply(self._unreachable())
        if kind in (LOSE_REQUEST, PARTITION, HOST_REBOOT, LATE):
            return self._not_delivered(request, kind, now)
        if kind == RESTART:
            self._break()
        slow_s, first = 0.0, False
        if kind == SLOW:
            slow_s, first = self._choose(SLOW_S), self._choose((True, False))
        if first:
            self.fleet.bring(self._machine, self._machine.true + slow_s)
        answer = self._ask(request)
        if answer is None or kind == LOSE_REPLY:
            self._fail(now)
            return self._reply(now + self._choose(NOTICED_S), _lost(self.host))
        if kind == GARBAGE:
            answer = product.GARBLED[self.home.faults.count % 3]
        return self._reply(self._machine.true + LATENCY_S / 2 + (0.0 if first else slow_s), answer)

    def _not_delivered(self, request: Answer, kind: str | None, now: float) -> Reply:
        if kind == PARTITION:
            self.fleet.cut[self.host] = now + self._choose(CUT_S)
        elif kind == HOST_REBOOT:
            self.fleet.reboot(self._machine, power=False)
        elif kind == LATE:
            self._deliver_later(request, self._agent if self._boot == self._machine.boot else None)
        self._fail(now)
        return self._reply(now + self._choose(NOTICED_S), _lost(self.host))

    def _reply(self, due: float, answer: Answer) -> LateReply:
        """Answers come in the order of the questions."""
        self._free_at = max(self._free_at, due)
        reply = LateReply(self, self._free_at, answer)
        self._open = [other for other in self._open if other.due > self.home.true]
        self._open.append(reply)
        return reply

    def _choose(self, among: tuple[Any, ...]) -> Any:
        return self.home.rng.choice(among)

    def _unreachable(self) -> Answer:
        words = f"{self.host} cannot be reached"
        return {"error": words, "kind": "unreachable", "next_try_at": self.home.now + NEXT_TRY_S}

    def _fail(self, now: float) -> None:
        """The connection breaks, or cannot be made: that is news, and for a moment no other is tried."""
        self._break()
        self._retry_at = now + self._choose(RETRY_S)
        self._tell()

    def _break(self) -> None:
        """The connection ends: what was on its way back is lost, the next one has an agent of its own."""
        self._agent = None
        for reply in self._open:
            reply.lose()
        self._open.clear()
        self._free_at = 0.0

    # on the host

    def _look(self, request: Answer) -> Answer:
        """An oracle looks: nothing happens, and nothing takes time."""
        if self.fleet.unreachable(self.host, self.home.true):
            return self._unreachable()
        with OS.on(self._machine):
            return self._ready()[1] or self._agent.handle(request)  # type: ignore[no-any-return]

    def _ready(self) -> tuple[Any, Answer | None]:
        """The agent there, or why there is none. Raises SimCrash."""
        if self._agent is None or self._boot != self._machine.boot:
            agent, hello = product.agent.start_agent(START)
            if agent is None:
                return None, {**hello, "kind": "unreachable"}
            self._agent, self._boot = agent, self._machine.boot
        return self._agent, None

    def _ask(self, request: Answer) -> Answer | None:
        """Its answer; None when the agent, or the whole host, ends meanwhile."""
        machine = self._machine
        with OS.on(machine):
            try:
                agent, refusal = self._ready()
                return refusal or _answer_of(machine, agent, request)
            except SimCrash:
                self._agent = None
                machine.loop_dead = False
        if machine.power_failed:
            self.fleet.reboot(machine, power=True)
        return None

    def _deliver_later(self, request: Answer, agent: Any) -> None:
        """The old connection's bytes arrive after all, at the agent that served it, when the loop has moved on."""
        machine, delay_s = self._machine, self._choose(LATE_S)

        def arrive(_process: Process) -> Script:
            yield delay_s
            with OS.on(machine):
                try:
                    serving = agent or product.agent.start_agent(START)[0]
                    if serving is not None:
                        _answer_of(machine, serving, request)
                except SimCrash:
                    if machine.power_failed:
                        raise
                    machine.loop_dead = False
            return 0

        machine.spawn("agent", arrive)


def _answer_of(machine: Machine, agent: Any, request: Answer) -> Answer:
    is_kill = request["op"] == "kill"
    outer = machine.acting
    machine.acting = (agent.state, str(request.get("path"))) if is_kill else outer
    try:
        answer: Answer = agent.handle(dict(request))
    finally:
        machine.acting = outer
    if machine.loop_dead:
        raise AssertionError("a crash was swallowed")
    return answer
