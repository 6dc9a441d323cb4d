"""A filesystem in memory that forgets what was not synced when the power fails, in random subsets."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

FOLDER = stat.S_IFDIR
FILE = stat.S_IFREG
NO_FILE = os.strerror(errno.ENOENT)


@lru_cache(maxsize=1 << 14)
def dirname(path: str) -> str:
    """The folder of an absolute, normal path."""
    return path.rpartition("/")[0] or "/"


class Inode:
    """A file or a folder. `durable` is what a power failure is certain to leave of `data`."""

    __slots__ = ("data", "durable", "ino", "kind", "mode", "mtime_ns", "uid")

    def __init__(self, ino: int, kind: int, mtime_ns: int, mode: int = 0o700) -> None:
        self.ino = ino
        self.kind = kind
        self.data = b""
        self.durable = b""
        self.mtime_ns = mtime_ns
        self.mode = mode
        self.uid = 1000


@dataclass(slots=True)
class StatResult:
    """As far as the product looks at it."""

    st_mode: int
    st_mtime_ns: int
    st_size: int
    st_ino: int
    st_uid: int
    st_dev: int = 1
    st_gid: int = 1000

    @property
    def st_mtime(self) -> float:
        return self.st_mtime_ns / 1e9


class Disk:
    """Paths are absolute and normal. Every failure is an OSError, as from the kernel."""

    def __init__(self, rng: Random, clock: Callable[[], float]) -> None:
        self._rng = rng
        self._inodes = 0
        self._clock = clock
        self.full = False
        self.free_mib = 50_000
        self.entries: dict[str, Inode] = {"/": self._inode(FOLDER)}
        self.children: dict[str, dict[str, None]] = {"/": {}}
        self._stable: dict[str, Inode] = dict(self.entries)
        self._pending: dict[str, list[tuple[str, Inode | None]]] = {}

    def _inode(self, kind: int) -> Inode:
        self._inodes += 1
        return Inode(self._inodes, kind, self.now_ns)

    # names

    def _link(self, path: str, inode: Inode) -> None:
        self.entries[path] = inode
        folder = dirname(path)
        self.children[folder][path] = None
        self.entries[folder].mtime_ns = self.now_ns
        if inode.kind == FOLDER:
            self.children.setdefault(path, {})
        self._pending.setdefault(folder, []).append((path, inode))

    def _forget(self, path: str) -> None:
        del self.entries[path]
        folder = dirname(path)
        self.children[folder].pop(path, None)
        self.entries[folder].mtime_ns = self.now_ns

    def get(self, path: str) -> Inode:
        found = self.entries.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
        return found

    @property
    def now_ns(self) -> int:
        """By the machine's clock."""
        return int(self._clock() * 1e9)

    def is_folder(self, path: str) -> bool:
        found = self.entries.get(path)
        return found is not None and found.kind == FOLDER

    def folder(self, path: str) -> None:
        """Make one folder."""
        if path in self.entries:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if not self.is_folder(dirname(path)):
            raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
        self.room(path)
        self._link(path, self._inode(FOLDER))

    def folders(self, path: str) -> None:
        """Make a folder and those above it."""
        if path in self.entries:
            return
        self.folders(dirname(path))
        self.folder(path)

    def create(self, path: str) -> Inode:
        """A new empty file; the name must be free."""
        if not self.is_folder(dirname(path)):
            raise FileNotFoundError(errno.ENOENT, NO_FILE, path)
        self.room(path)
        inode = self._inode(FILE)
        self._link(path, inode)
        return inode

    def unlink(self, path: str) -> None:
        self.get(path)
        self._forget(path)
        self._pending.setdefault(dirname(path), []).append((path, None))

    def rename(self, source: str, goal: str) -> None:
        """Atomic: after a power failure the goal is the old file or the new one."""
        inode = self.get(source)
        if not self.is_folder(dirname(goal)):
            raise FileNotFoundError(errno.ENOENT, NO_FILE, goal)
        self._forget(source)
        self.entries[goal] = inode
        self.children[dirname(goal)][goal] = None
        self.entries[dirname(goal)].mtime_ns = self.now_ns
        self._pending.setdefault(dirname(goal), []).append((goal, inode))
        self._pending.setdefault(dirname(source), []).append((source, None))

    def room(self, path: str) -> None:
        """Raise ENOSPC on a full disk."""
        if self.full and not path.startswith("/run/"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    # contents

    def write(self, inode: Inode, data: bytes, path: str = "") -> None:
        """Add to the end."""
        self.room(path)
        inode.data += data
        inode.mtime_ns = self.now_ns

    def truncate(self, inode: Inode, size: int = 0) -> None:
        inode.data = inode.data[:size]
        inode.mtime_ns = self.now_ns

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """Replace a whole file, making its folders (what users and payloads do)."""
        self.folders(dirname(path))
        self.room(path)
        if path in self.entries:
            self.unlink(path)
        inode = self.create(path)
        inode.data = data
        if sync:
            self.sync(inode)
            self.sync_all_names()

    def sync(self, inode: Inode) -> None:
        inode.durable = inode.data

    def sync_names(self, folder: str) -> None:
        for path, inode in self._pending.pop(folder, ()):
            _apply(self._stable, path, inode)

    def sync_all_names(self) -> None:
        for folder in list(self._pending):
            self.sync_names(folder)

    def surely(self, path: str) -> bytes:
        """What a power failure is certain to leave of a file; nothing where its very name may be lost."""
        inode = self._stable.get(path)
        return inode.durable if inode is not None else b""

    # the power fails

    def power_loss(self) -> None:
        """Keep what was synced, and of the rest whatever chance had already carried to the platter."""
        for names in self._pending.values():
            for path, inode in names:
                if self._rng.random() < 0.5:
                    _apply(self._stable, path, inode)
        self._pending.clear()
        self.entries, self.children = {"/": self.entries["/"]}, {"/": {}}
        for path in sorted(self._stable, key=lambda path: (path.count("/"), path)):
            inode = self._stable[path]
            if path != "/" and dirname(path) in self.children:
                self.entries[path] = inode
                self.children[dirname(path)][path] = None
                if inode.kind == FOLDER:
                    self.children[path] = {}
                self._settle(inode)
        self._stable = dict(self.entries)

    def _settle(self, inode: Inode) -> None:
        if inode.data != inode.durable:
            cut = self._rng.randrange(len(inode.data) + 1)
            whole, torn = inode.data, inode.data[:cut]
            inode.data = self._rng.choice((inode.durable, whole, torn if torn.startswith(inode.durable) else whole))
            inode.durable = inode.data


def stat_of(inode: Inode) -> StatResult:
    return StatResult(inode.kind | inode.mode, inode.mtime_ns, len(inode.data), inode.ino, inode.uid)


def _apply(names: dict[str, Inode], path: str, inode: Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode
