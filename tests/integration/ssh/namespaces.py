"""What several hosts on one machine are made of: namespaces that end with the test run, however it ends.

Network namespaces have no name and no process: an open file keeps them. The other namespaces of a host end with their
first process, which the kernel kills together with whoever started it. So a run that is killed leaves folders only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
PROGRAMS = ("ip", "nft", "nsenter", "screen", "setpriv", "ssh", "ssh-keygen", "sshd", "unshare")
NAMESPACES = ("--pid", "--mount", "--uts", "--mount-proc", "--kill-child")


def cannot() -> str | None:
    """Why this machine cannot make hosts of namespaces; None when it can."""
    if os.geteuid() != 0:
        return "needs to be root"
    lacking = [program for program in PROGRAMS if not shutil.which(program)]
    if lacking:
        return f"needs {', '.join(lacking)}, which is not installed"
    tried = run(["unshare", "--net", *NAMESPACES, *own_clocks(20), "true"], check=False)
    return f"needs to make namespaces: {tried.stderr.strip()}" if tried.returncode else None


def run(
    argv: Sequence[str], *, check: bool = True, stdin: str = "", timeout_s: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with `check`, a failing one fails the test with all that it said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(argv)} -> {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Network:
    """A network namespace, from its making to `close`."""

    def __init__(self) -> None:
        holder = subprocess.Popen(
            [*DIE_WITH_US, "unshare", "--net", "sh", "-c", "echo made; read line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        with holder.stdin, holder.stdout:
            assert holder.stdout.readline() == b"made\n", "no network namespace could be made"
            self._fd = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
        holder.wait(timeout=10)
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.enter = ["nsenter", f"--net={self.path}", "--"]
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of this machine, with this network."""
        return run([*self.enter, *argv], check=check, stdin=stdin)

    def close(self) -> None:
        """Let go of it: with its last process, its sockets and its side of every link end too."""
        os.close(self._fd)


class Process(NamedTuple):
    """A process of a host: its pid here and in there, its parent here, and its command line."""

    pid: int
    inner: int
    parent: int
    argv: tuple[str, ...]


class Inside:
    """The processes of one pid namespace, from its first one's start to `end`."""

    def __init__(self, network: Network, script: Path, arguments: Sequence[str], *, uptime_s: int) -> None:
        clocks = own_clocks(uptime_s)
        self._own_clocks = bool(clocks)
        self._parent = subprocess.Popen(
            [*DIE_WITH_US, *network.enter, "unshare", *NAMESPACES, *clocks, "sh", str(script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self.first = self._forked()

    def _forked(self) -> int:
        """The pid here of the first process in there, which unshare starts when all namespaces are made."""
        while not self.has_ended():
            for process in each_process():
                if process.parent == self._parent.pid:
                    return process.pid
            time.sleep(0.005)
        raise AssertionError(f"the host has no first process: {self.complaint()}")

    def complaint(self) -> str:
        """What the first process said when it ended; nothing while it lives."""
        assert self._parent.stderr is not None
        return self._parent.stderr.read() if self.has_ended() else ""

    def has_ended(self) -> bool:
        return self._parent.poll() is not None

    @property
    def enter(self) -> list[str]:
        """What to put before a command to run it in there."""
        clocks = ["--time"] if self._own_clocks else []
        return ["nsenter", f"--target={self.first}", "--net", "--pid", "--mount", "--uts", *clocks, "--"]

    def processes(self) -> list[Process]:
        """Those that live in there, but for the first one."""
        if self.has_ended():
            return []
        mine = namespace_of(self.first)
        found = [process for process in each_process() if namespace_of(process.pid) == mine]
        return [process for process in found if process.pid != self.first]

    def end(self) -> None:
        """Kill the first process. The kernel kills all others with it, before this returns."""
        if not self.has_ended():
            os.kill(self.first, signal.SIGKILL)
        self._parent.wait(timeout=30)
        assert self._parent.stderr is not None
        self._parent.stderr.close()


def own_clocks(uptime_s: int) -> list[str]:
    """Options of unshare for clocks that have run for so many seconds; none where the kernel cannot do that."""
    if not Path("/proc/self/ns/time").exists():
        return []
    boottime, monotonic = (uptime_s - int(time.clock_gettime(c)) for c in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC))
    return ["--time", f"--boottime={boottime}", f"--monotonic={monotonic}"]


def namespace_of(pid: int) -> str:
    """The pid namespace of a process; empty once it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def each_process() -> Iterator[Process]:
    """All live processes of this machine, those of its hosts included."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines())
                argv = (entry / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
            except OSError:  # it ended
                continue
            if status["State"].split()[0] not in "ZX":
                inner = int(status["NSpid"].split()[-1])
                yield Process(int(entry.name), inner, int(status["PPid"]), tuple(argv))
