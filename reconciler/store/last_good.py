"""What is remembered of spec files: the last text of each that loaded, and which texts the schema accepted."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from reconciler.store.atomic import write_atomic
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths, component

VALIDATED_MAX = 1000
"""How many digests are remembered."""
_NAME_MAX_BYTES = 200
_DIGEST_BYTES = 64
_LINE_BYTES = _DIGEST_BYTES + 1


class LastGoodTexts:
    """Last good texts by spec path. The loop keeps them in the state folder; read-only, nothing is written."""

    def __init__(self, paths: StatePaths, *, writable: bool) -> None:
        self._folder = paths.specs_good
        self._validated = paths.validated
        self._writable = writable
        self._texts: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._digests: set[str] | None = None
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

    def is_validated(self, digest: str) -> bool:
        """The schema accepted a text of this digest before. The digest (hex, SHA-256) is of the text and the schema."""
        if self._digests is None:
            self._digests = set(_known(self._validated))
        return digest in self._digests

    def mark_validated(self, digest: str) -> None:
        """Remember that the schema accepted it: the last `VALIDATED_MAX` are, so that the next start is quick.

        A cache and no more: read-only, or where it cannot be written, it lasts as long as this process."""
        if self.is_validated(digest):
            return
        assert self._digests is not None
        self._digests.add(digest)
        if self._writable:
            with suppress(OSError, StoreError):  # losing it costs time, nothing else
                _remember(self._validated, digest)

    def _file(self, path: str) -> Path:
        name = component(path)
        if len(name.encode()) > _NAME_MAX_BYTES:
            name = f"long-{sha256(path.encode()).hexdigest()}"
        return self._folder / name


def _known(path: Path) -> list[str]:
    """The digests in the file, oldest first; a line that a crash tore is skipped."""
    try:
        lines = path.read_bytes().decode("ascii", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if len(line) == _DIGEST_BYTES][-VALIDATED_MAX:]


def _remember(path: Path, digest: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        if size < 2 * VALIDATED_MAX * _LINE_BYTES:
            os.write(handle, f"{digest}\n".encode())
            return
    finally:
        os.close(handle)
    lines = [*_known(path), digest][-VALIDATED_MAX:]
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode())
