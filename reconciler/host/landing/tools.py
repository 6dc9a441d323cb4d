"""What both halves of the landing use: locks, durable files, links, and programs that end with their asker."""

import contextlib
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any, Dict, Iterator, List, Optional

from reconciler.host.landing.names import is_sent

Json = Dict[str, Any]

DATA = "~/.local/share/exq"
LOCK_WAIT_S = 10.0
SAID_MAX = 4000
OUTPUT_MAX = 8 << 20


class Refused(Exception):
    """What cannot be done, for a reason that a person can act on. `facts` go into the answer."""

    def __init__(self, kind: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


class Gone(Exception):
    """Whoever asked has gone."""


@contextlib.contextmanager
def locked(path: str, otherwise: str) -> Iterator[None]:
    """Hold a lock of the kernel. Raises Refused when somebody else does for too long."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Refused("busy", otherwise) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def sync_folder(path: str) -> None:
    """Names in it survive a loss of power."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: str, data: bytes, mode: int = 0o600) -> None:
    """A file that is on the disk when this returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)


def write_json(path: str, value: Any) -> None:
    """The whole file or the one before."""
    fresh = f"{path}.{os.getpid()}"
    try:
        write(fresh, json.dumps(value).encode("utf-8", "surrogateescape"))
        os.rename(fresh, path)
    except OSError:
        remove(fresh)
        raise


def read_json(path: str) -> Json:
    """What a file holds; nothing where there is none, or it is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def point(link: str, target: str) -> None:
    """Have a link lead elsewhere, in one step."""
    fresh = f"{link}.{os.getpid()}"
    remove(fresh)
    os.symlink(target, fresh)
    try:
        os.rename(fresh, link)
    except OSError:
        remove(fresh)
        raise


def remove(path: str) -> None:
    """A file, a link or a whole folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def make_folders(path: str, made: Optional[List[str]] = None) -> None:
    """Those that are not there; they are added to `made`, outermost first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder, 0o755)
        if made is not None:
            made.append(folder)


def files_in(folder: str) -> Dict[str, str]:
    """The SHA-256 of each file of a release or a specs folder that is a part of the specs, by its path in there."""
    found = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if is_sent(name)]
        for name in names:
            path = os.path.join(base, name)
            if is_sent(name) and os.path.isfile(path):
                found[os.path.relpath(path, folder)] = sha256(path)
    return found


def sha256(path: str) -> str:
    """Of what is in a file."""
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(1 << 20)
            if not piece:
                return whole.hexdigest()
            whole.update(piece)


def run(argv: List[str], env: Optional[Dict[str, str]] = None, cwd: Optional[str] = None) -> Json:
    """Run a program to its end: exit code and outputs. It is ended when whoever asked goes away: raises Gone."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd, start_new_session=True
        )
        while child.poll() is None:
            ready = select.select([0], [], [], 0.05)[0]
            if ready:  # nothing is asked before the answer has come: this is the end
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)
                child.wait()
                raise Gone
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(OUTPUT_MAX).decode("utf-8", "replace"))
    return {"code": child.returncode, "out": texts[0], "err": texts[1]}


def last_words(done: Json) -> str:
    """The end of what a program complained about."""
    return str((done["err"] or done["out"]).strip()[-SAID_MAX:])


def boot_mark() -> str:
    """Tells one start of one machine from another."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return "unknown0"
