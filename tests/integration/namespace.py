"""A pid namespace of its own, where the next pid can be chosen: what it takes to have a pid used again for real.

Its first process takes orders and starts what is asked for; it needs root, and `unshare` of util-linux.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.lab import Lab

NEXT_PID = Path("/proc/sys/kernel/ns_last_pid")
CATCHABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
TRIES = 200


class Namespace:
    """Runs commands of a lab in the namespace. All pids are those that are valid in there.

    The lab's folders are the same inside; its own_pids() are those of the outside."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._child = subprocess.Popen(
            ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, "-m", __name__],
            env={name: value for name, value in lab.env.items() if name not in ("EXQ_STATE", "SCREENDIR")},
            cwd=lab.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._ask("pid") == "1", "there can be no pid namespace here"
        self._inside = list(lab.command)
        lab.command = ["nsenter", "--target", self._first(), "--pid", "--mount", *lab.command]

    def innocent(self, pid: int, *argv: str) -> str:
        """A process that has nothing to do with exq gets this pid, and heads a session; the file with its signals.

        With `argv` it is that program, which notes no signals."""
        assert not self.is_alive(pid), f"{pid} is still in use"
        notes = self._lab.root / f"signals-{pid}"
        notes.touch()
        assert self._ask("innocent", pid, str(notes), argv) == str(pid), f"no process got the pid {pid}"
        return str(notes)

    @contextmanager
    def daemon(self) -> Iterator[int]:
        """The loop in the background, killed with SIGKILL at the end; its pid. Use this, not the lab's."""
        pid = int(self._ask("spawn", [*self._inside, "run"], self._lab.env, str(self._lab.root / "daemon")))
        try:
            yield pid
        finally:
            self.kill(pid)

    def kill(self, *pids: int) -> None:
        """SIGKILL these, and wait until their pids are free, for which the loop has to reap its own."""
        for pid in pids:
            self._ask("kill", pid)
        self._lab.wait("the pids are free", lambda: self._lab.nudge() or not any(map(self.is_alive, pids)))

    def is_alive(self, pid: int) -> bool:
        """Whether the pid is in use, be it by a zombie."""
        return self._ask("alive", pid) == "True"

    def close(self) -> None:
        """End it with all that runs in it."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(timeout=10)
        self._child.stdout.close()

    def _ask(self, *order: object) -> str:
        assert self._child.stdin is not None and self._child.stdout is not None
        print(json.dumps(order), file=self._child.stdin, flush=True)
        return self._child.stdout.readline().strip()

    def _first(self) -> str:
        """The pid out here of the namespace's first process: the only child of `unshare`."""
        return Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text().split()[0]


def serve() -> None:
    """The first process of the namespace: reaps what is orphaned, answers one line with one line. Ends: all end."""
    signal.signal(signal.SIGCHLD, reap)
    orders: dict[str, Callable[..., object]] = {
        "pid": os.getpid,
        "innocent": start_at,
        "spawn": spawn,
        "kill": lambda pid: os.kill(pid, signal.SIGKILL),
        "alive": lambda pid: os.path.exists(f"/proc/{pid}"),
    }
    for line in sys.stdin:
        verb, *words = json.loads(line)
        print(orders[verb](*words), flush=True)


def reap(_number: int, _frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue
    except ChildProcessError:  # none is left
        return


def spawn(argv: Sequence[str], env: Mapping[str, str], output: str) -> int:
    with open(output, "ab") as file:
        return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file).pid


def start_at(pid: int, notes: str, argv: Sequence[str]) -> int:
    """Fork until the child has this pid: others in the namespace may take it first, and end. 0: none got it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CATCHABLE)
    for _ in range(TRIES):
        NEXT_PID.write_text(str(pid - 1))
        child = os.fork()
        if child == 0:
            if os.getpid() == pid:
                be_innocent(notes, argv)
            os._exit(0)
        if child == pid:
            wait_until_named(notes)
            break
        time.sleep(0.01)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CATCHABLE)
    return child if child == pid else 0


def wait_until_named(notes: str) -> None:
    while Path(notes).read_text() == "":
        time.sleep(0.01)


def be_innocent(notes: str, argv: Sequence[str]) -> None:
    os.setsid()
    with open(notes, "a", encoding="ascii") as file:
        print("ready", file=file, flush=True)
        if argv:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CATCHABLE)
            os.execvp(argv[0], argv)
        while True:
            print(signal.Signals(signal.sigwait(CATCHABLE)).name, file=file, flush=True)


if __name__ == "__main__":
    serve()
