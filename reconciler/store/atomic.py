"""Durable file changes: a reader sees the old file or the new one, also after a power loss."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.store.errors import StoreError, StoreFull

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
TEMPORARY_PREFIX = ".tmp-"
"""Files that start with this are half-written: readers of a folder skip them."""


@contextmanager
def mapped(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a StoreError or StoreFull. `doing` completes "cannot ... PATH"."""
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, path) from error


def store_error(error: OSError, doing: str, path: Path) -> StoreError:
    """The sentence for an OSError."""
    if error.errno in NO_ROOM:
        return StoreFull(f"cannot {doing} {path}: no room left there (disk, quota or inodes); free some space")
    if error.errno == errno.EROFS:
        return StoreError(f"cannot {doing} {path}: the filesystem is read-only; name another folder with --state")
    return StoreError(f"cannot {doing} {path}: {error.strerror or error}; check the folder and its permissions")


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably; its folder must exist. Mode 0600.

    Raises StoreFull or StoreError, and then the old content stands."""
    with mapped("write", path):
        temporary = path.parent / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
        try:
            _write_new(temporary, data)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _write_new(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power loss. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
