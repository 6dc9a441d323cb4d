"""A far machine with an empty home behind a real sshd, and people who push to it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.integration.lab import project
from tests.integration.ssh.loopback.sshd import Sshd
from tests.integration.ssh.loopback.user import User

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


class Far:
    """One machine to push to; `key` and `config` are those of whoever comes."""

    def __init__(self, folder: Path, command: Sequence[str], wheels: Path) -> None:
        self.folder = folder
        self.command = list(command)
        self.wheels = wheels
        self.user = User(folder)
        self.server = self.user.server("box")
        self.user.entry(self.server)
        self.home = self.server.home
        self.data = self.home / ".local/share/exq"

    def another(self, name: str, **options: str) -> Sshd:
        """A further way to this machine, by another name and with other settings of sshd."""
        made = self.user.server(name, **options)
        self.user.entry(made)
        return made

    def person(self, name: str, specs: str = "specs") -> Person:
        """Somebody with a machine of their own."""
        return Person(self, self.folder / f"{name}-{time.monotonic_ns()}", name, specs)

    def loops(self) -> list[int]:
        """The loops that run there."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:  # it has ended
                    continue
                if any(word.startswith(os.fsencode(self.data)) for word in words) and b"run" in words:
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        for pid in self.loops():
            os.kill(pid, signal.SIGKILL)
        self.user.close()


class Person:
    """One who has a project with specs, and pushes it."""

    def __init__(self, far: Far, home: Path, name: str, specs: str) -> None:
        self.far = far
        self.home = home
        self.project = home / "proj"
        self.specs = self.project / specs
        self.specs.mkdir(parents=True)
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "USER": name,
            "EXQ_STATE": str(home / "state"),
            "EXQ_SSH_CONFIG": str(far.user.config),
            "EXQ_SPECS": str(self.specs),
            "EXQ_DEBUG": "1",
            "NO_COLOR": "1",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }

    def write(self, *jobs: str, name: str = "exp.yaml", of: str = "abc", command: str = "true") -> None:
        """A spec with these jobs, without GPUs and screens."""
        text = project(dict.fromkeys(jobs, command), name=of, launcher="process", cwd=None, max_parallel=10)
        (self.specs / name).write_text(text)

    def exq(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run exq to its end, without a terminal."""
        done = subprocess.run(
            [*self.far.command, *words],
            env=self.env,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            check=False,
        )
        report = f"exq {' '.join(words)} -> {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert "Traceback" not in done.stderr, report
        assert code is None or done.returncode == code, report
        return done

    def json(self, *words: str, code: int | None = 0) -> dict[str, Any]:
        """Its JSON."""
        found: dict[str, Any] = json.loads(self.exq(*words, "--json", code=code).stdout)
        return found

    def push(self, folder: str, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Put the specs there without a question and without a loop."""
        place = f"box:{folder}" if folder else "box"
        return self.exq("push", place, "--yes", "--no-service", "--wheels", str(self.far.wheels), *words, code=code)

    def terminal(self, *words: str) -> Terminal:
        """Run exq on a terminal."""
        return Terminal([*self.far.command, *words], self.env, self.project)

    def git(self, *words: str) -> str:
        """In the project."""
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", "-C", str(self.project), *who, *words], env=self.env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], cwd: Path) -> None:
        self.shown = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(argv[0], list(argv), {**env, "TERM": "xterm"})
            finally:
                os._exit(127)
        os.set_blocking(self._fd, False)

    def until(self, text: str) -> str:
        """Wait until it shows this; all that it has shown."""
        wait_for(lambda: text in self._more(), lambda: f"{text!r} in {self.shown!r}")
        return self.shown

    def type(self, text: str) -> None:
        """As a person would."""
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Its exit code."""
        code: list[int] = []

        def ended() -> bool:
            self._more()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            code.extend([os.waitstatus_to_exitcode(status)] if pid else [])
            return bool(pid)

        wait_for(ended, lambda: f"it ends; it has shown {self.shown!r}")
        self._more()
        os.close(self._fd)
        return code[0]

    def _more(self) -> str:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except (BlockingIOError, OSError):  # nothing more now, or it has ended
                return self.shown
            if not data:
                return self.shown
            self.shown += data.decode("utf-8", "replace")


def wait_for(holds: Callable[[], object], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited for: {what()}"
        time.sleep(0.02)


def texts(folder: Path) -> dict[str, str]:
    """The files of a specs folder, as a loop there would see them."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if not name.startswith(".")}


def all_of(folder: Path) -> set[str]:
    """Every name below, but for what only a cache or a lock leaves."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {name for name in names if not name.startswith(".cache") and not name.endswith("lock")}
