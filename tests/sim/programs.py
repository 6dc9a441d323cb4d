"""The programs that run on the simulated host: the shim step by step as shim.sh does it, payloads, GNU screen."""

from __future__ import annotations

import re
from posixpath import dirname

from tests.sim.disk import Inode
from tests.sim.faults import FAIL, KILL_SHIM
from tests.sim.machine import SOCKETS, Machine, Process, Script

GPU_MIB = 9_000
OOM_TEXT = (
    "Traceback (most recent call last):\n  File \"train.py\", line 3, in <module>\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)
ERROR_TEXT = "Traceback (most recent call last):\n  File \"train.py\", line 9, in <module>\nValueError: no such data\n"


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
        self.claimed = False

    def script(self, process: Process) -> Script:
        self.process = process
        try:
            code = yield from self._run()
        except Ended as end:
            code = end.code
        return code

    def _step(self, name: str) -> str | None:
        """A step that a fault can hit. Raises Ended for a shim that is killed there."""
        kind = self.machine.op("shim", f"{name} {self.attempt}")
        if kind == KILL_SHIM:
            raise Ended(137)
        return kind

    def _create(self, name: str) -> Inode | None:
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
        if f"{self.folder}/claim" in disk.entries:
            return 75
        claim = self._create("claim") if kind != FAIL else None
        if claim is None:
            return 74
        self.claimed = True
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
                return (yield from self._refuse(f"the lock file {path} cannot be opened"))
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
            return (yield from self._refuse(f"{self.folder}/log cannot be written"))
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

    def _refuse(self, message: str) -> Script:
        inode = self._create("setup_failed")
        if inode is not None:
            self._append(inode, message + "\n", None)
        return (yield from self._finish(96, 0.0, ""))

    def _finish(self, code: int, duration_s: float, extra: str) -> Script:
        machine, disk = self.machine, self.machine.disk
        record = f'{{"code":{code},"uptime_s":{machine.uptime:.2f},"duration_s":{duration_s:.2f}{extra}}}\n'
        for attempt in range(60):
            kind = self._step("exit.json")
            inode = disk.entries.get(f"{self.folder}/exit.json")
            if inode is None and kind != FAIL:
                inode = self._create("exit.json")
            elif inode is not None:
                disk.truncate(inode)
            yield 0.0  # a reader may see it without its line end
            if inode is not None and self._append(inode, record, kind):
                if duration_s >= 5:
                    disk.sync(inode)
                break
            if f"{self.folder}/claim" not in disk.entries:
                break
            yield 1.0 if attempt < 59 else 0.0
        yield 0.0
        if self._step("marker") != FAIL:
            try:
                if self.marker not in disk.entries:
                    disk.create(self.marker)
                machine.spool_dirty = True
            except OSError:
                pass
        return code


def start_payload(machine: Machine, shim: Process, attempt: str, state: str, folder: str) -> Process:
    """Fork into a session of its own, with the shim's locks and the attempt's marks."""
    script = machine.disk.entries[f"{folder}/job.sh"].data.decode()
    words = script.rstrip("\n").rsplit("\n", 1)[-1].split()
    visible = re.search(r"^export CUDA_VISIBLE_DEVICES=(\S*)$", script, re.MULTILINE)
    indices = [int(index) for index in re.findall(r"\d+", visible[1])] if visible else []
    gpus = [gpu.uuid for gpu in machine.gpus if gpu.index in indices]
    environ = {
        b"EXQ_ATTEMPT": attempt.encode(),
        b"EXQ_STATE": state.encode(),
        b"EXQ_SHIM": str(shim.pid).encode(),
        b"SIM_GPUS": ",".join(gpus).encode(),
    }
    run = Payload(machine, words, gpus, folder)
    process = machine.spawn(
        "payload",
        run.script,
        name=b"bash",
        cmdline=b"bash\0job.sh",
        environ=environ,
        attempt=attempt,
        state=state,
        locks=list(shim.locks),
    )
    return process


class Payload:
    """What a job does, told by the last line of its script: `sim KIND SECONDS [OUTPUT] [NUMBER]`."""

    def __init__(self, machine: Machine, words: list[str], gpus: list[str], folder: str) -> None:
        self.machine = machine
        self.kind = words[1] if len(words) > 1 else "ok"
        self.seconds = float(words[2]) if len(words) > 2 else 1.0
        self.output = words[3] if len(words) > 3 else "-"
        self.number = float(words[4]) if len(words) > 4 else 0.0
        self.gpus = gpus
        self.folder = folder

    def script(self, process: Process) -> Script:
        self.process = process
        self.machine.user_code_starts(process)
        process.gpus = {uuid: GPU_MIB for uuid in self.gpus}
        self._log("begin\n")
        return (yield from getattr(self, f"_{self.kind}")())

    def _log(self, text: str) -> None:
        inode = self.machine.disk.entries.get(f"{self.folder}/log")
        try:
            if inode is not None:
                self.machine.disk.write(inode, text.encode())
        except OSError:
            pass

    def _write(self) -> bool:
        """The output, synced as a careful program does."""
        if self.output == "-":
            return True
        text = f"{self.process.attempt} {self.machine.uptime}"
        try:
            self.machine.disk.put(f"/sim/{self.output}", text.encode())
        except OSError:
            return False
        return True

    def _earlier_starts(self) -> int:
        job = (self.process.attempt or "").rpartition("/")[0]
        here = [s for s in self.machine.starts if s.state == self.process.state and s.job == job]
        return len(here) - 1

    def _ok(self) -> Script:
        yield self.seconds
        return 0 if self._write() else 1

    def _fail(self) -> Script:
        yield self.seconds
        self._log(ERROR_TEXT)
        return 1

    def _flaky(self) -> Script:
        """Exit 1 the first NUMBER times that it runs."""
        yield self.seconds
        if self._earlier_starts() < self.number:
            self._log(ERROR_TEXT)
            return 1
        return 0 if self._write() else 1

    def _oom(self) -> Script:
        """Out of GPU memory the first NUMBER times that it runs."""
        yield self.seconds
        if self._earlier_starts() < self.number:
            self._log(OOM_TEXT)
            yield 0.1
            return 1
        return 0 if self._write() else 1

    def _early(self) -> Script:
        yield self.seconds / 2
        if not self._write():
            return 1
        yield self.seconds / 2
        return 0

    def _noout(self) -> Script:
        yield self.seconds
        return 0

    def _hang(self) -> Script:
        """All is written, and then it does not end (an upload that is stuck)."""
        yield self.seconds
        if not self._write():
            return 1
        self.process.gpus = {}
        while True:
            yield 1e5

    def _deaf(self) -> Script:
        self.process.deaf = True
        return (yield from self._hang())

    def _orphan(self) -> Script:
        """Leaves a process in a session of its own that keeps the GPU for NUMBER seconds, 0: for ever."""
        yield self.seconds
        if not self._write():
            return 1
        keep_s = self.number or 1e6

        def rest(_process: Process) -> Script:
            yield keep_s
            return 0

        self.machine.spawn(
            "grandchild",
            rest,
            name=b"python",
            environ=dict(self.process.environ),
            attempt=self.process.attempt,
            state=self.process.state,
            locks=list(self.process.locks),
            gpus=dict(self.process.gpus),
        )
        return 0


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


def start_screen(machine: Machine, name: str, argv: list[str], environ: dict[bytes, bytes]) -> Process:
    """`screen -c /dev/null -DmS NAME COMMAND...`: the socket comes a little late."""
    sticky = machine.sticky_screens > 0
    machine.sticky_screens -= sticky

    def run(process: Process) -> Script:
        yield machine.rng.choice((0.0, 0.004, 0.026))
        socket = f"{SOCKETS}/{process.pid}.{name}"
        if machine.disk.is_folder(SOCKETS):
            machine.disk.entries.pop(socket, None)
            machine.disk.create(socket)
        child = start_shim(machine, argv, environ, in_screen=True)
        yield child
        while sticky:
            yield 1e6
        if socket in machine.disk.entries:
            machine.disk.unlink(socket)
        return 0

    shim = Shim(machine, argv[2:], True)
    return machine.spawn(
        "screen", run, name=b"screen", cmdline=b"SCREEN", environ=environ, attempt=shim.attempt, state=shim.state
    )


def user_screen(machine: Machine, name: str) -> Process:
    """A session of the user's own."""

    def run(_process: Process) -> Script:
        while True:
            yield 1e6

    process = machine.spawn("user screen", run, name=b"screen", cmdline=b"SCREEN")
    machine.disk.create(f"{SOCKETS}/{process.pid}.{name}")
    return process


def list_screens(machine: Machine) -> tuple[str, int]:
    """`screen -ls`: its text and its exit code. A socket without its server is listed as dead."""
    if not machine.disk.is_folder(SOCKETS):
        return f"No Sockets found in {SOCKETS}.\n\n", 1
    rows = []
    for path in machine.disk.children[SOCKETS]:
        address = path.rpartition("/")[2]
        server = machine.procs.get(int(address.partition(".")[0]))
        alive = server is not None and server.role.endswith("screen")
        rows.append(f"\t{address}\t(11/23/26 17:47:58)\t({'Detached' if alive else 'Dead ???'})\n")
    if not rows:
        return f"No Sockets found in {SOCKETS}.\n\n", 1
    head = "There is a screen on:" if len(rows) == 1 else "There are screens on:"
    return f"{head}\n{''.join(rows)}{len(rows)} Socket{'s' if len(rows) > 1 else ''} in {SOCKETS}.\n", 0


def quit_screen(machine: Machine, address: str) -> int:
    """`screen -S ADDRESS -X quit`: an exact `pid.name`, else whatever begins like it."""
    names = [path.rpartition("/")[2] for path in machine.disk.children.get(SOCKETS, {})]
    found = [name for name in names if name == address]
    found = found or [n for n in names if n.startswith(address) or n.partition(".")[2].startswith(address)]
    if len(found) != 1:
        return 1
    server = machine.procs.get(int(found[0].partition(".")[0]))
    if server is None:
        return 1
    check_screen(machine, server)
    machine.end(server, 0)
    machine.disk.unlink(f"{SOCKETS}/{found[0]}")
    return 0


def check_screen(machine: Machine, server: Process) -> None:
    """S5: only a screen of the attempt that is being ended."""
    if machine.acting is None or (server.state, server.attempt) != machine.acting:
        machine.wrong(f"S5: screen {server.pid} ({server.role} of {server.attempt}) was quit for {machine.acting}")


def folder_of(path: str) -> str:
    return dirname(path)
