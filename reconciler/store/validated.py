"""Which spec texts the schema accepted before: checking one costs more than all the rest of a quick look."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from reconciler.store.atomic import write_atomic
from reconciler.store.errors import StoreError

VALIDATED_MAX = 1000
"""How many digests are remembered."""
_DIGEST_BYTES = 64
_LINE_BYTES = _DIGEST_BYTES + 1


class ValidatedTexts:
    """Digests (hex, SHA-256, of text and schema) in a cache file of the user.

    A cache and no more: where it cannot be read or written, it lasts as long as this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests: set[str] | None = None

    def __contains__(self, digest: object, /) -> bool:
        if self._digests is None:
            self._digests = set(_known(self._path))
        return digest in self._digests

    def add(self, digest: str, /) -> None:
        """Remember a text that the schema accepted; the last `VALIDATED_MAX` are kept."""
        if digest in self:
            return
        assert self._digests is not None
        self._digests.add(digest)
        with suppress(OSError, StoreError):  # losing it costs time, nothing else
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remember(self._path, digest)


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
