"""A bench of its own for one test: specs, state, working folder, screens, fake GPUs - and the real command."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FAKEBIN = Path(__file__).parents[1] / "fakebin"


UNTIL_GO = "echo $EXQ_JOB >>ran; until [ -e go ]; do sleep 0.1; done"
"""A command that notes that it runs, and ends when the test puts a file `go` into the working folder."""


def project(jobs: Mapping[str, str | Mapping[str, object]], name: str = "p", **settings: object) -> str:
    """A spec of jobs by id: each its command, or its fields. It is all JSON, which is YAML; None is left out."""
    entries = [{"id": job, **({"cmd": entry} if isinstance(entry, str) else entry)} for job, entry in jobs.items()]
    fields = {"project": name, "cwd": "WORK", "launcher": "screen", "gpus": "none", "max_parallel": 2, **settings}
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items() if value is not None]
    return "\n".join([*lines, f"jobs: {json.dumps(entries)}"]) + "\n"


def is_gone(pid: int) -> bool:
    """There is no such process any more, or only its zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


class Lab:
    """Everything is under one short folder (screen's sockets need short paths) and ends with `close()`."""

    def __init__(self, command: Sequence[str]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="exq", dir="/tmp"))
        self.specs = self.root / "specs"
        self.state = self.root / "state"
        self.work = self.root / "work"
        self.screens = self.root / "s"
        for folder in (self.specs, self.work, self.screens, self.root / "home"):
            folder.mkdir()
        self.screens.chmod(0o700)
        self.command = list(command)
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "SCREENDIR": str(self.screens),
            "EXQ_SPECS": str(self.specs),
            "EXQ_STATE": str(self.state),
            "EXQ_DEBUG": "1",
            "NO_COLOR": "1",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "NVIDIA_SMI": "/nonexistent/nvidia-smi",
        }
        self._children: list[subprocess.Popen[str]] = []

    def spec(self, text: str, name: str = "exp.yaml") -> Path:
        """Write a spec; `WORK` in it is the working folder. The file is made to look at rest, not half-written."""
        path = self.specs / name
        path.write_text(textwrap.dedent(text).replace("WORK", str(self.work)))
        past = time.time() - 60
        os.utime(path, (past, past))
        return path

    def exq(self, *args: str, code: int | None = 0, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; `code` is the expected exit code, None for any."""
        done = subprocess.run(
            [*self.command, *args],
            env=self.env,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        report = f"exq {' '.join(args)} -> {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert "Traceback" not in done.stderr, report
        assert code is None or done.returncode == code, report
        return done

    def json(self, *args: str, code: int | None = 0) -> dict[str, Any]:
        """The command's --json answer."""
        answer: dict[str, Any] = json.loads(self.exq(*args, "--json", code=code).stdout)
        return answer

    def status(self) -> dict[str, dict[str, Any]]:
        """`exq status --json`, by job key."""
        return {job["key"]: job for job in self.json("status", code=None)["jobs"]}

    def settle(self, code: int = 0, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        """Run the loop until everything is completed or stuck."""
        return self.exq("run", "--until-settled", code=code, timeout_s=timeout_s)

    def check_nothing_is_left(self) -> None:
        """No session, no process, and nothing that the loop would do."""
        self.wait("no session is left", lambda: self.sessions() == [])
        self.wait("no process is left", lambda: [pid for pid in self.own_pids() if not self._notes(pid)] == [])
        # what notes the provenance of hundreds of attempts takes a tenth of a core, and so its time
        self.wait("all is noted", lambda: self.own_pids() == [], timeout_s=120)
        diff = self.json("diff")
        assert (diff["actions"], diff["unknown"]) == ([], [])

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the loop in the background, with another environment than the lab's where that is given."""
        child = subprocess.Popen(
            [*self.command, *(args or ("run",))],
            env=env or self.env,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._children.append(child)
        return child

    @contextmanager
    def daemon(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """The loop in the background, killed with SIGKILL at the end."""
        child = self.start(*args)
        try:
            yield child
        finally:
            self.kill(child)

    def kill(self, child: subprocess.Popen[str]) -> str:
        """SIGKILL a process that `start` started; its output, the first time."""
        if child.poll() is None:
            child.kill()
        child.wait(timeout=10)
        out = child.stdout.read() if child.stdout is not None and not child.stdout.closed else ""
        if child.stdout is not None:
            child.stdout.close()
        return out

    def wait(self, what: str, condition: Callable[[], object], timeout_s: float = 30) -> None:
        """Wait until a condition holds; fails with `what` when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
            time.sleep(0.05)

    def wait_for_status(self, key: str, *words: str, timeout_s: float = 30) -> dict[str, Any]:
        """Wait until a job's status or reason is one of `words`; where it stands then."""
        seen: dict[str, Any] = {}

        def is_there() -> bool:
            seen.update(self.status().get(key, {}))
            return bool({seen.get("status"), seen.get("reason")} & set(words))

        self.wait(f"{key} to be {' or '.join(words)}", is_there, timeout_s)
        return seen

    def ran(self, log: str = "ran") -> list[str]:
        """The lines that payloads appended to a file of the working folder: what really ran."""
        path = self.work / log
        return path.read_text().split() if path.exists() else []

    def sessions(self) -> list[str]:
        """The screen sessions, as `pid.name`."""
        return sorted(entry.name for entry in self.screens.iterdir())

    def gpus(self, count: int, **fields: object) -> Path:
        """Put a fake nvidia-smi in place whose memory figures come from live processes (FAKE_GPU_MIB); its path."""
        path = self.root / "gpus.json"
        card = {"name": "NVIDIA L40S", "total_mib": 46068, "base_used_mib": 1}
        gpus = [{"index": i, "uuid": f"GPU-{i}{self.root.name}", **card} for i in range(count)]
        self.set_gpus({"gpus": gpus, "processes": [], "memory_from_env": True, "mode": "ok", **fields})
        program = self.root / "nvidia-smi"
        program.symlink_to(FAKEBIN / "nvidia-smi")
        self.env["FAKE_NVIDIA_SMI"] = str(path)
        self.env["NVIDIA_SMI"] = str(program)
        return program

    def set_gpus(self, answer: Mapping[str, object]) -> None:
        """Change what the fake nvidia-smi answers; what is not named stays as it is."""
        path = self.root / "gpus.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.with_suffix(".new").write_text(json.dumps({**before, **answer}))
        path.with_suffix(".new").rename(path)

    @contextmanager
    def foreign(self, gpu: int, mib: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """A process that is none of ours and holds memory of a GPU, with its user: another one where root makes it."""
        as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        child = subprocess.Popen(
            [*as_other, "sleep", "600"],
            env={**self.env, "FAKE_GPU_MIB": str(mib), "CUDA_VISIBLE_DEVICES": str(gpu)},
            stdin=subprocess.DEVNULL,
        )
        try:
            yield child, pwd.getpwuid(65534 if as_other else os.geteuid()).pw_name
        finally:
            child.kill()
            child.wait(timeout=10)

    def nudge(self) -> None:
        """Wake the loop now, instead of at its next timer."""
        (self.specs / "nudge").touch()
        (self.specs / "nudge").unlink()

    def attempt(self, key: str, number: int = 1) -> Path:
        """The folder of an attempt."""
        return self.state / "attempts" / key / str(number)

    def done_to(self, key: str) -> list[tuple[str, str]]:
        """What the audit trail says was done to a job, in order: (action, reason)."""
        records = self.json("history", key, "-n", "0")["records"]
        return [(r["action"], r["reason"]) for r in records if r.get("phase") == "outcome" and r["ok"]]

    def verdict(self, key: str, number: int = 1) -> dict[str, Any]:
        """How an attempt ended, as the loop wrote it down."""
        found: dict[str, Any] = json.loads((self.attempt(key, number) / "verdict.json").read_text())
        return found

    def own_pids(self) -> list[int]:
        """Processes that this lab's attempts started, and its screens."""
        marks = (f"EXQ_STATE={self.state}".encode(), f"SCREENDIR={self.screens}".encode())
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    environ = (entry / "environ").read_bytes().split(b"\0")
                except OSError:  # it ended, or is not ours
                    continue
                if any(mark in environ for mark in marks):
                    found.append(int(entry.name))
        return found

    def _notes(self, pid: int) -> bool:
        """It is exq's own, beside the jobs: it notes what they ran."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            return True
        return any(word.startswith(f"{self.state}/bin/provenance-".encode()) for word in words)

    def close(self) -> None:
        """End everything this lab started, by pid, and remove its folder."""
        for child in self._children:
            self.kill(child)
        for pid in self.own_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself meanwhile
                continue
        shutil.rmtree(self.root, ignore_errors=True)
