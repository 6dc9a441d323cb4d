"""One loop and 50 hosts with 8 GPUs each: what a tick takes of the loop's processor, the network and the hosts apart.

The hosts are played: links, frames and parsing are the real ones, and the answers are those that the real agent gave
here, with 8 jobs running on 8 GPUs, in the names of each host.
"""

from __future__ import annotations

import copy
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from reconciler import loop
from reconciler.host.agent import VERSION, Agent
from reconciler.host.ssh import wire
from reconciler.host.ssh.link import SshHost
from reconciler.loop.world import World
from reconciler.model.spec import LOCAL_HOST
from tests.bench.cases import Case, a_lab
from tests.bench.figures import Figure, Taken, median, timed
from tests.integration.lab import Lab

HOSTS = 50
GPUS = 8
JOBS = 2 * HOSTS * GPUS
"""Half of them run, half of them wait."""
STARTED_S = 30.0
Json = dict[str, Any]


def fleet_ticks(_floor_s: float) -> Iterator[Figure]:
    """The first look at the fleet, the tick that fills it, and ticks that find it full."""
    captured = Captured.here()
    looks, fills, steady, replanned = [], [], [], []
    for _ in range(3):
        with a_lab() as lab:
            fleet_spec(lab)
            played = Played(captured)
            with loop.open_world(lab.specs, lab.state, writable=True, env=lab.env) as world:
                world.connect = played.connect
                looks.append(played.cost(lambda world=world: loop.look(world)))
                assert len(world.last.plan.actions) == HOSTS * GPUS
                world.last = None  # as if this were the first
                fills.append(played.cost(lambda world=world: loop.tick(world)))
                loop.tick(world)
                assert not world.last.plan.actions
                assert len(world.last.ledger.open_attempts) == HOSTS * GPUS
                steady += [played.cost(lambda world=world: loop.tick(world)) for _ in range(7)]
                replanned += [played.cost(lambda world=world: replan(world)) for _ in range(7)]
                played.close()
    of = f"{HOSTS} hosts x {GPUS} GPUs, {JOBS} jobs"
    yield _figure(f"{of}: first look and plan", median(looks), "200 ms")
    yield _figure(f"{of}: tick that launches {HOSTS * GPUS}", median(fills), "200 ms")
    yield _figure(f"{of}: steady tick", median(steady), "200 ms")
    yield _figure(f"{of}: steady tick, planned anew", median(replanned), "200 ms")


def _figure(name: str, taken: Taken, budget: str) -> Figure:
    """CPU time is what counts: by the clock, the playing of the hosts is in it."""
    return Figure(f"{name} (CPU)", taken.cpu_s, budget=budget)


def replan(world: World) -> None:
    """A tick in which the last plan does not hold any more."""
    assert world.last is not None
    world.last = replace(world.last, now=world.clock() + 1e6)
    loop.tick(world)


def fleet_spec(lab: Lab) -> None:
    """A grid of jobs with outputs for all GPUs of all hosts."""
    hosts = ", ".join(f"h{number:02}" for number in range(HOSTS))
    values = ", ".join(str(number) for number in range(JOBS))
    lab.spec(
        f"project: fleet\ncwd: WORK\nhosts: [{hosts}]\ngpus: all\ngrid: {{i: [{values}]}}\n"
        "template: {id: 'j${i}', cmd: 'train ${i}', output_check: 'out/${i}'}\n"
    )


class Captured:
    """What the real agent says of a host with 8 GPUs: with nothing on them, and with a job on each."""

    def __init__(self, hello: Json, idle: Json, busy: Json, gpu_of: Mapping[str, int]) -> None:
        self.hello = hello
        self.idle = idle
        self.busy = busy
        self.gpu_of = gpu_of
        """By attempt, the GPU it is on."""

    @classmethod
    def here(cls) -> Captured:
        """Ask it, on this machine, in front of the fake GPUs of the tests."""
        with a_lab() as lab:
            lab.gpus(GPUS)
            jobs = ", ".join(str(number) for number in range(GPUS + 1))
            lab.spec(
                f"project: g\ncwd: WORK\nlauncher: screen\ngpus: all\ngrid: {{i: [{jobs}]}}\n"
                "template: {id: 'j${i}', cmd: 'FAKE_GPU_MIB=9000 sleep 300; echo ${i}', output_check: 'out/${i}'}\n"
            )
            os.environ.update({"SCREENDIR": str(lab.screens), "FAKE_NVIDIA_SMI": lab.env["FAKE_NVIDIA_SMI"]})
            agent = _Overheard(str(lab.state), {"screen": "screen", "nvidia_smi": lab.env["NVIDIA_SMI"]})
            with loop.open_world(lab.specs, lab.state, writable=True, env=lab.env) as world:
                world.agents[LOCAL_HOST] = agent
                loop.tick(world)
                idle = agent.probes[-1]
                opened = world.ledger.ledger().open_attempts
                gpu_of = {path: attempt.gpu_indices[0] for path, attempt in opened.items()}
                lab.wait("its jobs to hold their GPUs", lambda: _all_busy(agent, world), STARTED_S)
            return cls(agent.handle({"op": "hello"}), idle, agent.probes[-1], gpu_of)


def _all_busy(agent: _Overheard, world: World) -> bool:
    loop.tick(world)
    probe = agent.probes[-1]
    running = [facts for facts in probe["attempts"].values() if facts["started"] and facts["tree_alive"]]
    return len(running) == len(probe["gpus"]["owners"]) == GPUS


class _Overheard(Agent):
    """The agent, with its answers kept."""

    def __init__(self, state: str, settings: Json) -> None:
        super().__init__(state, settings)
        self.probes: list[Json] = []

    def handle(self, request: Json) -> Json:
        reply = super().handle(request)
        if request["op"] == "probe":
            self.probes.append(copy.deepcopy(reply))
        return reply


class Played:
    """All the hosts, and what playing them costs."""

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self._links: list[SshHost] = []
        self._lock = threading.Lock()
        self._cost_s = 0.0

    def connect(self, name: str) -> SshHost:
        """For `World.connect`."""
        made = SshHost(name, connect=lambda _name, _closers: _PlayedConnection(self, name))
        self._links.append(made)
        return made

    def cost(self, action: Callable[[], object]) -> Taken:
        """What it takes, without the playing."""
        before = self._cost_s
        taken = timed(action)
        return Taken(taken.wall_s, taken.cpu_s - (self._cost_s - before))

    def add(self, cost_s: float) -> None:
        with self._lock:
            self._cost_s += cost_s

    def close(self) -> None:
        for link in self._links:
            link.close()


class _PlayedConnection:
    def __init__(self, played: Played, name: str) -> None:
        self._stream = _PlayedHost(played, name)

    def open(self, _command: str) -> _PlayedHost:
        return self._stream

    def round_trip_s(self) -> float | None:
        return 0.001

    def silent_s(self) -> float:
        return 0.0

    def close(self) -> None:
        self._stream.close()


class _PlayedHost:
    """One host: it says what the real one said, with its own names in it."""

    def __init__(self, played: Played, name: str) -> None:
        self._played = played
        self._name = name
        self._said: SimpleQueue[bytes] = SimpleQueue()
        self._unpacker: wire.Unpacker | None = None
        self._attempts: dict[int, Json] = {}
        self._answers: dict[str, bytes] = {}

    def write(self, data: bytes) -> None:
        start_s = time.thread_time()
        if self._unpacker is None:  # the agent's source, and the start
            self._unpacker = wire.Unpacker()
            hello = wire.pack({**self._played.captured.hello, "id": 0})[0]
            self._said.put(b"\nEXQ-AGENT %d\n" % VERSION + hello)
        else:
            for request, _blob in self._unpacker.feed(data):
                self._said.put(self._answer(request))
        self._played.add(time.thread_time() - start_s)

    def read(self, _limit_bytes: int) -> bytes:
        return self._said.get()

    def ending(self) -> tuple[int | None, str]:
        return None, ""

    def close(self) -> None:
        self._said.put(b"")

    def _answer(self, request: Json) -> bytes:
        number = request.pop("id")
        if request["op"] == "launch":
            self._attempts[request["intent"]["gpu_indices"][0]] = request
            return wire.pack({"launched": True, "launcher": request["launcher"], "id": number})[0]
        if request["op"] == "write_file":
            return wire.pack({"written": True, "id": number})[0]
        assert request["op"] == "probe", request["op"]
        asked = json.dumps(request)
        if asked not in self._answers:
            self._answers[asked] = json.dumps(self._probe(request), separators=(",", ":")).encode()
        body = f'{{"id":{number},"now":{time.time()},'.encode() + self._answers[asked][1:]
        return b"%d 0\n" % len(body) + body

    def _probe(self, request: Json) -> Json:
        captured = self._played.captured
        told = self._renamed(captured.busy if self._attempts else captured.idle)
        (nothing,) = {json.dumps(facts) for facts in captured.idle["outputs"].values()}
        reply = {key: value for key, value in told.items() if key != "now"}
        assert {row["path"] for row in request["attempts"]} <= set(reply["attempts"])
        reply["outputs"] = dict.fromkeys(request["outputs"], json.loads(nothing))
        if "index" in request:
            reply["index"] = {}
        return reply

    def _renamed(self, told: Json) -> Json:
        # a boot of its own: two names with one boot are one machine
        text = json.dumps(told).replace(json.dumps(told["boot_id"]), json.dumps(f"boot of {self._name}"))
        for path, gpu in self._played.captured.gpu_of.items() if self._attempts else ():
            mine = self._attempts[gpu]
            text = text.replace(f'"{path}"', json.dumps(mine["path"]))
            text = text.replace(f".exq.{path.replace('/', '.')}\\t", f".{mine['session']}\\t")
        renamed: Json = json.loads(text)
        return renamed


ALL: tuple[Case, ...] = (fleet_ticks,)
