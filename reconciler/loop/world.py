"""Everything the loop works with, opened once: specs, state, hosts, clock. Tests hand in their own."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from reconciler.host.agent import Agent
from reconciler.host.observe import HostAgent
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired
from reconciler.planner.draft import LOCAL_HOST
from reconciler.planner.needs import Waiting
from reconciler.spec.files import SpecFolder
from reconciler.store.audit import AuditTrail
from reconciler.store.last_good import LastGoodTexts
from reconciler.store.ledger import LedgerStore
from reconciler.store.lock import DaemonLock
from reconciler.store.paths import StatePaths
from reconciler.store.state import StateFolder
from reconciler.store.validated import ValidatedTexts

THIS_MACHINE = frozenset({"", "local", "localhost", "127.0.0.1", "::1"})


@dataclass(slots=True)
class World:
    """The ports of the loop, and what it remembers from one look to the next.

    `last` is the last look, `waiting` what `waiting_jobs` gave for its versions, `turn` counts full looks."""

    specs: SpecFolder
    texts: LastGoodTexts
    paths: StatePaths
    state: StateFolder
    ledger: LedgerStore
    audit: AuditTrail | None
    agents: dict[str, HostAgent]
    clock: Callable[[], float] = time.time
    daemon: str = ""
    local_names: frozenset[str] = THIS_MACHINE
    last: Snapshot | None = None
    waiting: tuple[tuple[str, int], dict[str, Waiting]] | None = None
    turn: int = 0
    announced: Desired | None = None
    """The specs as the audit trail last had them."""
    alerted: set[str] = field(default_factory=set)
    stalled: bool = False
    """The last tick could not store what it meant to do."""
    unwritten: bool = True
    """Some verdict may be missing beside its attempt's files; after a start nobody knows."""
    held: ExitStack = field(default_factory=ExitStack)
    """What is open: let go of when the world is left."""

    def agent_for(self, host: str) -> HostAgent | None:
        """Who answers for a host; None for a host that this loop cannot reach."""
        if host in self.agents:
            return self.agents[host]
        return self.agents[LOCAL_HOST] if host in self.local_names else None

    def hosts(self, desired: Desired) -> Iterable[str]:
        """The hosts that the specs and the open attempts name; this machine always."""
        names = {LOCAL_HOST: None}
        names.update({project.ssh: None for project in desired.projects.values() if project.ssh})
        names.update({attempt.host: None for attempt in self.ledger.ledger().open_attempts.values()})
        return names

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.close()


def open_world(specs: Path, state: Path, *, writable: bool, env: Mapping[str, str]) -> World:
    """Open the real world. Read-only, it makes no file; writable, it is the one loop of this state folder.

    Raises Held when another loop works on this state, StoreError when the state cannot be opened or trusted."""
    paths = StatePaths(state)
    clock = time.time
    settings = {"screen": env.get("SCREEN", "screen"), "nvidia_smi": env.get("NVIDIA_SMI", "nvidia-smi")}
    texts = LastGoodTexts(paths, writable=writable)
    paths.check()
    with ExitStack() as opened:
        audit = None
        if writable:
            paths.ensure()
            opened.enter_context(DaemonLock(paths, clock))
            audit = AuditTrail(paths, clock)
            opened.callback(audit.close)
        ledger = opened.enter_context(LedgerStore.open(paths, writable=writable))
        return World(
            specs=SpecFolder(specs, texts, ValidatedTexts(cache_folder(env) / "validated")),
            texts=texts,
            paths=paths,
            state=StateFolder(paths),
            ledger=ledger,
            audit=audit,
            agents={LOCAL_HOST: Agent(str(state), settings)},
            clock=clock,
            daemon=f"{os.getpid()}-{secrets.token_hex(4)}",
            local_names=THIS_MACHINE | {socket.gethostname(), *env.get("EXQ_HOST", "").split()},
            held=opened.pop_all(),
        )


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where the user keeps what can be made again."""
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "exq"
