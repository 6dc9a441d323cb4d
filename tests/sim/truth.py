"""What truly became of every payload, kept by whoever does something to them: oracles that the machine alone lacks."""

from __future__ import annotations

from reconciler.model.enums import ActionKind
from reconciler.model.plan import Settle
from reconciler.model.snapshot import Snapshot
from tests.sim.daemon import Daemon
from tests.sim.faults import COSTS_ATTEMPTS, STALE
from tests.sim.machine import Process
from tests.sim.payloads import OOM_TEXT
from tests.sim.run import Run
from tests.sim.scenarios import Scenario

AUDIT_EVERY = 3
"""So often two looks and `exq diff` are compared between acts."""


class Truth(Run):
    """A run that knows who was hit, who ended well, and who may be ended."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.hurt: set[str] = set()
        """Jobs that something has happened to."""
        self.hurt_all = False
        self.stops_asked: set[str] = set()
        self.commands: dict[str, list[str]] = {}
        """What each attempt runs."""
        self.well: dict[str, str] = {}
        """Jobs that truly ended well, and their attempt."""
        super().__init__(scenario, seed, audit_every=AUDIT_EVERY)
        self._listen()

    @property
    def daemon(self) -> Daemon:
        return self.daemons[0]

    def payloads(self) -> list[Process]:
        return [process for process in self.machine.procs.values() if process.role == "payload"]

    def harm(self) -> None:
        """What ended well may not have reached the disk, and what runs may not end well."""
        self.hurt_all = True
        self.well.clear()

    def unsure(self) -> bool:
        return self.hurt_all or self.excused()

    def _listen(self) -> None:
        machine = self.machine
        start, end, check = machine.user_code_starts, machine.end, machine.check_signal

        def user_code_starts(process: Process) -> None:
            start(process)
            self._note_start(process)
            job = (process.attempt or "").rpartition("/")[0]
            if job in self.well and not self.excused():
                machine.wrong(f"S6: {process.attempt} starts, and {self.well[job]} had ended well")

        def ends(process: Process, code: int) -> None:
            if process.alive and process.role == "payload":
                self._note_end(process, code)
            end(process, code)

        def check_signal(process: Process) -> None:
            check(process)
            if process.role == "payload" and not self._may_be_ended(process):
                machine.wrong(f"S5: {process.attempt} is signalled, and nobody asked for that")

        machine.user_code_starts, machine.end, machine.check_signal = (  # type: ignore[method-assign]
            user_code_starts,
            ends,
            check_signal,
        )

    def _tick(self, daemon: Daemon) -> bool:
        quiet = super()._tick(daemon)
        if daemon.looked and daemon.snapshot is not None:
            self._check_completions(daemon.snapshot)
        return quiet

    def _check_completions(self, snapshot: Snapshot) -> None:
        """What is completed by its outputs has written them."""
        if self.machine.ledger_lost or any(fault.kind == STALE for fault in self.plan.hit):
            return
        for action in snapshot.plan.actions:
            job = snapshot.desired.index.get(action.job)
            if not isinstance(action, Settle) or action.kind is not ActionKind.COMPLETE or not action.attempt:
                continue
            if job is None or not job.outputs or job.generation != action.generation:
                continue  # it was not asked for these outputs
            file = self.machine.disk.entries.get(f"/sim/{job.outputs[0]}")
            if file is not None and not file.data.startswith(f"{action.path} ".encode()):
                self.machine.wrong(f"S11: {action.path} is completed by outputs that it has not written")

    def excused(self) -> bool:
        lost = self.machine.ledger_lost or self.machine.disk.full
        return lost or any(fault.kind in COSTS_ATTEMPTS for fault in self.plan.hit)

    def _note_end(self, process: Process, code: int) -> None:
        """Well: with its output written, and with a shim that records it."""
        attempt = process.attempt or ""
        job = attempt.rpartition("/")[0]
        recorded = any(other.role == "shim" and other.attempt == attempt for other in self.machine.procs.values())
        sound = job not in self.stops_asked and not self.machine.disk.full
        if code == 0 and recorded and sound and self._has_written(process):
            self.well[job] = attempt

    def _has_written(self, process: Process) -> bool:
        file = self.machine.disk.entries.get(f"/sim/{self.words(process)[3]}")
        return file is not None and file.data.startswith(f"{process.attempt} ".encode())

    def _may_be_ended(self, process: Process) -> bool:
        job = (process.attempt or "").rpartition("/")[0]
        return job in self.hurt or self._has_written(process) or OOM_TEXT in self._log(process)

    def folder(self, process: Process) -> str:
        return f"{process.state}/attempts/{process.attempt}"

    def _log(self, process: Process) -> str:
        file = self.machine.disk.entries.get(f"{self.folder(process)}/log")
        return file.data.decode() if file is not None else ""

    def words(self, process: Process) -> list[str]:
        """`sim KIND SECONDS OUTPUT ...`, as it was when it started."""
        return self.commands.get(process.attempt or "", ["sim", "missing", "0", "-"])

    def _note_start(self, process: Process) -> None:
        file = self.machine.disk.entries.get(f"{self.folder(process)}/job.sh")
        words = file.data.decode().rstrip("\n").rsplit("\n", 1)[-1].split() if file is not None else []
        if len(words) > 3:
            self.commands[process.attempt or ""] = words
