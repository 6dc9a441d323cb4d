"""How the two sides talk: the command that starts the agent, its greeting, and frames of JSON with a blob."""

from __future__ import annotations

import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from reconciler.host import agent
from reconciler.host.ssh.trouble import OLD_PYTHON

NOISE_MAX_BYTES = 1 << 20
JSON_MAX_BYTES = 256 << 20
BLOB_MAX_BYTES = 2 << 30
_HEAD_MAX_BYTES = 32
_NOISE_KEPT_BYTES = 2048

BOOTSTRAP = (
    "import io,sys,zlib;"
    f'sys.version_info>=(3,6)or sys.exit("{OLD_PYTHON} %d.%d"%sys.version_info[:2]);'
    # a buffer of one byte: what follows the source belongs to the agent
    "f=io.BufferedReader(io.FileIO(0,closefd=False),1);"
    "s=zlib.decompress(f.read(int(f.read(9))));"
    'n={"__name__":"exq_agent"};'
    'exec(compile(s,"exq_agent","exec"),n)'
)
"""The source serves by itself when it is called exq_agent. No single quotes, backslashes or exclamation marks, which a
login shell would take for its own."""

COMMAND = f"python3 -I -c '{BOOTSTRAP}'"
"""-I: a file of the user's home that is called like a module of Python's is not it."""

_GREETING = re.compile(rb"(?:\A|\n)EXQ-AGENT ([0-9]{1,9})\n")
_HEAD = re.compile(rb"([0-9]{1,10}) ([0-9]{1,10})\Z")


class WireError(Exception):
    """What came is no frame; the text says what is wrong with it."""


@cache
def shipment() -> bytes:
    """The agent's source as the bootstrap reads it."""
    return ship(Path(agent.__file__).read_bytes())


def ship(source: bytes) -> bytes:
    """Any source, as the bootstrap reads it."""
    packed = zlib.compress(source, 9)
    return b"%09d" % len(packed) + packed


@cache
def shim_text() -> str:
    """The shim, which the agent installs where it runs."""
    return Path(agent.__file__).with_name("shim.sh").read_text(encoding="utf-8")


@cache
def helper_texts() -> dict[str, str]:
    """The scripts that work beside the agent, by name."""
    names = ("provenance", "snapshot")
    return {name: Path(agent.__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in names}


def pack(message: dict[str, Any], blob: bytes = b"") -> list[bytes]:
    """A frame in pieces to be written one after the other. Raises ValueError or TypeError for what is no JSON."""
    body = json.dumps(message, separators=(",", ":")).encode("utf-8", "surrogatepass")
    head = b"%d %d\n" % (len(body), len(blob))
    return [head + body, blob] if blob else [head + body]


class Greeting:
    """Looks for the agent's first line, and passes over what login files print before it."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._passed = 0

    @property
    def noise(self) -> str:
        """The last of what came before the greeting."""
        return bytes(self._seen[-_NOISE_KEPT_BYTES:]).decode("utf-8", "replace")

    @property
    def too_much(self) -> bool:
        """More than any login prints."""
        return self._passed > NOISE_MAX_BYTES

    def feed(self, data: bytes) -> tuple[int, bytes] | None:
        """The agent's version and what followed its greeting; None until that is there."""
        self._passed += len(data)
        self._seen += data
        found = _GREETING.search(self._seen)
        if found is not None:
            return int(found[1]), bytes(self._seen[found.end() :])
        del self._seen[:-_NOISE_KEPT_BYTES]
        return None


class Unpacker:
    """Bytes to frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._sizes: tuple[int, int, int] | None = None

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """The frames that are complete now. Raises WireError."""
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> tuple[dict[str, Any], bytes] | None:
        if self._sizes is None:
            self._sizes = self._head()
        if self._sizes is None or len(self._buffer) < sum(self._sizes):
            return None
        head, body, blob = self._sizes
        with memoryview(self._buffer) as view:
            text, rest = bytes(view[head : head + body]), bytes(view[head + body : head + body + blob])
        del self._buffer[: head + body + blob]
        self._sizes = None
        return _message(text), rest

    def _head(self) -> tuple[int, int, int] | None:
        end = self._buffer.find(b"\n", 0, _HEAD_MAX_BYTES)
        if end < 0:
            if len(self._buffer) >= _HEAD_MAX_BYTES:
                raise WireError("a frame has no head")
            return None
        match = _HEAD.match(self._buffer[:end])
        if match is None:
            raise WireError(f"a frame begins with {bytes(self._buffer[:end])!r}")
        body, blob = int(match[1]), int(match[2])
        if body > JSON_MAX_BYTES or blob > BLOB_MAX_BYTES:
            raise WireError(f"a frame of {body} and {blob} bytes is too large")
        return end + 1, body, blob


def _message(text: bytes) -> dict[str, Any]:
    try:
        message = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame is no JSON: {error}") from None
    if not isinstance(message, dict):
        raise WireError("a frame is no JSON object")
    return message
