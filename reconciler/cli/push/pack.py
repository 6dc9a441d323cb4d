"""A specs folder as one piece: all its files as they were at one moment, and what they are called together."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.cli.exits import CliError
from reconciler.host.landing.names import is_sent
from reconciler.spec.reading import Stamp, stamp_of

FILES_MAX = 5_000
BYTES_MAX = 64 << 20
TRIES = 5
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class File:
    """`path` is relative to the specs folder, with `/`."""

    path: str
    data: bytes
    sha256: str
    mtime_ns: int
    executable: bool

    def row(self) -> dict[str, Any]:
        """How it is told to the host, apart from its bytes."""
        return {
            "path": self.path,
            "size": len(self.data),
            "sha256": self.sha256,
            "mtime_ns": self.mtime_ns,
            "executable": self.executable,
        }


@dataclass(frozen=True, slots=True)
class Package:
    """`revision` is what people read; `commit` is the whole name of the commit, empty where there is none."""

    files: tuple[File, ...]
    revision: str
    commit: str

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return {file.path: file.sha256 for file in self.files}

    @property
    def digest(self) -> str:
        """Of all files and the revision together."""
        return digest_of(self.digests, self.revision)

    @property
    def blob(self) -> bytes:
        """The bytes of all files, in order."""
        return b"".join(file.data for file in self.files)


def digest_of(files: dict[str, str], revision: str) -> str:
    """What tells one set of specs from another."""
    lines = [f"{path}\0{sha256}\n" for path, sha256 in sorted(files.items())]
    return hashlib.sha256("".join([f"{revision}\n", *lines]).encode("utf-8", "surrogatepass")).hexdigest()


def pack(folder: Path) -> Package:
    """The files, none of which changed while they were read. Raises CliError."""
    _refuse_at_work(folder)
    for _ in range(TRIES):
        before = _stamps(folder)
        files = tuple(_read(folder, path) for path in sorted(before))
        if _stamps(folder) == before:
            return Package(files, *_revision(folder, files))
        time.sleep(PAUSE_S)
    raise CliError(f"files in {folder} change all the time", "push again when nothing writes there")


def _refuse_at_work(folder: Path) -> None:
    from reconciler.spec.revision import git_folder, operation_in_progress

    busy = operation_in_progress(git_folder(folder))
    if busy:
        raise CliError(f"{busy} in the repository of {folder}", "finish it, or wait, then push")


def _stamps(folder: Path) -> dict[str, Stamp]:
    found: dict[str, Stamp] = {}
    total = 0
    for path in _paths(folder):
        stamp = stamp_of(path)
        if stamp is None or not stat.S_ISREG(stamp.rights[0]):
            raise CliError(f"{path} is no file that could be sent", "remove it, or put a file in its place")
        found[path.relative_to(folder).as_posix()] = stamp
        total += stamp.size
    if len(found) > FILES_MAX or total > BYTES_MAX:
        raise CliError(
            f"{folder} holds {len(found):,} files with {total >> 20:,} MiB: that is more than specs",
            f"exq push sends at most {FILES_MAX:,} files and {BYTES_MAX >> 20} MiB; keep data and results elsewhere",
        )
    return found


def _paths(folder: Path) -> Iterator[Path]:
    """All files that are a part of the specs."""
    for base, folders, names in os.walk(folder):
        for name in folders:
            if is_sent(name) and os.path.islink(os.path.join(base, name)):
                raise CliError(f"{os.path.join(base, name)} is a link to a folder, which is not sent", "copy it there")
        folders[:] = sorted(name for name in folders if is_sent(name))
        yield from (Path(base, name) for name in names if is_sent(name))


def _read(folder: Path, path: str) -> File:
    place = folder / path
    found = place.stat()
    data = place.read_bytes()
    return File(path, data, hashlib.sha256(data).hexdigest(), found.st_mtime_ns, bool(found.st_mode & stat.S_IXUSR))


def _revision(folder: Path, files: Sequence[File]) -> tuple[str, str]:
    """In words, and the commit where there is one."""
    from reconciler.spec.git_run import GitProblem, run_git
    from reconciler.spec.revision import Revision, git_folder

    content = digest_of({file.path: file.sha256 for file in files}, "")
    git = git_folder(folder)
    words = Revision(folder).read(git, content, time.time())
    if git is None:
        return words, ""
    try:
        answer = run_git("-C", str(folder), "rev-parse", "--verify", "HEAD")
    except GitProblem:  # the revision in words has told the same by a digest of the files
        return words, ""
    return words, answer.text.strip() if answer.code == 0 else ""
