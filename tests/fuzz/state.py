"""Damaged state beside real attempts: nothing is run twice, nothing is ended, no verb fails in an unforeseen way.

One job runs, one is completed, one is stuck, one has just ended and waits for its verdict, and there is room for more.
After each damage the whole folder is put back, byte by byte and in place, since locks belong to inodes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from reconciler import loop
from reconciler.cli.exits import INTERNAL
from reconciler.cli.main import main
from reconciler.model.enums import ActionKind, JobStatus
from reconciler.model.facts import Unknown
from reconciler.model.snapshot import Snapshot
from reconciler.store.errors import StoreError
from reconciler.view.words import UNKNOWN_REASONS
from tests.fuzz.mutate import RECORD_TOKENS, mutated, truncations
from tests.fuzz.specs import Broken

LOOK_MAX_S = 20.0
PATIENCE_S = 60.0
SPEC = """\
project: p
cwd: {work}
gpus: none
launcher: process
max_parallel: 9
jobs:
  - {{id: live, cmd: "echo live >> ran; until [ -e go ]; do sleep 0.1; done"}}
  - {{id: done, cmd: "echo done >> ran; echo > done.out", output_check: done.out}}
  - {{id: stuck, cmd: "echo stuck >> ran; exit 3"}}
  - {{id: ended, cmd: "echo ended >> ran; until [ -e end ]; do sleep 0.05; done; exit 3"}}
"""
RAN = ["done", "ended", "live", "stuck"]
SHAPES: tuple[bytes, ...] = (
    b"", b"\n", b"garbage\n", b"null\n", b"[]\n", b"{}\n", b"7\n", b'""\n', b"\x00" * 4096 + b"\n", b"\xff\xfe\n",
    b"[" * 100_000 + b"\n", b"[" * 100_000 + b"]" * 100_000 + b"\n", b'{"a":' * 50_000 + b"\n", b"9" * 5000 + b"\n",
    b'{"code": 1e999, "pid": 1e999, "start_ticks": 1e999, "boot_id": 1e999}\n', b'{"code": NaN, "pid": NaN}\n',
    b'{"boot_id": "x", "pid": -1, "start_ticks": -1, "shim_pid": 0, "shim_start_ticks": 0}\n',
    b'{"pid": {}, "code": [], "status": {}, "at": "x", "job": 7, "number": "one"}\n', b"shim x y z\n", b"shim\n",
    b"shim {boot} x y\n", b"shim {boot} -1 -1\n", b"shim {boot} " + b"9" * 400 + b" 1\n", b"revoked",
    b"\x1b[2J\x1b]0;x\x07\n",
    b'{"code": "\\u001b[2J"}\n', b'{"code": ' + b"9" * 300 + b"}\n", b"\xed\xa0\x80\n", b'"\\ud800"\n',
    b'{"pid": "../../x", "start_ticks": 1, "shim_pid": "\\u0000", "shim_start_ticks": {}}\n', b"x" * (2 << 20) + b"\n",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it was."""

    data: bytes
    mode: int
    times: tuple[int, int]


class Bench:
    """A real state folder with real attempts, of which one runs until `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state, self.specs, self.work = root / "state", root / "specs", root / "work"
        self.specs.mkdir(parents=True)
        self.work.mkdir()
        spec = self.specs / "p.yaml"
        spec.write_text(SPEC.format(work=self.work))
        os.utime(spec, (1e9, 1e9))
        self.env = {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "NVIDIA_SMI": "/nonexistent/nvidia-smi"}
        self._start()
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        self.live_pid = int(json.loads((self.state / "attempts/p/live/1/started.json").read_text())["pid"])
        self.kept = {path: self._read(path) for path in self._files()}

    def _start(self) -> None:
        self.tick()
        self._wait_for(lambda: self.ran() == RAN, "all have started")
        for _ in range(200):
            states = self.tick().plan.states
            if str(states["p/done"].status) == "completed" and str(states["p/stuck"].status) == "stuck":
                break
            time.sleep(0.05)
        self._quietly(["pause", "p/done"])
        (self.work / "end").touch()
        self._wait_for((self.state / "attempts/p/ended/1/exit.json").exists, "one has ended")
        self._wait_for(lambda: len(os.listdir(self.state / "spool")) > 0, "its shim has ended")

    @staticmethod
    def _wait_for(holds: object, what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not holds():  # type: ignore[operator]
            assert time.monotonic() < until, what
            time.sleep(0.02)

    def close(self) -> None:
        """Let the running job end, and wait for its shim."""
        self.restore()
        (self.work / "go").touch()
        marker = self.state / "attempts/p/live/1/exit.json"
        self._wait_for(marker.exists, "the last job ends")
        shutil.rmtree(self.root, ignore_errors=True)

    def ran(self) -> list[str]:
        path = self.work / "ran"
        return sorted(path.read_text().split()) if path.exists() else []

    # damage and repair

    def _files(self) -> list[Path]:
        return sorted(path for path in self.state.rglob("*") if path.is_file() and not path.is_symlink())

    @staticmethod
    def _read(path: Path) -> Kept:
        found = path.stat()
        return Kept(path.read_bytes(), found.st_mode & 0o777, (found.st_atime_ns, found.st_mtime_ns))

    def restore(self) -> None:
        """Everything as it was, in place; what was added is removed."""
        for path in self._files():
            if path not in self.kept:
                path.unlink()
        for path, kept in self.kept.items():
            found = path.stat() if path.is_file() else None
            same = found and (found.st_mtime_ns, found.st_size) == (kept.times[1], len(kept.data))
            if same and path.read_bytes() == kept.data:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "r+b" if found else "wb") as file:
                file.truncate()
                file.write(kept.data)
            path.chmod(kept.mode)
            os.utime(path, ns=kept.times)

    def damage(self, path: Path, data: bytes) -> None:
        """Other bytes in a file that keeps its times: what happened is not to be told from them."""
        kept = self.kept[path]
        with open(path, "r+b") as file:
            file.truncate()
            file.write(data.replace(b"{boot}", self.boot))
        os.utime(path, ns=kept.times)

    def targets(self) -> list[Path]:
        """The files that are damaged: all but locks, markers and the shim."""
        folders = {"locks", "spool", "bin"}
        return [path for path in self.kept if path.relative_to(self.state).parts[0] not in folders]

    # looking and acting

    def look(self) -> Snapshot:
        with loop.open_world(self.specs, self.state, writable=False, env=self.env) as world:
            return loop.look(world)

    def tick(self) -> Snapshot:
        with loop.open_world(self.specs, self.state, writable=True, env=self.env) as world:
            return loop.run(world, once=True)

    def _quietly(self, words: list[str]) -> tuple[int, str]:
        text = io.StringIO()
        place = ["--state", str(self.state), "--specs", str(self.specs)]
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO())) as err:
            code = main([*words, *place])
            for stream in (out, err):
                stream.flush()
                text.write(stream.buffer.getvalue().decode(errors="replace"))  # type: ignore[attr-defined]
        return code, text.getvalue()

    def check(self, path: Path, data: bytes, verbs: list[list[str]]) -> None:
        """Damage one file, look, run the verbs, carry out one plan, and put all back. Raises Broken."""
        name = str(path.relative_to(self.state))
        self.damage(path, data)
        began_at = time.monotonic()
        try:
            self._check_plan(self.look(), name, data)
            for words in verbs:
                code, text = self._quietly(words)
                raw = words[0] == "logs"  # what a job wrote is shown as it is
                if code == INTERNAL or "Traceback" in text or ("\x1b" in text and not raw):
                    raise Broken(f"{name}: exq {' '.join(words)} ended with {code}: {text!r}", data)
            self._check_plan(self.tick(), name, data)
            self._check_plan(self.look(), name, data)
        except StoreError as error:
            if not str(error).isprintable():
                raise Broken(f"{name}: {error!r}", data) from error
        except Broken:
            raise
        except Exception as error:
            raise Broken(f"{name}: {type(error).__name__}: {error}", data) from error
        finally:
            self.restore()
        if self.ran() != RAN:
            raise Broken(f"{name}: what ran is {self.ran()}", data)
        if not Path(f"/proc/{self.live_pid}").exists():
            raise Broken(f"{name}: the running job was ended", data)
        if time.monotonic() - began_at > LOOK_MAX_S:
            raise Broken(f"{name}: it took more than {LOOK_MAX_S:.0f} s", data)

    @staticmethod
    def _check_plan(snapshot: Snapshot, name: str, data: bytes) -> None:
        for action in snapshot.plan.actions:
            if action.kind in (ActionKind.LAUNCH, ActionKind.KILL):
                raise Broken(f"{name}: {action.kind} of {action.path}: {action.message}", data)
        blind = [host for host, view in snapshot.observed.hosts.items() if isinstance(view, Unknown)]
        if blind:
            raise Broken(f"{name}: one damaged file hides all of {blind}: {snapshot.plan.unknown}", data)
        for key, status in (("p/live", JobStatus.RUNNING), ("p/done", JobStatus.COMPLETED)):
            state = snapshot.plan.states[key]
            if state.status is not status and state.reason not in UNKNOWN_REASONS:
                raise Broken(f"{name}: {key} counts as {state.status} ({state.reason}): {state.message}", data)
        for state in snapshot.plan.states.values():
            if not state.message.isprintable():
                raise Broken(f"{name}: a message is not one printable line: {state.message!r}", data)


VERBS = [
    ["status"], ["why", "live"], ["why", "ended"], ["history"], ["logs", "live", "-n", "3"],
    ["logs", "ended", "-n", "1"], ["status", "--json"], ["report"], ["diff"],
]  # fmt: skip


def inputs(bench: Bench, seed: int) -> Iterator[tuple[Path, bytes]]:
    """Every shape in every small file, then cuts and changes without end."""
    random = Random(seed)
    targets = bench.targets()
    records = [path for path in targets if len(bench.kept[path].data) < 8192]
    first = [(path, shape) for path in targets for shape in SHAPES if not (path.name == "log" and len(shape) > 1 << 20)]
    random.shuffle(first)
    yield from first
    cuts = [(path, data) for path in records for data in truncations(bench.kept[path].data)]
    random.shuffle(cuts)
    corpus = [bench.kept[path].data for path in records]
    for cut in cuts:
        yield cut
        path = random.choice(targets)
        yield path, mutated(bench.kept[path].data, corpus, RECORD_TOKENS, random)
    while True:
        path = random.choice(targets)
        data = bench.kept[path].data
        for _ in range(random.choice((1, 1, 2, 4))):
            data = mutated(data, corpus, RECORD_TOKENS, random)
        yield path, data


def run(root: Path, enough: Callable[[int], bool], seed: int) -> int:
    """Check damages until that many are enough; how many. Raises Broken."""
    bench = Bench(root)
    count = 0
    try:
        for path, data in inputs(bench, seed):
            if data == bench.kept[path].data or is_a_wish(path, data):
                continue
            bench.check(path, data, [VERBS[count % len(VERBS)]])
            count += 1
            if enough(count):
                break
    finally:
        bench.close()
    return count


def is_a_wish(path: Path, data: bytes) -> bool:
    """A request that can still be read is what its user asked for, whatever it says."""
    if path.parent.name != "requests":
        return False
    try:
        return json.loads(data).get("kind") in ("retry", "stop")
    except (ValueError, AttributeError, RecursionError):
        return False
