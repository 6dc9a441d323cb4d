"""Daemons that start in milliseconds: one Python has imported everything, and each daemon is a fork of it.

What forks is the real command with real files, locks and screens, and dies like any other process. Without the wait for
Python, the moments at which a test kills it fall into its work.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.integration.lab import Lab


class Prefork:
    """Starts daemons of a lab. A pid is theirs until `ended` has told of it, so it can be killed by its number."""

    def __init__(self, lab: Lab, enter: Sequence[str] = ()) -> None:
        self._lab = lab
        self._child = subprocess.Popen(
            [*enter, sys.executable, "-m", __name__, str(lab.root)],
            env=lab.env,
            cwd=lab.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._ask("ready") == "ready"

    def start(self, *args: str, count: int = 1) -> list[int]:
        """Start so many at the same instant; their pids."""
        return [int(pid) for pid in self._ask("start", str(count), *args).split()]

    def ended(self, pid: int | None = None) -> tuple[int, int, str]:
        """Wait for the end of this one, or of any: its pid, its exit code (negative: the signal), what it printed."""
        pid, code = map(int, self._ask("ended", str(pid or -1)).split())
        output = self._lab.root / f"daemon-{pid}"
        text = output.read_text() if output.exists() else ""  # it may have died before it could print
        output.unlink(missing_ok=True)
        return pid, code, text

    def close(self) -> None:
        """End it, if that was not done; daemons that still run are the lab's to end."""
        assert self._child.stdin is not None and self._child.stdout is not None
        if self._child.stdin.closed:
            return
        self._child.stdin.close()
        self._child.wait(timeout=10)
        self._child.stdout.close()

    def _ask(self, *words: str) -> str:
        assert self._child.stdin is not None and self._child.stdout is not None
        print(*words, file=self._child.stdin, flush=True)
        return self._child.stdout.readline().strip()


def serve(root: Path) -> None:
    """Answer one line with one line, until there are no more."""
    import_everything()
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "start":
            print(*fork(root, int(words[0]), words[1:]), flush=True)
        elif verb == "ended":
            pid, status = os.waitpid(int(words[0]), 0)
            print(pid, os.waitstatus_to_exitcode(status), flush=True)
        else:
            print(verb, flush=True)


def import_everything() -> None:
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ("jsonschema", "paramiko", "sqlite3", "structlog", "watchdog.observers", "yaml"):
        import_module(name)


def fork(root: Path, count: int, args: Sequence[str]) -> list[int]:
    """So many children, which all wait for the same pipe to close before they begin."""
    barrier, gate = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(gate)
            be_a_daemon(root, barrier, args)
        pids.append(pid)
    os.close(barrier)
    os.close(gate)
    return pids


def be_a_daemon(root: Path, barrier: int, args: Sequence[str]) -> None:
    from reconciler.cli.main import main

    code = 1
    try:
        output = os.open(root / f"daemon-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["exq", *args]
        os.read(barrier, 1)
        os.closerange(3, 256)
        code = main(args)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
