"""`os`, `time`, `subprocess` and `open` as the product's own code meets them, on the simulated machine."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any

from tests.sim.disk import FOLDER, NO_FILE, Inode, StatResult, stat_of
from tests.sim.faults import FAIL
from tests.sim.machine import HOME, SOCKETS, USER, Machine

LOOP_PID = 77


class Path(os.PathLike[str]):
    """As much of pathlib's as the store and the spec loader use."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __truediv__(self, part: str) -> Path:
        return Path(_FakePath.join(self.text, part))

    def __fspath__(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def name(self) -> str:
        return posixpath.basename(self.text)

    @property
    def parent(self) -> Path:
        return Path(posixpath.dirname(self.text))

    def with_name(self, name: str) -> Path:
        return self.parent / name

    def exists(self) -> bool:
        return self.text in OS.m.disk.entries

    def is_dir(self) -> bool:
        return OS.m.disk.is_folder(self.text)

    def stat(self) -> StatResult:
        return OS.stat(self.text)

    def open(self, mode: str = "r") -> File:
        return File(OS.open(self.text, os.O_RDONLY), mode)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return bytes(file.read())

    def rename(self, goal: Path) -> None:
        OS.rename(self.text, goal.text)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            OS.unlink(self.text)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        OS.mkdir(self.text)


class _Entry:
    """What scandir yields."""

    __slots__ = ("inode", "name")

    def __init__(self, name: str, inode: Inode) -> None:
        self.name = name
        self.inode = inode

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.inode.kind == FOLDER

    def is_symlink(self) -> bool:
        return False


class _Entries(list[_Entry]):
    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _FakePath:
    """`os.path`."""

    dirname = staticmethod(posixpath.dirname)
    basename = staticmethod(posixpath.basename)

    join = staticmethod(lru_cache(maxsize=1 << 14)(posixpath.join))  # the same few paths again and again
    isabs = staticmethod(posixpath.isabs)
    abspath = staticmethod(posixpath.normpath)
    realpath = staticmethod(posixpath.normpath)
    splitext = staticmethod(posixpath.splitext)
    split = staticmethod(posixpath.split)

    @staticmethod
    @lru_cache(maxsize=1 << 14)
    def expanduser(path: str) -> str:
        return HOME + path[1:] if path.startswith("~") else path

    @staticmethod
    def isfile(path: str) -> bool:
        found = OS.m.disk.entries.get(path)
        return found is not None and found.kind != FOLDER

    @staticmethod
    def isdir(path: str) -> bool:
        return OS.m.disk.is_folder(path)

    @staticmethod
    def exists(path: str) -> bool:
        return path in OS.m.disk.entries or path.endswith("/shim.sh")

    @staticmethod
    def islink(path: str) -> bool:
        return False

    @staticmethod
    def samestat(one: StatResult, other: StatResult) -> bool:
        return one.st_ino == other.st_ino


class _Statvfs:
    def __init__(self, free_mib: int) -> None:
        self.f_bavail = free_mib
        self.f_frsize = 1 << 20
        self.f_blocks = 100_000


class FakeOs:
    """The calls of `os` that the product makes; `m` is the machine that they happen on."""

    O_RDONLY, O_WRONLY, O_RDWR = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
    O_CREAT, O_EXCL, O_TRUNC, O_APPEND = os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND
    O_NONBLOCK, O_DIRECTORY, O_CLOEXEC, O_NOFOLLOW = os.O_NONBLOCK, os.O_DIRECTORY, os.O_CLOEXEC, os.O_NOFOLLOW
    path = _FakePath
    PathLike = os.PathLike
    strerror = staticmethod(os.strerror)
    fsencode = staticmethod(os.fsencode)
    fsdecode = staticmethod(os.fsdecode)
    fspath = staticmethod(os.fspath)
    stat_result = os.stat_result

    def __init__(self) -> None:
        self.environ = {"SCREENDIR": SOCKETS, "HOME": HOME, "PATH": "/bin"}
        self.m: Machine = None  # type: ignore[assignment]
        self._files: dict[int, tuple[str, Inode, int]] = {}
        self._next = 10

    def use(self, machine: Machine) -> None:
        """From now on, all happens there."""
        self.m = machine
        self._files.clear()

    @contextmanager
    def on(self, machine: Machine) -> Iterator[None]:
        """Meanwhile, all happens there."""
        outer, self.m = self.m, machine
        try:
            yield
        finally:
            self.m = outer

    def open(self, path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        path = os.fspath(path)
        disk = self.m.disk
        writing = flags & (os.O_WRONLY | os.O_RDWR)
        kind = self.m.op("write", f"open {path}") if writing else None
        if kind == FAIL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        inode = disk.entries.get(path)
        if inode is not None and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if inode is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
            inode = disk.create(path)
        elif flags & os.O_TRUNC:
            disk.truncate(inode)
        self._next += 1
        self._files[self._next] = (path, inode, 0)
        if kind is not None:
            self.m.done(kind)
        return self._next

    def write(self, fd: int, data: bytes) -> int:
        path, inode, _ = self._files[fd]
        kind = self.m.op("write", f"write {path}")
        if kind == FAIL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.m.disk.write(inode, bytes(data), path)
        if kind is not None:
            self.m.done(kind)
        return len(data)

    def read(self, fd: int, size: int) -> bytes:
        path, inode, at = self._files[fd]
        data = inode.data[at : at + size]
        self._files[fd] = (path, inode, at + len(data))
        return data

    def fsync(self, fd: int) -> None:
        path, inode, _ = self._files[fd]
        kind = self.m.op("write", f"fsync {path}")
        if kind == FAIL:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if inode.kind == FOLDER:
            self.m.disk.sync_names(path)
        else:
            self.m.disk.sync(inode)
        if kind is not None:
            self.m.done(kind)

    def close(self, fd: int) -> None:
        self._files.pop(fd, None)

    def fstat(self, fd: int) -> StatResult:
        return stat_of(self._files[fd][1])

    def stat(self, path: str | os.PathLike[str]) -> StatResult:
        path = os.fspath(path)
        found = self.m.disk.entries.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
        return stat_of(found)

    lstat = stat

    def readlink(self, path: str | os.PathLike[str]) -> str:
        """There are no links in this world."""
        self.stat(path)
        raise OSError(errno.EINVAL, "Invalid argument", os.fspath(path))

    def chmod(self, path: str, mode: int) -> None:
        self.m.disk.get(path).mode = mode

    def fchmod(self, fd: int, mode: int) -> None:
        self._files[fd][1].mode = mode

    def utime(self, fd: int, ns: tuple[int, int]) -> None:
        self._files[fd][1].mtime_ns = ns[1]

    def truncate(self, fd: int, size: int) -> None:
        self.m.disk.truncate(self._files[fd][1], size)

    def seek(self, fd: int, at: int) -> None:
        path, inode, _ = self._files[fd]
        self._files[fd] = (path, inode, at)

    def _change(self, name: str, path: str) -> str | None:
        kind = self.m.op("write", f"{name} {path}")
        if kind == FAIL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return kind

    def rename(self, source: str | os.PathLike[str], goal: str | os.PathLike[str]) -> None:
        source, goal = os.fspath(source), os.fspath(goal)
        kind = self._change("rename", source)
        self.m.disk.rename(source, goal)
        if kind is not None:
            self.m.done(kind)

    replace = rename

    def unlink(self, path: str | os.PathLike[str]) -> None:
        path = os.fspath(path)
        if path not in self.m.disk.entries:
            raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
        kind = self._change("unlink", path)
        if path.startswith(SOCKETS):
            self._check_socket(path)
        self.m.disk.unlink(path)
        if kind is not None:
            self.m.done(kind)

    def _check_socket(self, path: str) -> None:
        server = self.m.procs.get(int(path.rpartition("/")[2].partition(".")[0]))
        if server is not None and server.role.endswith("screen"):
            self.m.wrong(f"S5: the socket of a live screen was removed: {path}")

    def makedirs(self, path: str, mode: int = 0o777, exist_ok: bool = False) -> None:
        if path not in self.m.disk.entries:
            kind = self._change("makedirs", path)
            self.m.disk.folders(path)
            if kind is not None:
                self.m.done(kind)

    def mkdir(self, path: str) -> None:
        kind = self._change("mkdir", path)
        self.m.disk.folder(path)
        if kind is not None:
            self.m.done(kind)

    def listdir(self, path: str | os.PathLike[str]) -> list[str]:
        path = os.fspath(path)
        if path == "/proc":
            return [str(pid) for pid in self.m.procs]
        if not self.m.disk.is_folder(path):
            raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
        return [child.rpartition("/")[2] for child in self.m.disk.children[path]]

    def scandir(self, path: str | os.PathLike[str]) -> _Entries:
        path = os.fspath(path)
        return _Entries(_Entry(name, self.m.disk.entries[posixpath.join(path, name)]) for name in self.listdir(path))

    def fdopen(self, fd: int, mode: str = "rb") -> File:
        return File(fd, mode)

    def statvfs(self, path: str) -> _Statvfs:
        return _Statvfs(0 if self.m.disk.full else self.m.disk.free_mib)

    def urandom(self, size: int) -> bytes:
        return self.m.rng.randbytes(size)

    def kill(self, pid: int, number: int) -> None:
        kind = self.m.op("signal", f"kill {pid}")
        if kind == FAIL:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self.m.signal(pid, number)
        if kind is not None:
            self.m.done(kind)

    @staticmethod
    def getpid() -> int:
        return LOOP_PID

    @staticmethod
    def getuid() -> int:
        return USER

    @staticmethod
    def sched_getaffinity(_pid: int) -> set[int]:
        return {0, 1}

    @staticmethod
    def sysconf(_name: str) -> int:
        return 100


OS = FakeOs()
"""What stands in for `os` in the product's modules here."""


class File:
    """What `open` gives: bytes are written through at once."""

    def __init__(self, fd: int, mode: str) -> None:
        self._fd = fd
        self._text = "b" not in mode

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        OS.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def flush(self) -> None:
        """Nothing is held back."""

    def write(self, data: Any) -> int:
        return OS.write(self._fd, data.encode() if self._text else data)

    def seek(self, at: int) -> None:
        OS.seek(self._fd, at)

    def truncate(self, size: int) -> None:
        OS.truncate(self._fd, size)

    def readinto(self, buffer: memoryview) -> int:
        data = OS.read(self._fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = 1 << 30) -> Any:
        data = OS.read(self._fd, size)
        return data.decode() if self._text else data


SHIM_TEXT = "# the shim of tests/sim/shim.py\n"


def fake_open(where: str | int, mode: str = "r", **_: object) -> Any:
    """`open`, for the modes in use."""
    if isinstance(where, int):
        return File(where, mode)
    if where.endswith("/shim.sh"):
        return io.StringIO(SHIM_TEXT)
    return File(OS.open(where, os.O_RDONLY), mode)


class FakeFcntl:
    """`fcntl`, for files that are written by one agent at a time here."""

    LOCK_EX, LOCK_NB, LOCK_SH = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_SH

    @staticmethod
    def flock(_fd: int, _operation: int) -> None:
        """Nobody else has it."""


class FakeTime:
    """`time`."""

    CLOCK_MONOTONIC = 1

    @staticmethod
    def time() -> float:
        return OS.m.now

    @staticmethod
    def monotonic() -> float:
        return OS.m.uptime

    @staticmethod
    def clock_gettime(_clock: int) -> float:
        return OS.m.uptime
