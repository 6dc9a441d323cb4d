"""Environment variables whose names say that their values are nobody's business."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise

HIDDEN = "***"
SOUGHT_MIN_CHARS = 6
"""A shorter value is not looked for in other texts: it would stand in every second word of them."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = frozenset({
    "token", "secret", "secrets", "password", "passwords", "passwd", "passphrase", "passcode", "apikey", "apikeys",
    "accesskey", "secretkey", "privatekey", "credential", "credentials", "cred", "creds", "auth", "authorization",
    "bearer", "cookie", "sas", "dsn",
})  # fmt: skip
_ENDINGS = ("token", "secret", "password", "passwd", "passphrase", "apikey", "accesskey", "privatekey")
_KEY_OF = frozenset({
    "api", "access", "private", "secret", "signing", "encryption", "auth", "account", "storage", "service", "ssh",
    "deploy",
})  # fmt: skip


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """`HF_TOKEN`, `wandbApiKey`, `DB_PWD`: its words say so. `MAX_TOKENS`, `AUTHOR` and `KEY` do not."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if any(word in _SECRET_WORDS or word.endswith(_ENDINGS) for word in words):
        return True
    if len(words) > 1 and words[-1] in ("pwd", "pass"):
        return True
    return any(of in _KEY_OF and key in ("key", "keys") for of, key in pairwise(words))


def redacted(env: Mapping[str, str]) -> dict[str, str]:
    """The variables, with `***` for every value whose name looks secret."""
    return {name: HIDDEN if looks_secret(name) else value for name, value in env.items()}


def secret_values(env: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be quoted anywhere: those values, and each line of one that has several; the longest first."""
    whole = [value for name, value in env.items() if looks_secret(name)]
    if not whole:
        return ()
    pieces = {piece.strip() for value in whole for piece in (value, *value.splitlines())}
    return tuple(sorted((p for p in pieces if len(p) >= SOUGHT_MIN_CHARS), key=lambda p: (-len(p), p)))


def without(text: str, values: Iterable[str]) -> str:
    """`text` with `***` in place of each of the values."""
    for value in values:
        text = text.replace(value, HIDDEN)
    return text
