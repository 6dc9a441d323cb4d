"""Reading one spec file: bounded in time and size, every obstacle in words."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from reconciler.spec.yaml_nodes import MAX_BYTES
from reconciler.trust import distrust

RESERVED = frozenset({"exq.yaml", "exq.yml"})
"""Settings of exq, which lie beside the specs."""
SPEC_ENDINGS = (".yaml", ".yml")
_NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Unreadable(Exception):
    """A file that cannot be taken as a spec; the message says why."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one version of a file from another without reading it. Its rights decide whether it counts."""

    mtime_ns: int
    size: int
    inode: int
    device: int
    rights: tuple[int, int, int]
    """Mode, owner and group."""


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file, or None where there is none to be had."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    rights = found.st_mode, found.st_uid, found.st_gid
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, rights)


def read_spec(path: Path) -> str:
    """The text of a spec file. Raises `Unreadable`; never waits for a pipe or a device."""
    check_name(path.name)
    try:
        _check_regular(path, os.stat(path))
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            _check_regular(path, found)
            _check_trusted(path, found, handle)
            content = file.read(MAX_BYTES + 1)
        if content is None:  # a file of the kernel that has nothing to say now
            raise Unreadable("this is no ordinary file: reading it gives no answer")
    except FileNotFoundError:
        what = "it is a link to a file that does not exist" if os.path.islink(path) else "the file does not exist"
        raise Unreadable(what) from None
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror or error}") from None
    return decoded(content)


def is_spec_name(name: str) -> bool:
    """A file of this name in a specs folder is taken as a spec."""
    return name.endswith(SPEC_ENDINGS) and not name.startswith(".") and name not in RESERVED


def check_name(name: str) -> None:
    """Raise `Unreadable` for a file name that could not be shown or stored."""
    if _NO_NAME.search(name):
        raise Unreadable("the name of this file is not UTF-8 text, or holds control characters: rename it")


def too_large(name: str = "") -> Unreadable:
    """What is said of a file that is larger than a spec may be."""
    what = "no settings are" if name in RESERVED else "use a grid, or split it"
    return Unreadable(f"the file is larger than {MAX_BYTES >> 20} MiB: {what}")


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise Unreadable(f"this is {kind}, not a file")
    if found.st_size > MAX_BYTES:
        raise too_large(path.name)


def _check_trusted(path: Path, found: os.stat_result, handle: int) -> None:
    why = distrust(path, found, handle)
    if why:
        raise Unreadable(f"the file is not taken: {why}")


def decoded(content: bytes) -> str:
    """The text of a spec. Raises `Unreadable`."""
    if len(content) > MAX_BYTES:
        raise too_large()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"the file is not UTF-8 text: byte {content[error.start]:#04x} on line {line}") from None
