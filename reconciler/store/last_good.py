"""The last text of each spec file that loaded: what stays in force while the file is broken."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from reconciler.store.atomic import write_atomic
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths, component

_NAME_MAX_BYTES = 200


class LastGoodTexts:
    """Last good texts by spec path. The loop keeps them in the state folder; read-only, nothing is written."""

    def __init__(self, paths: StatePaths, *, writable: bool) -> None:
        self._folder = paths.specs_good
        self._writable = writable
        self._texts: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self.problem: str | None = None
        """Why a text could not be kept, in words; None while all are. It is then held in memory for the next `put`."""

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
        self._texts[path] = text
        if not self._writable or self._kept.get(path) == text:
            return
        try:
            write_atomic(self._file(path), text.encode())
        except StoreError as error:
            self.problem = str(error)
        else:
            self.problem = None
            self._kept[path] = text

    def _file(self, path: str) -> Path:
        name = component(path)
        if len(os.fsencode(name)) > _NAME_MAX_BYTES:
            name = f"long-{sha256(os.fsencode(path)).hexdigest()}"
        return self._folder / name
