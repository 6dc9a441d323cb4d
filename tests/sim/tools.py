"""The programs that the agent starts: `subprocess` and `shutil` for it, and the answers of screen and nvidia-smi."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import Any

from tests.sim.fake_os import OS
from tests.sim.faults import FAIL, GARBAGE, STALE
from tests.sim.machine import Machine
from tests.sim.screens import list_screens, quit_screen, start_screen
from tests.sim.shim import start_shim

HANGS_ON_S = 60.0
"""How long a tool that cannot even be killed stays."""


class Popen:
    """`subprocess.Popen` for shims and screens, which nobody waits for."""

    def __init__(self, argv: list[str], env: dict[str, str] | None = None, **_: object) -> None:
        machine = OS.m
        self.returncode: int | None = None
        self._process = None
        kind = machine.op("spawn", " ".join(argv[:1] + argv[-1:]))
        if kind == FAIL:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), argv[0])
        if kind == GARBAGE:
            self.returncode = 0
            return
        environ = {name.encode(): value.encode() for name, value in (env or {}).items()}
        if argv[0] != "screen":
            self._process = start_shim(machine, argv, environ, in_screen=False)
        elif "-X" in argv:
            self.returncode = quit_screen(machine, argv[argv.index("-S") + 1])
        else:
            self._process = start_screen(machine, argv[4], argv[5:], environ)
        machine.done(kind)

    def poll(self) -> int | None:
        if self._process is not None and not self._process.alive:
            self.returncode = self._process.code
        return self.returncode


class FakeSubprocess:
    """`subprocess`."""

    DEVNULL, PIPE, STDOUT = -3, -1, -2
    Popen = Popen


class FakeShutil:
    """`shutil`."""

    @staticmethod
    def which(program: str) -> str | None:
        return f"/usr/bin/{program}"


GARBAGE_TEXTS = {
    "screen": ("\x1b[2J??", "There are screens on:\n\t12.exq", "3 Sockets in /run/screen/S-u.\n", ""),
    "nvidia-smi": (
        "0, GPU-0000, NVIDIA H100, [N/A], 80000, [N/A]\n1, GPU-0001, NVIDIA H100, [Unknown Error], 80000, 0\n",
        "0, GPU-0000, NVIDIA H100, 3, 80",
        "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error\n",
        "Failed to initialize NVML: Driver/library version mismatch\n",
        "",
        "\x00\x00\x00",
    ),
}


class Child:
    """A tool that is asked. It answers at once, or hangs until it is given up."""

    def __init__(
        self, argv: list[str], cwd: str | None = None, env: dict[str, str] | None = None, *, scout: bool = False
    ) -> None:
        self.missing = self.hangs = False
        self.started_at = OS.m.uptime
        self.scout = self.timed_out = scout
        self.stream = None
        self._until = 0.0
        self.text, self.exit_code = "", 0
        tool = argv[0].rpartition("/")[2]
        if tool == "env":
            return
        kind = OS.m.op("tool", f"{tool} {argv[-1][:24]}")
        answer = self._answer(tool, argv)
        key = tool + "".join(argv[1:2])
        known = OS.m.answers
        previous, known[key] = known.get(key, answer), answer
        if kind == "hang":
            self.hangs = True
            if scout:
                self.abandon()
        elif kind == FAIL:
            answer = ("", 9)
        elif kind == STALE:
            answer = previous
        elif kind == GARBAGE:
            texts = GARBAGE_TEXTS.get(tool, ("",))
            answer = (texts[OS.m.faults.count % len(texts)], OS.m.faults.count % 2)
        self.text, self.exit_code = answer
        OS.m.done(kind)

    def _answer(self, tool: str, argv: list[str]) -> tuple[str, int]:
        machine = OS.m
        if tool == "screen":
            return list_screens(machine)
        if tool == "nvidia-smi":
            return _nvidia_smi(machine, argv[1])
        wanted = argv[-1].split()  # a precondition: test -e PATH
        return ("", 0 if wanted[-1] in machine.disk.entries else 1)

    @property
    def running(self) -> bool:
        """One that cannot even be killed stays for a while."""
        return self._until > OS.m.uptime

    def abandon(self) -> None:
        """Killed without being waited for, which works for some."""
        self.timed_out, self.text, self.exit_code = True, "", -1
        if not self._until and OS.m.rng.random() < 0.5:
            self._until = OS.m.uptime + HANGS_ON_S

    def facts(self) -> dict[str, Any]:
        return {"text": self.text, "exit": self.exit_code, "timed_out": self.timed_out, "missing": False}


def collect(children: Any, deadline_s: float) -> None:
    """Wait for all of them, at the latest until the deadline."""
    late = [child for child in children if child.hangs]
    if late and not OS.m.frozen:
        OS.m.advance(deadline_s)
    for child in late:
        child.abandon()


def _nvidia_smi(machine: Machine, query: str) -> tuple[str, int]:
    if any(gpu.lost for gpu in machine.gpus):
        return "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error\n", 15
    if "compute-apps" in query:
        rows = [
            f"{process.pid}, {uuid}, {mib}\n"
            for process in machine.procs.values()
            for uuid, mib in process.gpus.items()
            if mib
        ]
        return "".join(rows), 0
    if not machine.frozen:
        machine.gpus_asked_at = machine.uptime
    used_mib = machine.used_mib()
    rows = [_gpu_row(gpu.index, gpu.uuid, used_mib[gpu.uuid], gpu.total_mib) for gpu in machine.gpus]
    return ("".join(rows), 0) if rows else ("No devices were found\n", 6)


@lru_cache(maxsize=1024)
def _gpu_row(index: int, uuid: str, used_mib: int, total_mib: int) -> str:
    return f"{index}, {uuid}, NVIDIA H100 80GB HBM3, {used_mib}, {total_mib}, [N/A]\n"
