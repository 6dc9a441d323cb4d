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
from typing import TYPE_CHECKING

from reconciler.host.agent import Agent
from reconciler.host.observe import Asked
from reconciler.host.reply import HostAgent
from reconciler.loop.sources import Sources
from reconciler.model.facts import HostView
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST, Desired
from reconciler.planner.needs import OpenJobs
from reconciler.spec.configured import ConfiguredSpecs
from reconciler.spec.effective import Effective, effective
from reconciler.spec.files import SpecFolder, Specs
from reconciler.spec.settings_file import SettingsFile
from reconciler.store.audit import AuditTrail
from reconciler.store.last_good import LastGoodTexts
from reconciler.store.ledger import LedgerStore
from reconciler.store.lock import DaemonLock
from reconciler.store.paths import StatePaths
from reconciler.store.seen import Seen, read_seen
from reconciler.store.state import StateFolder
from reconciler.store.validated import ValidatedTexts

if TYPE_CHECKING:
    from reconciler.host.ssh.link import SshHost
    from reconciler.loop.moving import Moving

MOVED = "moved"
"""What an alarm calls outputs that have been brought somewhere."""
SOURCE = "source"
"""What an alarm calls a fetch of the specs' repository."""
SSH_CONFIG = "EXQ_SSH_CONFIG"

THIS_MACHINE = frozenset({"", "local", "localhost", "127.0.0.1", "::1"})


@dataclass(slots=True)
class World:
    """The ports of the loop, and what it remembers from one look to the next.

    `last` is the last look, `open_jobs` what is open by its versions, `turn` counts full looks."""

    specs: Specs
    texts: LastGoodTexts
    paths: StatePaths
    state: StateFolder
    ledger: LedgerStore
    audit: AuditTrail | None
    agents: dict[str, HostAgent]
    wake: Callable[[str], None] = lambda _news: None
    """Hears, from any thread, that there is news: `news_of(host)`, or MOVED."""
    moving: Moving | None = None
    """Brings outputs elsewhere beside the loop."""
    sources: Sources | None = None
    """Opens the git source of the specs, and fetches it; None: the specs are a folder, whatever exq.yaml says."""
    settings: Effective = field(default_factory=Effective)
    """What held when the world was opened."""
    settings_now: Callable[[], Effective] = Effective
    """What exq.yaml says now. Of that, only the source is followed at once."""
    connect: Callable[[str], HostAgent] | None = None
    """Makes the agent of another machine."""
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    daemon: str = ""
    local_names: frozenset[str] = THIS_MACHINE
    patience_s: float | None = None
    """How long a look waits for the answers of hosts; None: as long as their requests may take."""
    asked: dict[str, Asked] = field(default_factory=dict)
    """Hosts that have been asked and have not answered."""
    views: dict[str, HostView] = field(default_factory=dict)
    """The last answer of each host."""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    """Since when each other machine answers, or does not, and which ledger knows all its attempts."""
    heard: set[str] = field(default_factory=set)
    """Hosts that have answered, or were found not to."""
    indexed: set[str] = field(default_factory=set)
    """Hosts that have told which attempts they have, all of which are in the ledger now."""
    last: Snapshot | None = None
    open_jobs: tuple[tuple[str, int], OpenJobs] | None = None
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

    def accept_source(self, commit: str) -> None:
        """Take this commit of a git source, and what is made from it, though its history was rewritten."""
        if isinstance(self.specs, ConfiguredSpecs):
            self.specs.accept(commit)

    def fetch_source(self, deadline_s: float | None, *, always: bool = False, silence_s: float | None = None) -> None:
        """Fetch the repository of the specs now, where there is one and it was not (`always`: even if it was) just now.

        How that went is known to the next look."""
        if isinstance(self.specs, ConfiguredSpecs) and self.sources is not None:
            self.specs.open_source()
            if always or self.sources.is_due():
                self.sources.fetch(deadline_s, silence_s=silence_s)

    def is_local(self, host: str) -> bool:
        """The host is the machine that the loop runs on."""
        return host == LOCAL_HOST or host in self.local_names

    def agent_for(self, host: str) -> HostAgent:
        """Who answers for a host. Connections are made with the first request."""
        name = LOCAL_HOST if self.is_local(host) else host
        if name not in self.agents:
            assert self.connect is not None, f"no connection leads to {host}"
            self.agents[name] = self.connect(name)
        return self.agents[name]

    def hosts(self, desired: Desired) -> Iterable[str]:
        """The hosts that the specs and the open attempts name; this machine always."""
        names = {LOCAL_HOST: None}
        for project in desired.projects.values():
            names.update({placement.host: None for placement in project.placements})
        names.update({attempt.host: None for attempt in self.ledger.ledger().open_attempts.values()})
        return names

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.close()


def open_world(
    specs: Path, state: Path, *, writable: bool, env: Mapping[str, str], on_event: Callable[[str], None] | None = None
) -> World:
    """Open the real world. Read-only, it makes no file; writable, it is the one loop of this state folder.

    `on_event` hears, from other threads, what has news: see `World.wake`.

    Raises Held when another loop works on this state, StoreError when the state cannot be opened or trusted."""
    paths = StatePaths(state)
    clock = time.time
    texts = LastGoodTexts(paths, writable=writable)
    paths.check()
    passed = ValidatedTexts(cache_folder(env) / "validated")
    file = SettingsFile(specs, texts, passed)
    with ExitStack() as opened:
        audit = None
        if writable:
            paths.ensure()
            opened.enter_context(DaemonLock(paths, clock, specs))
            audit = AuditTrail(paths, clock)
            opened.callback(audit.close)
        file.refresh(settle=False, now=clock())  # behind `ensure`, which makes the folder that it is kept in
        settings = effective(env, file.settings)
        ledger = opened.enter_context(LedgerStore.open(paths, writable=writable))
        if settings.ssh_config:
            # ssh is started in several places, and messages name its command as the user has to type it
            os.environ[SSH_CONFIG] = settings.ssh_config
        remote = {"state": settings.remote_state}
        wake = on_event or (lambda _news: None)
        plain = SpecFolder(specs, texts, passed)
        sources = Sources(
            paths,
            plain=plain,
            last_good=texts,
            passed=passed,
            writable=writable,
            clock=clock,
            wake=lambda: wake(SOURCE),
        )
        opened.callback(sources.close)
        connect = Connections(remote, lambda host: wake(news_of(host)))
        opened.callback(connect.close)
        world = World(
            specs=ConfiguredSpecs(plain, file, sources.open, sources.leave),
            texts=texts,
            paths=paths,
            state=StateFolder(paths),
            ledger=ledger,
            audit=audit,
            agents={LOCAL_HOST: Agent(str(state), {"screen": settings.screen, "nvidia_smi": settings.nvidia_smi})},
            wake=wake,
            sources=sources,
            settings=settings,
            settings_now=lambda: effective(env, file.settings),
            connect=connect,
            clock=clock,
            daemon=f"{os.getpid()}-{secrets.token_hex(4)}",
            seen=read_seen(paths),
            local_names=THIS_MACHINE | {socket.gethostname(), *settings.host_names},
        )
        if writable:
            from reconciler.loop.moving import Moving  # those who only read do without it

            world.moving = Moving(world.agent_for, lambda: wake(MOVED), now=clock)
            opened.callback(world.moving.close)
        world.held = opened.pop_all()
        return world


def news_of(host: str) -> str:
    """What an alarm calls a host that has news."""
    return f"host:{host}"


class Connections:
    """Makes the agents of other machines, and ends them all."""

    def __init__(self, settings: Mapping[str, str | None], on_event: Callable[[str], None]) -> None:
        self._settings = settings
        self._on_event = on_event
        self._made: list[SshHost] = []

    def __call__(self, host: str) -> SshHost:
        from reconciler.host.ssh.link import SshHost

        made = SshHost(host, self._settings, lambda: self._on_event(host))
        self._made.append(made)
        return made

    def close(self) -> None:
        """End all connections. What was started on the hosts goes on."""
        for made in self._made:
            made.close()


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where the user keeps what can be made again."""
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "exq"
