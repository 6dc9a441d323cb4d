"""How the loop stands with a host that it reaches over a connection. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class LinkState(str, Enum):
    """Where a connection stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"

    def __str__(self) -> str:
        return str(self.value)


class TroubleKind(str, Enum):
    """Why a host does not answer."""

    CONFIG = "config"
    """The user's ssh configuration, or the host's name, cannot be used."""
    NAME = "name"
    """The name has no address."""
    REFUSED = "refused"
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    SILENT = "silent"
    """The port is open and nothing speaks SSH there, or not in time."""
    PROXY = "proxy"
    """A jump host or a ProxyCommand does not lead to it."""
    UNKNOWN_KEY = "unknown_key"
    CHANGED_KEY = "changed_key"
    REVOKED_KEY = "revoked_key"
    AUTH = "auth"
    LOCKED_KEY = "locked_key"
    """The key has a passphrase, and no key agent holds it."""
    SESSIONS = "sessions"
    """The server opens no further session."""
    NO_PYTHON = "no_python"
    OLD_PYTHON = "old_python"
    STARTUP = "startup"
    """What the account runs at login is in the way, or too slow."""
    AGENT = "agent"
    """The agent there did not start, or ended."""
    PROTOCOL = "protocol"
    LOST = "lost"
    """The connection broke."""
    STUCK = "stuck"
    """No answer within its deadline."""
    CLOSED = "closed"
    """Closed by this side."""

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a host does not answer, in one sentence, and what mends it (empty where only time does)."""

    kind: TroubleKind
    message: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.mend}" if self.mend else self.message


@dataclass(frozen=True, slots=True)
class Condition:
    """A connection at one moment."""

    state: LinkState
    since: float
    trouble: Trouble | None = None
    """The last one; None while connected."""
    last_answer_at: float | None = None
    next_try_at: float | None = None
    """Before this, nothing is tried; None when the next request may try at once."""
    round_trip_s: float | None = None
    """To the host's SSH server and back, smoothed."""
    hello: Mapping[str, Any] = field(default_factory=dict)
    """What the agent there said of itself when it started last; empty before that."""
