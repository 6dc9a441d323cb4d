"""The shim, step by step as shim.sh does it: between any two steps anything else may happen, and at each it may die."""

from __future__ import annotations

import re

from tests.sim.disk import Inode
from tests.sim.faults import FAIL, KILL_SHIM
from tests.sim.machine import Machine, Process, Script
from tests.sim.payloads import start_payload


class Ended(Exception):
    """The shim was killed, or gives up with this exit code and no record."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Shim:
    """One run of the shim. Between any two steps anything else may happen."""

    def __init__(self, machine: Machine, argv: list[str], in_screen: bool) -> None:
        self.machine = machine
        self.folder, self.marker, self.job_lock, *self.gpu_locks = argv
        self.attempt = "/".join(self.folder.split("/")[-3:])
        self.state = self.folder.rpartition("/attempts/")[0]
        self.in_screen = in_screen
        self.claim: Inode | None = None

    def script(self, process: Process) -> Script:
        self.process = process
        try:
            code = yield from self._run()
        except Ended as end:
            code = end.code
        return code

    def is_claimed(self) -> bool:
        """Someone was first."""
        return f"{self.folder}/claim" in self.machine.disk.entries

    def _has_folder(self) -> bool:
        """The folder that it stands in was not removed; another may have its name since."""
        return self.machine.disk.entries.get(f"{self.folder}/claim") is self.claim

    def _step(self, name: str) -> str | None:
        """A step that a fault can hit. Raises Ended for a shim that is killed there."""
        kind = self.machine.op("shim", f"{name} {self.attempt}")
        if kind == KILL_SHIM:
            raise Ended(137)
        return kind

    def _create(self, name: str) -> Inode | None:
        if not self._has_folder():
            return None
        try:
            return self.machine.disk.create(f"{self.folder}/{name}")
        except OSError:
            return None

    def _append(self, inode: Inode, text: str, kind: str | None) -> bool:
        try:
            if kind == FAIL:
                return False
            self.machine.disk.write(inode, text.encode())
        except OSError:
            return False
        return True

    def _run(self) -> Script:
        machine, disk, process = self.machine, self.machine.disk, self.process
        yield 0.0
        if not disk.is_folder(self.folder):
            return 74
        kind = self._step("claim")
        if self.is_claimed():
            return 75
        claim = self._create("claim") if kind != FAIL else None
        if claim is None:
            return 74
        self.claim = claim
        yield 0.0
        signed = f"shim {machine.boot_id} {process.pid} {process.start_ticks}\n"
        if not self._append(claim, signed, self._step("sign the claim")):
            return 74
        yield 0.0
        if f"{self.folder}/job.sh" not in disk.entries:
            return (yield from self._refuse(f"{self.folder}/job.sh is missing"))
        code = yield from self._take_locks()
        if code is not None:
            return code
        return (yield from self._payload())

    def _take_locks(self) -> Script:
        wanted = [(self.job_lock, "job")]
        wanted += [(path, "gpu:" + re.sub(r"^.*/gpu-|\.lock$", "", path)) for path in self.gpu_locks]
        for path, label in wanted:
            got = yield from self._lock(path)
            if got == 1:
                return (yield from self._finish(75, 0.0, f',"lock_held":"{label}"'))
            if got == 2:
                return self._give_up(f"the lock file {path} cannot be opened")
        return None  # type: ignore[return-value]

    def _lock(self, path: str) -> Script:
        machine, disk = self.machine, self.machine.disk
        kind = self._step("lock")
        inode = disk.entries.get(path)
        if inode is None:
            try:
                if kind == FAIL:
                    return 2
                inode = disk.create(path)
            except OSError:
                return 2
        if not machine.take_lock(self.process, inode):
            yield 2.0
            if not machine.take_lock(self.process, inode):
                return 1
        if path == self.job_lock:
            self._append(inode, f"{self.attempt}\n", kind)
        yield 0.0
        return 0

    def _payload(self) -> Script:
        machine, disk = self.machine, self.machine.disk
        log = disk.entries.get(f"{self.folder}/log")
        if log is None:
            log = self._create("log") if self._step("log") != FAIL else None
        if log is None:
            return self._give_up(f"{self.folder}/log cannot be written")
        started = machine.uptime
        kind = self._step("start the payload")
        payload = start_payload(machine, self.process, self.attempt, self.state, self.folder)
        yield 0.0
        kind = self._step("started.json")
        record = (
            f'{{"boot_id":"{machine.boot_id}","pid":{payload.pid},"start_ticks":{payload.start_ticks},'
            f'"shim_pid":{self.process.pid},"shim_start_ticks":{self.process.start_ticks},"uptime_s":{started:.2f}}}\n'
        )
        written = self._create("started.json") if kind != FAIL else None
        if written is not None:
            self._append(written, record, None)
        yield payload
        self._step("the payload has ended")
        code = payload.code
        machine.release_locks(self.process)
        yield 0.0
        return (yield from self._finish(code, machine.uptime - started, ""))

    def _give_up(self, message: str) -> int:
        """Without an exit record, so that it is tried again."""
        inode = self._create("setup_failed")
        if inode is not None:
            self._append(inode, message + "\n", None)
        self._mark(self._step("marker"))
        return 74

    def _mark(self, kind: str | None) -> None:
        if kind == FAIL:
            return
        if not self._has_folder():
            return  # nothing is left to read
        try:
            if self.marker not in self.machine.disk.entries:
                self.machine.disk.create(self.marker)
            self.machine.spool_dirty = True
        except OSError:
            pass

    def _refuse(self, message: str) -> Script:
        inode = self._create("setup_failed")
        if inode is not None:
            self._append(inode, message + "\n", None)
        return (yield from self._finish(96, 0.0, ""))

    def _keep_reasons(self) -> bool:
        """The log of what failed, and what could not be set up, are on the disk before the record is."""
        disk = self.machine.disk
        found = [disk.entries.get(f"{self.folder}/{name}") for name in ("log", "setup_failed")]
        files = [inode for inode in found if inode is not None]
        if files:
            if self._step("sync") == FAIL:
                return False
            for inode in files:
                disk.sync(inode)
            disk.sync_names(self.folder)
        return True

    def _finish(self, code: int, duration_s: float, extra: str) -> Script:
        machine, disk = self.machine, self.machine.disk
        record = f'{{"code":{code},"uptime_s":{machine.uptime:.2f},"duration_s":{duration_s:.2f}{extra}}}\n'
        durable = duration_s >= 5
        if code != 0:
            while not self._keep_reasons():
                yield 1.0
            yield 0.0
        while True:
            kind = self._step("exit.json")
            if not self._has_folder():
                break
            inode = disk.entries.get(f"{self.folder}/exit.json")
            if inode is None and kind != FAIL:
                inode = self._create("exit.json")
            elif inode is not None:
                disk.truncate(inode)
            yield 0.0  # a reader may see it without its line end
            if inode is not None and self._append(inode, record, kind):
                if durable:
                    disk.sync(inode)
                break
            yield 1.0
        yield 0.0
        self._mark(self._step("marker"))
        return code


def start_shim(
    machine: Machine, argv: list[str], environ: dict[bytes, bytes], *, in_screen: bool, session: int = 0
) -> Process:
    """`sh SHIM FOLDER MARKER JOB_LOCK [GPU_LOCK...]`."""
    shim = Shim(machine, argv[2:], in_screen)
    return machine.spawn(
        "shim",
        shim.script,
        name=b"sh",
        cmdline="\0".join(argv).encode(),
        environ=environ,
        attempt=shim.attempt,
        state=shim.state,
        session=session,
    )
