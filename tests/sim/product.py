"""The product's own modules, loaded a second time with the simulated `os` in them.

The agent, the store's files and the spec folder run here line by line as they ship; what is replaced are only the
calls that reach the machine. The modules that the rest of the tests import stay as they are."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import sys
from functools import cache, lru_cache
from pathlib import Path as RealPath
from typing import Any

import reconciler
from tests.sim.fake_os import OS, FakeFcntl, FakeTime, Path, fake_open
from tests.sim.faults import FAIL, GARBAGE, STALE
from tests.sim.machine import USER
from tests.sim.tools import Child, FakeShutil, FakeSubprocess, collect

ROOT = RealPath(reconciler.__file__).parent


def _copy(name: str) -> Any:
    """A module of its own from the same source."""
    spec = importlib.util.spec_from_file_location(f"sim_{name.replace('/', '_')}", ROOT / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _atomic() -> Any:
    module = _copy("store/atomic")
    module.os = OS
    module.open = fake_open
    return module


atomic = _atomic()


def _store(name: str, **replaced: object) -> Any:
    module = _copy(f"store/{name}")
    for key, value in replaced.items():
        setattr(module, key, value)
    return module


requests = _store(
    "requests", os=OS, mapped=atomic.mapped, sync_folder=atomic.sync_folder, write_atomic=atomic.write_atomic
)
rebuild = _store("rebuild", os=OS, mapped=atomic.mapped, requests=requests)
seen = _store("seen", write_atomic=atomic.write_atomic)
state = _store("state", os=OS, mapped=atomic.mapped, rebuild=rebuild, requests=requests, seen=seen)
last_good = _store("last_good", write_atomic=atomic.write_atomic)
paths = _store("paths", mapped=atomic.mapped, sync_folder=atomic.sync_folder)


def _specs() -> Any:
    reading = _copy("spec/reading")
    reading.os = OS
    reading.distrust = lambda *_: ""  # whose file it is, the simulation does not ask
    intake = _copy("spec/intake")
    intake.load_text = cache(intake.load_text)  # pure, and the same few texts in every run
    intake.digest_of = lru_cache(maxsize=1 << 12)(intake.digest_of)
    module = _copy("spec/files")
    module.os = OS
    module.Intake, module.load_text, module.digest_of = intake.Intake, intake.load_text, intake.digest_of
    for name in ("version_of", "one_project_each", "desired_of"):
        setattr(module, name, getattr(intake, name))
    module.stamp_of, module.read_spec, module.Unreadable = reading.stamp_of, reading.read_spec, reading.Unreadable
    module.git_folder = lambda _folder: None
    module.folder_distrust = lambda _folder: ""
    return module


specs = _specs()


# --- the agent


@lru_cache(maxsize=1 << 12)
def _loaded(text: str) -> Any:
    return json.loads(text)


class FakeJson:
    """`json`, where the same few records are read in every look."""

    dumps = staticmethod(json.dumps)

    @staticmethod
    def loads(text: str) -> Any:
        found = _loaded(text)
        return dict(found) if isinstance(found, dict) else found


def _agent() -> Any:
    module = _copy("host/agent")
    module.os = OS
    module.time = FakeTime
    module.subprocess = FakeSubprocess
    module.shutil = FakeShutil
    module.open = fake_open
    module.fcntl = FakeFcntl
    module.Child = Child
    module.collect = collect
    module.json = FakeJson
    module.resolve = lru_cache(maxsize=1 << 14)(module.resolve)  # pure, and the same few paths in every look
    module.encoded = lru_cache(maxsize=1 << 14)(module.encoded)
    module.is_pattern = lru_cache(maxsize=1 << 14)(module.is_pattern)
    return module


agent = _agent()


def _read_file(path: str, limit: int = 1 << 20) -> tuple[bytes, float] | None:
    kind = OS.m.op("read", path)
    if kind == FAIL:
        raise agent.Unreadable(f"{path} cannot be read: {os.strerror(errno.EIO)}")
    inode = OS.m.disk.entries.get(path)
    found = (inode.data[:limit], inode.mtime_ns / 1e9) if inode is not None else None
    known = OS.m.files
    previous, known[path] = known.get(path), found
    if kind == STALE and not path.endswith("/exit.json"):
        return previous
    if kind == GARBAGE and found is not None:
        return (b"\0\0\0\n", b"[1]\n", b"{}\n")[OS.m.faults.count % 3], found[1]
    return found


def _process_stat(pid: int) -> Any:
    process = OS.m.procs.get(pid)
    if process is None:
        return None
    if process.stat is None:
        process.stat = agent.Stat(pid, process.name, "S", process.session, 1, process.start_ticks)
    return process.stat


def _owner_of(pid: int) -> int | None:
    process = OS.m.procs.get(pid)
    return process.uid if process is not None else None


def _environment_of(pid: int) -> dict[bytes, bytes]:
    process = OS.m.procs.get(pid)
    return process.environ if process is not None and process.uid == USER else {}


def _read_proc(pid: int, name: str) -> bytes:
    process = OS.m.procs.get(pid)
    return process.cmdline if process is not None and name == "cmdline" else b""


def _lock_holder(path: str) -> str | None:
    kind = OS.m.op("read", path)
    if kind == FAIL:
        raise agent.Unreadable(f"the lock {path} cannot be probed: {os.strerror(errno.EIO)}")
    inode = OS.m.disk.get(path)
    if not OS.m.locks.get(inode.ino):
        return None
    lines = inode.data.decode().splitlines()
    return lines[-1] if lines else ""


def _holds_open(pid: int, path: str) -> bool:
    process, inode = OS.m.procs.get(pid), OS.m.disk.entries.get(path)
    return process is not None and inode is not None and inode.ino in process.locks


agent.read_file = _read_file
agent.process_stat = _process_stat
agent.owner_of = _owner_of
agent.environment_of = _environment_of
agent.read_proc = _read_proc
agent.lock_holder = _lock_holder
agent.holds_open = _holds_open
agent.boot_id = lambda: OS.m.boot_id


GARBLED: tuple[dict[str, Any], ...] = ({}, {"garbage": 1}, {"now": "x", "boot_id": 3})


class SimAgent(agent.Agent):  # type: ignore[misc, name-defined]
    """The real agent behind one more operation: the request itself can get lost, hang or be answered wrongly."""

    def __init__(self, state_folder: str) -> None:
        super().__init__(state_folder, {"screen": "screen", "nvidia_smi": "nvidia-smi", "helpers": {}})
        self._last: dict[str, dict[str, Any]] = {}

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        machine = OS.m
        name = str(request.get("op"))
        kind = machine.op("handle", f"{name} {request.get('path', '')}")
        if kind == FAIL:
            return {"error": "the host gave no answer", "kind": "failed"}
        machine.acting = (self.state, str(request.get("path"))) if name == "kill" else None
        try:
            reply: dict[str, Any] = super().handle(request)
        finally:
            machine.acting = None
        if machine.loop_dead:
            raise AssertionError("a crash was swallowed")
        machine.done(kind)
        if kind == "hang":
            return {"error": "the host did not answer in time", "kind": "failed"}
        if kind == GARBAGE:
            return GARBLED[machine.faults.count % 3]
        if name == "probe" and not machine.frozen:
            previous = self._last.get(name, reply)
            self._last[name] = reply
            reply = previous if kind == STALE else reply
        return reply


class _Entry:
    """One line of the user database."""

    def __init__(self, name: str) -> None:
        self.pw_name = name


class _NoPwd:
    """`pwd`."""

    @staticmethod
    def getpwuid(uid: int) -> _Entry:
        return _Entry("u" if uid == USER else "alice")


agent.pwd = _NoPwd

__all__ = ["Path", "SimAgent", "agent", "atomic", "last_good", "paths", "rebuild", "requests", "specs", "state"]
