"""What jobs do on the simulated host, told by the last line of their scripts."""

from __future__ import annotations

import re
from contextlib import suppress

from tests.sim.machine import UPTIME_AT_START_S, Machine, Process, Script

GPU_MIB = 9_000
OOM_TEXT = (
    'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n'
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)
SETUP_TEXT = "the conda environment sim cannot be activated"
ERROR_TEXT = 'Traceback (most recent call last):\n  File "train.py", line 9, in <module>\nValueError: no such data\n'


def start_payload(machine: Machine, shim: Process, attempt: str, state: str, folder: str) -> Process:
    """Fork into a session of its own, with the shim's locks and the attempt's marks."""
    file = machine.disk.entries.get(f"{folder}/job.sh")
    script = file.data.decode() if file is not None else "sim missing"
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
        # a command may have `nice` before it; one from a spec that is cut off may be anything
        words = words[words.index("sim") :] if "sim" in words else ["sim", "missing"]
        self.kind = words[1] if len(words) > 1 else "ok"
        self.seconds = float(words[2].rstrip(".") or 0) if len(words) > 2 else 1.0
        self.output = words[3] if len(words) > 3 else "-"
        self.needed = words[4] if len(words) > 4 else ""
        self.number = float(words[4]) if len(words) > 4 and self.kind != "needs" else 0.0
        self.gpus = gpus
        self.folder = folder

    def script(self, process: Process) -> Script:
        self.process = process
        if self.kind == "lame" and self.machine.uptime - UPTIME_AT_START_S < self.number:
            return (yield from self._cannot_be_set_up())
        self.machine.user_code_starts(process)
        process.gpus = dict.fromkeys(self.gpus, GPU_MIB)
        self._log("begin\n")
        return (yield from getattr(self, f"_{self.kind}", self._missing)())

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

    def _late(self) -> Script:
        """It takes its GPU memory after NUMBER seconds, as programs do that have much to load first."""
        memory, self.process.gpus = self.process.gpus, {}
        yield self.number
        self.process.gpus = memory
        return (yield from self._ok())

    def _missing(self) -> Script:
        """The script itself is gone."""
        yield 0.0
        return 127

    def _fail(self) -> Script:
        yield self.seconds
        self._log(ERROR_TEXT)
        return 1

    def _cannot_be_set_up(self) -> Script:
        """What job.sh does before it comes to the command."""
        yield 0.5
        self.machine.vain_setups += 1
        with suppress(OSError):  # a full disk: then the exit code is all that tells
            inode = self.machine.disk.create(f"{self.folder}/setup_failed")
            self.machine.disk.write(inode, f"{SETUP_TEXT}\n".encode())
        self._log(f"exq: {SETUP_TEXT}\n")
        return 96

    def _lame(self) -> Script:
        """Its environment is broken until NUMBER seconds from the start."""
        return (yield from self._ok())

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

    def _calm(self) -> Script:
        yield self.seconds
        return 0

    def _noout(self) -> Script:
        yield self.seconds
        return 0

    def _stain(self) -> Script:
        """The first time its output is there, and it fails; afterwards it ends well and writes nothing."""
        yield self.seconds
        if self._earlier_starts():
            return 0
        self._write()
        self._log(ERROR_TEXT)
        return 1

    def _needs(self) -> Script:
        """Exit 1 without the file whose name stands in the place of a number."""
        yield self.seconds
        if f"/sim/{self.needed}" not in self.machine.disk.entries:
            self._log(ERROR_TEXT)
            return 1
        return 0 if self._write() else 1

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
