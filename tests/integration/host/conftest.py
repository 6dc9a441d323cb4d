"""A state folder with an agent of its own, and the attempts that a test starts in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.agent import Agent, process_stat

PATIENCE_S = 30.0
SHIM = Path(__file__).parents[3] / "reconciler" / "host" / "shim.sh"


class Box:
    """One agent and its state folder; `close` ends every process that was started from it."""

    def __init__(self, root: Path, name: str = "state", **settings: Any) -> None:
        self.root = root
        self.state = root / name
        self.agent = Agent(str(self.state), settings)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return self.agent.handle({"op": op, **fields})

    def write(self, path: str, job_sh: str) -> Path:
        """The attempt folder as a launch leaves it, with nothing started."""
        folder = self.state / "attempts" / path
        folder.mkdir(parents=True)
        for name in ("spool", "locks"):
            (self.state / name).mkdir(exist_ok=True)
        (folder / "job.sh").write_text(job_sh)
        (folder / "intent.json").write_text("{}\n")
        return folder

    def shim(self, path: str, *gpu_locks: Path, shell: str = "sh", **options: Any) -> subprocess.Popen[bytes]:
        """Start the shim of a written attempt directly."""
        marker, lock = self.marker(path), self.job_lock(path)
        argv = [*shell.split(), str(SHIM), str(self.state / "attempts" / path), str(marker), str(lock)]
        env = {name: value for name, value in os.environ.items() if name != "STY"}
        return subprocess.Popen(
            [*argv, *map(str, gpu_locks)],
            env={**env, "EXQ_SIGNAL_RESET": "env --default-signal=INT,QUIT"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )

    def marker(self, path: str) -> Path:
        return self.state / "spool" / path.replace("/", "%")

    def job_lock(self, path: str) -> Path:
        return self.state / "locks" / (path.rpartition("/")[0].replace("/", "%") + ".lock")

    def launch(self, path: str, job_sh: str, launcher: str = "process", gpus: tuple[str, ...] = ()) -> dict[str, Any]:
        project, job, number = path.split("/")
        return self.ask(
            "launch",
            path=path,
            job_sh=job_sh,
            intent={"job": f"{project}/{job}"},
            launcher=launcher,
            session=f"exq.{project}.{job}.{number}",
            gpus=list(gpus),
            project=project,
            job=job,
            number=int(number),
        )

    def facts(self, path: str, *, scan: bool = True, tail: bool = True) -> dict[str, Any]:
        answer = self.ask("probe", attempts=[{"path": path, "scan": scan, "tail": tail}])
        facts: dict[str, Any] = answer["attempts"][path]
        return facts

    def wait(self, path: str, what: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The facts of an attempt once something holds of them."""
        return wait_for(lambda: (facts := self.facts(path), what(facts))[1] and facts, lambda: self.facts(path))

    def exited(self, path: str) -> dict[str, Any]:
        return self.wait(path, lambda facts: facts["exited"] and not facts["shim_alive"])

    def running(self, path: str) -> dict[str, Any]:
        return self.wait(path, lambda facts: facts["payload_alive"])

    def close(self) -> None:
        for pid in self._pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _pids(self) -> list[int]:
        """Whatever names this state folder in its command or environment: shims, screens, payloads."""
        mark = str(self.state).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
                except OSError:  # it has ended, or is not ours
                    continue
                if any(word.startswith((mark + b"/", b"EXQ_STATE=" + mark)) for word in words.split(b"\0")):
                    found.append(int(entry.name))
        return found


def wait_for(condition: Callable[[], Any], report: Callable[[], object] = lambda: "it did not come about") -> Any:
    """What `condition` answers once that is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, report()
        time.sleep(0.01)
    return answer


def gone(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is None or not stat.alive


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder, as sockets need short paths; the user's GPU locks are in it too."""
    folder = Path(tempfile.mkdtemp(prefix="exqh", dir="/tmp")).resolve()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "xdg"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def box(root: Path) -> Iterator[Box]:
    one = Box(root)
    yield one
    one.close()


@pytest.fixture
def other_box(root: Path) -> Iterator[Box]:
    """A second state folder of the same user."""
    another = Box(root, "other")
    yield another
    another.close()
