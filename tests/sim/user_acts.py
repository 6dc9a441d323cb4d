"""A world for a user's acts: specs that are edited by hand while the loop runs, payloads that end as they are told.

`Lab` is a run without a script of its own: whoever holds it does one thing after the other, and `settle` ends it. To
the oracles of the campaigns it adds what only somebody knows who keeps count of the acts: what was never hit has to
end well, what ended well is not run again, what nobody asked to end is left alone."""

from __future__ import annotations

from dataclasses import replace

from reconciler.loop.run import RESYNC_S
from reconciler.model.enums import JobStatus
from reconciler.model.snapshot import Snapshot
from tests.sim import product
from tests.sim.acts import ACTS, AMENDS
from tests.sim.daemon import PASSED
from tests.sim.drafts import Draft
from tests.sim.machine import Process
from tests.sim.payloads import ERROR_TEXT, OOM_TEXT
from tests.sim.run import RESTART_S
from tests.sim.scenarios import Scenario
from tests.sim.truth import Truth

NEVER_WELL = frozenset({"fail", "noout", "stain", "flaky", "oom"})
"""Kinds of payloads that may use up their tries."""
TICKS_A_SECOND, TICKS_AT_ONCE = 20, 40
"""More ticks than that in some time: the loop spins."""
TEXTS_KEPT = 2_000
"""So many specs are remembered in a long soak."""
HARMFUL = frozenset({"kill-shim", "kill-payload", "remove-folder", "lose-ledger", "full", "power"})
"""Acts after which a job may be stuck that would have completed, or be run again that had ended well."""


class Lab(Truth):
    """One loop, the folder of drafts it reads, and the truth about what was done to whom."""

    def __init__(self, seed: int, gpus: int, drafts: dict[str, Draft], sticky: int = 0) -> None:
        if product.specs.load_text.cache_info().currsize > TEXTS_KEPT:
            product.specs.load_text.cache_clear()
            PASSED.clear()
        self.drafts = dict(drafts)
        self.versions: list[tuple[str, Draft]] = list(drafts.items())
        self.down_until = 0.0
        self.latest = 0.0
        specs = {name: draft.text() for name, draft in drafts.items()}
        super().__init__(Scenario("user acts", "", specs, gpus, sticky_screens=sticky), seed)

    # the specs

    def names(self) -> list[str]:
        return sorted(self.drafts)

    def draft(self, name: str, draft: Draft) -> None:
        """Save a spec in an editor."""
        self.drafts[name] = draft
        self.versions.append((name, draft))
        self.put(name, draft.text())

    def put(self, name: str, text: str) -> None:
        """Write a file as it is told, and wake the loop."""
        self.edit(name, text)
        self.wake()

    def remove(self, name: str) -> None:
        self.drafts.pop(name, None)
        self.delete(name)
        self.wake()

    # payloads and loop

    def end_payload(self, which: int, how: str) -> None:
        """`finishes`, `crashes`, `runs out of memory` or `is killed`."""
        live = self.payloads()
        if not live:
            return
        process = live[which % len(live)]
        if how == "finishes":
            self._finish(process)
            return
        self.hurt.add((process.attempt or "").rpartition("/")[0])
        log = self.machine.disk.entries.get(f"{self.folder(process)}/log")
        text = {"crashes": ERROR_TEXT, "runs out of memory": OOM_TEXT}.get(how, "")
        if log is not None and not self.machine.disk.full:
            self.machine.disk.write(log, text.encode())
        self.machine.end(process, 137 if how == "is killed" else 1)

    def _finish(self, process: Process) -> None:
        """Earlier than it would have; what it writes is what it would have written."""
        output = self.words(process)[3]
        if self.machine.disk.full or output == "-":
            return
        text = f"{process.attempt} {self.machine.uptime}"
        self.machine.disk.put(f"/sim/{output}", text.encode())
        self.machine.end(process, 0)

    def kill_loop(self, down_s: float) -> None:
        """`kill -9`; it is started again some time later."""
        self.daemon.world = None
        self.down_until = self.daemon.next_at = self.machine.uptime + max(RESTART_S, down_s)

    def trouble(self, after: int, kind: str, times: int) -> None:
        """So many of the next operations go wrong, where that can happen to them."""
        first = self.plan.count + after
        self.plan.faults.update(dict.fromkeys(range(first, first + times), kind))

    def wake(self) -> None:
        """What inotify does for a loop that runs."""
        self.daemon.next_at = min(self.daemon.next_at, max(self.machine.uptime, self.down_until))

    def ask(self, kind: str, target: str) -> None:
        """A command of exq."""
        if kind == "stop":
            self.stops_asked.add(target)
            self.hurt.add(target)
            self.well.pop(target, None)
        self.request(kind, target)
        self.daemon.next_at = max(self.daemon.next_at, self.down_until)

    def keys(self) -> list[str]:
        """Jobs that the loop knows."""
        return sorted(self.daemon.snapshot.desired.index) if self.daemon.snapshot else []

    def reboot(self, *, power: bool) -> None:
        super().reboot(power=power)
        self.down_until = 0.0
        if power:
            self.harm()

    def happen(self, act: str) -> None:
        """One of the acts of the random campaigns."""
        if act in HARMFUL:
            self.harm()
        ACTS[act](self)
        self.wake()

    def jump(self, seconds: float) -> None:
        """The clock is set."""
        self.latest = max(self.latest, self.machine.now)
        self.machine.offset += seconds
        self.machine.set_time(0.0)

    # time

    def _happen(self) -> None:
        while self.happenings and self.happenings[0][0] <= self.elapsed:
            self.happenings.pop(0)

    def wait(self, seconds: float) -> None:
        """Let the loop do what it does for so long."""
        self.happenings = [(self.elapsed + seconds, lambda _run: None)]
        ticks = 0
        while self.happenings and not self.machine.violations:
            self._sleep_until(self.daemon)
            if self.happenings:
                self._tick(self.daemon)
                ticks += 1
            if ticks > TICKS_AT_ONCE + TICKS_A_SECOND * seconds:
                self.machine.wrong(f"L1: the loop spins: {ticks} ticks in {seconds} s")
        self.happenings = []

    def tick(self) -> None:
        """One tick now, whatever the loop sleeps for."""
        if self.machine.uptime >= self.down_until:
            self._tick(self.daemon)

    # the end

    def settle(self) -> None:
        """Faults stop, all that lasts is mended: it has to converge, and everything can be brought to its end."""
        self._amend()
        self._converge()
        snapshot = self.daemon.snapshot
        if self.machine.violations or snapshot is None:
            return
        self._check_ends(snapshot)
        if not self.machine.ledger_lost:
            self._cure(snapshot)

    def _amend(self) -> None:
        self.plan.faults.clear()
        self.lost_events = self.down_until = 0.0
        for name in AMENDS[:-1]:
            ACTS[name](self)
        for name in self.names():
            self.edit(name, self.drafts[name].text())
        if self.machine.now < self.latest and self._something_hangs():
            self.jump(self.latest - self.machine.now)
        self.machine.disk.sync_all_names()
        self.wake()
        self.wait(RESYNC_S)
        for key in sorted(self.daemon.database.contents.paused if self.daemon.database.contents else ()):
            self.ask("resume", key)
        self._stop_what_hangs()

    def _stop_what_hangs(self) -> None:
        """What hangs and is no longer what the specs ask for is left alone: its user ends it."""
        snapshot = self.daemon.snapshot
        for process in self.payloads():
            job, _, number = (process.attempt or "").rpartition("/")
            state = snapshot.plan.states.get(job) if snapshot else None
            wanted = state is not None and job in self.keys() and not state.drift and state.attempt == int(number)
            if not wanted and self.words(process)[1] in ("hang", "deaf"):
                self.ask("stop", job)

    def _something_hangs(self) -> bool:
        texts = "".join(draft.text() for _, draft in self.versions)
        return "sim hang" in texts or "sim deaf" in texts

    def _converge(self) -> None:
        self.daemon.next_at = min(self.daemon.next_at, self.machine.uptime + RESYNC_S)
        self.go()

    def _check_ends(self, snapshot: Snapshot) -> None:
        expected = self._expected_keys()
        if set(snapshot.desired.index) != expected:
            self.machine.wrong(f"L1: the specs ask for {sorted(expected)}, exq for {sorted(snapshot.desired.index)}")
            return
        for key, job in snapshot.desired.index.items():
            state = snapshot.plan.states[key]
            words = job.cmd.split()
            well = len(words) > 1 and words[1] not in NEVER_WELL and key not in self.hurt
            waits = state.drift or state.reason == "NeedsStuck"
            if well and not waits and not self.unsure() and state.status is not JobStatus.COMPLETED:
                self.machine.wrong(f"L1: nothing happened to {key}, and it is {state.status}: {state.message}")

    def _expected_keys(self) -> set[str]:
        first: dict[str, Draft] = {}
        for name in self.names():
            first.setdefault(self.drafts[name].project, self.drafts[name])
        return {f"{draft.project}/{job}" for draft in first.values() for job in draft.jobs}

    def _cure(self, snapshot: Snapshot) -> None:
        """Whatever has happened: with commands that work, and a retry, every job gets done."""
        for attempt in list(snapshot.ledger.open_attempts.values()):
            self.ask("stop", attempt.job)
        for name in self.names():
            draft = self.drafts[name]
            self.draft(
                name, replace(draft, jobs=dict.fromkeys(draft.jobs, "ok 1 0"), lrs=dict.fromkeys(draft.jobs, 77))
            )
        self._converge()
        for key in self.keys():
            self.ask("retry", key)
        self._converge()
        snapshot = self.daemon.snapshot or snapshot
        left = [f"{s.job} {s.status} ({s.message})" for s in snapshot.plan.states.values() if s.job in self.keys()]
        left = [text for text in left if f" {JobStatus.COMPLETED} " not in text]
        if left and not self.machine.violations:
            self.machine.wrong(f"L1: with sound commands and a retry not everything completes: {'; '.join(left)}")
