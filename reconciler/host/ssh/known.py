"""Host keys: what the known_hosts files say of one. Patterns, hashed names and @revoked count as for ssh."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

_FIELDS = 3
_HASHED_PARTS = 4
_SSH_PORT = 22


class Standing(Enum):
    """What is known of a key that a server offers."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line of a known_hosts file."""

    names: str
    kind: str
    key: bytes
    file: str
    line: int
    marker: str = ""
    """`@revoked`, `@cert-authority`, or empty."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`where`: the line that decided it, or that a certificate authority stands in."""

    standing: Standing
    where: KnownKey | None = None


def known_name(host: str, port: int, alias: str | None = None) -> str:
    """The name under which ssh keeps a server's key."""
    if alias is not None:
        return alias.lower()
    return host.lower() if port == _SSH_PORT else f"[{host.lower()}]:{port}"


def read_known_hosts(files: Iterable[str]) -> tuple[KnownKey, ...]:
    """The lines of the files that can be read; a missing file knows nothing. Raises OSError for an unreadable one."""
    keys: list[KnownKey] = []
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                keys += filter(None, (_parse(line, path, number) for number, line in enumerate(file, 1)))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return tuple(keys)


def _parse(line: str, path: str, number: int) -> KnownKey | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < _FIELDS or words[0].startswith("#"):
        return None
    try:
        return KnownKey(words[0], words[1], base64.b64decode(words[2], validate=True), path, number, marker)
    except (binascii.Error, ValueError):  # ssh passes over such a line as well
        return None


def lines_of(keys: Iterable[KnownKey], name: str) -> tuple[KnownKey, ...]:
    """The lines that are for a server of this name."""
    return tuple(key for key in keys if _is_for(key.names, name))


def _is_for(names: str, name: str) -> bool:
    if names.startswith("|"):
        return _is_hash_of(names, name)
    matched = False
    for pattern in names.lower().split(","):
        # Only `*` and `?` are special for ssh; fnmatch also takes brackets, which stand around names with a port.
        escaped = pattern.lstrip("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name, escaped):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _is_hash_of(hashed: str, name: str) -> bool:
    parts = hashed.split("|")
    if len(parts) != _HASHED_PARTS or parts[1] != "1":
        return False
    try:
        salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def judge(keys: Sequence[KnownKey], name: str, kind: str, key: bytes) -> Judgement:
    """What the lines say of `key`, offered by the server called `name` (as `known_name` gives it)."""
    mine = lines_of(keys, name)
    same = [line for line in mine if line.kind == kind and line.key == key]
    revoked = next((line for line in keys if line.marker == "@revoked" and line.key == key), None)
    if revoked is not None:
        return Judgement(Standing.REVOKED, revoked)
    plain = next((line for line in same if not line.marker), None)
    if plain is not None:
        return Judgement(Standing.KNOWN, plain)
    other = next((line for line in mine if not line.marker), None)
    if other is not None:
        return Judgement(Standing.CHANGED, other)
    return Judgement(Standing.UNKNOWN, next((line for line in mine if line.marker == "@cert-authority"), None))


def judge_server(keys: Sequence[KnownKey], host: str, port: int, alias: str | None, kind: str, key: bytes) -> Judgement:
    """As `judge`; like ssh, a key known for the host without its port is good on any of its ports."""
    found = judge(keys, known_name(host, port, alias), kind, key)
    if found.standing is Standing.UNKNOWN and alias is None and port != _SSH_PORT:
        without_port = judge(keys, known_name(host, _SSH_PORT), kind, key)
        if without_port.standing is Standing.KNOWN:
            return without_port
    return found


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
