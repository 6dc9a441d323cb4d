"""What tells, without running git, whether a name of a commit may mean another one now."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_PLAIN = re.compile(r"[\w./+%=,#!-]+")
_WHERE = ("", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/")
"""Where git looks for a name, in this order; behind the last one also for `NAME/HEAD`."""
_MANY_REFS = ("packed-refs", "reftable/tables.list")
_REF_MAX_BYTES = 4096
_LINKS_MAX = 5

Stamps = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class GitFolders:
    """Where git keeps what it knows of a repository; `common` is another folder in a linked work tree."""

    own: Path
    common: Path

    @staticmethod
    def of(own: Path) -> GitFolders:
        """The folders of the repository whose git folder this is."""
        try:
            linked = (own / "commondir").read_text(encoding="utf-8", errors="surrogateescape").strip()
        except OSError:
            return GitFolders(own, own)
        return GitFolders(own, Path(os.path.normpath(own / linked)))


def stamps_of(folders: GitFolders, ref: str) -> Stamps | None:
    """Changes whenever `ref` may mean another commit. None where only git can tell, as for `main@{yesterday}`."""
    if not _PLAIN.fullmatch(ref):
        return None
    names = [*(f"{where}{ref}" for where in _WHERE), f"refs/remotes/{ref}/HEAD"]
    places = dict.fromkeys((folders.own, folders.common))
    found: list[object] = [_owner(place) for place in places]
    for place in places:
        found += [_stat(place / name) for name in _MANY_REFS]
        found += [_ref(place, folders.common, name) for name in names]
    return tuple(found)


def _ref(place: Path, common: Path, name: str) -> Stamps | None:
    """The content of a file that may be a ref, and of what it leads to."""
    found: list[object] = []
    for _ in range(_LINKS_MAX):
        text = _content(place / name)
        found.append(text)
        if text is None or not text.startswith("ref:"):
            break
        place, name = common, text[4:].strip()
    return tuple(found) if found != [None] else None


def _content(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_REF_MAX_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def _stat(path: Path) -> Stamps | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _owner(path: Path) -> Stamps | None:
    """Which folder this is, and whose: another one may be mounted there, and git does not use everybody's."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_uid
