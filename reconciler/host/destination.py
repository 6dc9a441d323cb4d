"""Where the files of a job belong in another place. What a host says is not trusted: a name never leads elsewhere."""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from reconciler.host.agent import split_pattern
from reconciler.model.ledger import COLLECTED
from reconciler.model.plan import Transfer
from reconciler.parse.fields import Malformed, mapping, text, texts

_FROM_HOME = re.compile(r"~[^/*?\[]*(/|\Z)")
_FIELDS = (int, str, int, int, int, int)
_LOG = "log"
_ATTEMPTS_OWN = "attempt-"
_NOTES = frozenset({"provenance.json", "environment.json", "code.patch"})


@dataclass(frozen=True, slots=True)
class Found:
    """A file on the source (or an empty folder), and where it belongs: absolute, or in the home (`~`) there."""

    source: str
    target: str
    size: int
    mtime_ns: int
    inode: int
    mode: int

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Another one means other contents."""
        return self.size, self.mtime_ns, self.inode

    @property
    def is_folder(self) -> bool:
        """An empty folder."""
        return stat.S_ISDIR(self.mode)


def target_root(transfer: Transfer) -> str | None:
    """The folder outside which nothing may be written; None where the patterns themselves say the place."""
    return transfer.folder if transfer.place == COLLECTED else None


def place_files(transfer: Transfer, answer: Mapping[str, Any]) -> list[Found]:
    """The files of a `list_files`, each with its place, in order. Raises Malformed: among others for a file that no
    pattern asks for, and for two files that belong in one place."""
    placing = _Placing(transfer, answer)
    found: dict[str, Found] = {}
    for each in (*placing.outputs(), *placing.log(), *placing.notes()):
        target = posixpath.normpath(each.target)
        other = found.setdefault(target, each)
        if posixpath.normpath(other.source) != posixpath.normpath(each.source):
            raise Malformed(f"both {other.source} and {each.source} belong at {target}")
    return list(found.values())


class _Placing:
    def __init__(self, transfer: Transfer, answer: Mapping[str, Any]) -> None:
        self._transfer = transfer
        self._collected = transfer.place == COLLECTED
        self._cwd = text(answer, "cwd")
        self._bases = texts(answer, "bases")
        self._rows = _rows(answer)
        self._log_row = answer.get("log")
        self._note_rows = answer.get("notes") or []
        self._first_names: set[str] = set()
        if len(self._bases) != len(transfer.patterns):
            raise Malformed("`bases` should have one path for each pattern")
        self._split = [split_pattern(anchored(transfer.cwd, pattern)) for pattern in transfer.patterns]

    def outputs(self) -> Iterator[Found]:
        for number, names, size, mtime_ns, inode, mode in self._rows:
            if not 0 <= number < len(self._bases):
                raise Malformed("a file belongs to no pattern")
            base, stars = self._split[number]
            parts = names.split("/") if names else []
            if not _is_plain(parts) or not fits(stars, parts):
                raise Malformed(f"no pattern asks for {names!r}")
            source = posixpath.join(self._bases[number], names) if names else self._bases[number]
            target = self._collect(source) if self._collected else posixpath.join(base, *parts)
            yield Found(source, target, size, mtime_ns, inode, mode)

    def log(self) -> Iterator[Found]:
        """Beside the outputs; an output of that name keeps it."""
        if not self._collected or self._log_row is None:
            return
        row = self._log_row
        if not _has_types(row, _FIELDS[1:]):
            raise Malformed("`log` should be a path and four numbers")
        yield Found(row[0], self._beside(_LOG), *row[1:])

    def notes(self) -> Iterator[Found]:
        """What the attempt ran with, beside its log."""
        if not self._collected:
            return
        rows = self._note_rows
        if not isinstance(rows, list) or not all(_has_types(row, _FIELDS[1:]) for row in rows):
            raise Malformed("`notes` should be a list of a path and four numbers each")
        for row in rows:
            name = posixpath.basename(row[0])
            if name not in _NOTES:
                raise Malformed(f"nobody asks for {name!r}")
            yield Found(row[0], self._beside(name), *row[1:])

    def _beside(self, name: str) -> str:
        """Its place beside the outputs, which come first where one has the name."""
        while name in self._first_names:
            name = f"{_ATTEMPTS_OWN}{name}"
        return posixpath.join(collect_folder(self._transfer), name)

    def _collect(self, source: str) -> str:
        path, cwd = posixpath.normpath(source), posixpath.normpath(self._cwd)
        if not path.startswith("/"):
            raise Malformed(f"{source!r} is no absolute path")
        above = cwd.rstrip("/") + "/"
        relative = path[len(above) :] if path.startswith(above) else path.lstrip("/")
        self._first_names.add(relative.split("/")[0])
        return posixpath.join(collect_folder(self._transfer), relative)


def collected_log(key: str, folder: str) -> tuple[str, str]:
    """Where the collected log of a job may be, the likelier place last: an output may have its name."""
    below = _collect_folder(key, folder)
    return posixpath.join(below, f"{_ATTEMPTS_OWN}{_LOG}"), posixpath.join(below, _LOG)


def collect_folder(transfer: Transfer) -> str:
    """Where all files of the job are collected. Projects may share a folder."""
    return _collect_folder(transfer.job, transfer.folder)


def _collect_folder(key: str, folder: str) -> str:
    project, _, job = key.partition("/")
    if posixpath.basename(posixpath.normpath(folder)) != project:
        folder = posixpath.join(folder, project)
    return posixpath.join(folder, job)


def anchored(cwd: str, path: str) -> str:
    """A path that begins with `/` or `~`, as a host reads it that runs a job in `cwd`."""
    for each in (path, cwd):
        if each.startswith("/") or _FROM_HOME.match(each):
            return path if each is path else posixpath.join(cwd, path)
    return posixpath.join("~", cwd, path)


def fits(stars: Sequence[str], names: Sequence[str]) -> bool:
    """A pattern finds a path, or a folder that it lies in. Both without the beginning that holds no star."""
    wanted = [*stars, "*"] if stars and stars[-1] == "**" else list(stars)
    reached = _with_empty(wanted, {0})
    for name in names:
        reached = _with_empty(wanted, {after for at in reached for after in _step(wanted, at, name)})
    return len(wanted) in reached


def _step(wanted: Sequence[str], at: int, name: str) -> Iterator[int]:
    if at == len(wanted):
        yield at
    elif wanted[at] == "**":
        if not name.startswith("."):
            yield at
    elif fnmatchcase(name, wanted[at]) and (not name.startswith(".") or wanted[at].startswith(".")):
        yield at + 1


def _with_empty(wanted: Sequence[str], reached: set[int]) -> set[int]:
    """`**` also stands for no folder at all."""
    for at, component in enumerate(wanted):
        if component == "**" and at in reached:
            reached.add(at + 1)
    return reached


def _is_plain(names: Sequence[str]) -> bool:
    return all(name not in ("", ".", "..") and "\0" not in name for name in names)


def _rows(answer: Mapping[str, Any]) -> list[tuple[int, str, int, int, int, int]]:
    rows = mapping(answer, "the list of files").get("files")
    if not isinstance(rows, list) or not all(_has_types(row, _FIELDS) for row in rows):
        raise Malformed("`files` should be a list of a number, a path and four numbers each")
    return rows


def _has_types(row: Any, types: Sequence[type]) -> bool:
    return isinstance(row, list) and len(row) == len(types) and all(map(isinstance, row, types))
