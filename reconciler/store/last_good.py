"""The last text of each spec file that loaded: what stays in force while the file is broken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from reconciler.store.atomic import write_atomic
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths, component
from reconciler.store.records import RecordDamaged, parse_json, to_json

_NAME_MAX_BYTES = 200
_REVISIONS = "revisions.json"
"""No spec is called so: what is kept of one is named by its path, which ends in .yaml or .yml."""

_Seen = tuple[str, str]
"""The digest of a text, and the revision that it was seen at."""


class LastGoodTexts:
    """Last good texts by spec path. The loop keeps them in the state folder; read-only, nothing is written."""

    def __init__(self, paths: StatePaths, *, writable: bool) -> None:
        self._folder = paths.specs_good
        self._writable = writable
        self._texts: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._revisions: dict[str, _Seen] | None = None
        self._noted: dict[str, str] = {}
        self._problems: dict[Path, str] = {}

    @property
    def problem(self) -> str | None:
        """Why a text could not be kept, in words; None while all are. It is then held in memory for the next `put`."""
        return next(iter(self._problems.values()), None)

    def get(self, path: str) -> str | None:
        """The last text of this spec that loaded; None where there is none that can be read."""
        if path not in self._texts:
            try:
                self._texts[path] = self._kept[path] = self._file(path).read_bytes().decode()
            except (OSError, UnicodeDecodeError):
                return None  # as good as none: the errors of the file stand alone then
        return self._texts[path]

    def put(self, path: str, text: str) -> None:
        """This text loaded. It is written only when it differs from what is kept. Never raises on a full disk."""
        self.get(path)
        if self._texts.get(path) != text:
            self._texts[path], self._noted = text, {}
        if not self._writable or self._kept.get(path) == text:
            return
        if self._written(self._file(path), text.encode()):
            self._kept[path] = text

    def revision(self, path: str) -> str:
        """The revision that the last good text of a spec was last seen at; empty when it is not known."""
        digest, revision = self._known_revisions().get(path, ("", ""))
        return revision if revision and digest == _digest(self.get(path)) else ""

    def note_revisions(self, revisions: Mapping[str, str]) -> None:
        """The texts of these specs have just been seen at these revisions. Written only when some are new."""
        if revisions == self._noted:
            return
        self._noted = dict(revisions)
        known = self._known_revisions()
        fresh = {path: (_digest(self.get(path)), revision) for path, revision in revisions.items()}
        if all(known.get(path) == seen for path, seen in fresh.items()):
            return
        known.update(fresh)
        if self._writable:
            self._written(self._folder / _REVISIONS, to_json(known).encode())

    def _known_revisions(self) -> dict[str, _Seen]:
        if self._revisions is None:
            self._revisions = _read_revisions(self._folder / _REVISIONS)
        return self._revisions

    def _written(self, file: Path, data: bytes) -> bool:
        try:
            write_atomic(file, data)
        except StoreError as error:
            self._problems[file] = str(error)
            return False
        self._problems.pop(file, None)
        return True

    def _file(self, path: str) -> Path:
        name = component(path)
        if len(os.fsencode(name)) > _NAME_MAX_BYTES:
            name = f"long-{sha256(os.fsencode(path)).hexdigest()}"
        return self._folder / name


def _digest(text: str | None) -> str:
    return "" if text is None else sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _read_revisions(path: Path) -> dict[str, _Seen]:
    """What was kept; nothing where that cannot be read: then the revision is not told."""
    try:
        found = parse_json(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError, RecordDamaged):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {
        str(key): (pair[0], pair[1])
        for key, pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) for word in pair)
    }
