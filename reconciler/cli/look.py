"""A snapshot for the verbs that only look: the loop's own eyes, without its hands."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli.context import say

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.host.reply import HostAgent, Reply
    from reconciler.loop import World
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.paths import StatePaths

PATIENCE_S = 15.0
"""How long a verb waits for hosts. One that is down is known to be after 10 s, where the ssh configuration has no other
ConnectTimeout."""

SAY_AFTER_S = 2.0
"""After this, a terminal is told who is waited for."""


def look_now(context: Context, *, results: bool = False) -> Snapshot:
    """Load the specs, observe the hosts and plan, writing nothing. Raises `CliError` without a specs folder.

    `results`: find the output files of completed jobs too."""
    with looking(context) as world:
        return look_in(world, results=results)


@contextmanager
def looking(context: Context, *, fetch: bool = True) -> Iterator[World]:
    """The world of a verb that only looks, for `look_in`. Raises `CliError` without a specs folder.

    `fetch`: specs that come from elsewhere are fetched first, where no loop does that all the time."""
    from reconciler import loop

    context.require_specs()
    with loop.open_world(context.specs, context.state, writable=False, env=context.env) as world:
        world.patience_s = PATIENCE_S
        if fetch:
            _fetch_specs(context, world)
        yield world


def _fetch_specs(context: Context, world: World) -> None:
    from reconciler.cli.daemon import running_loop

    source = world.settings.source
    if source is not None and source.url is not None and running_loop(context) is None:
        with waiting_said(lambda: [source.repository]):
            world.fetch_source(PATIENCE_S)


def look_in(world: World, *, results: bool = False, hosts: Collection[str] | None = None) -> Snapshot:
    """Look at all hosts, or only at `hosts` (none at all: what specs and ledger tell)."""
    from reconciler import loop

    world.last = None  # a loop does not wait again for a host that was silent in its last look; a verb does
    with waiting_said(lambda: _late(world)):
        if hosts is None:
            return _with_since(world, loop.look(world, results=results))
        return _with_since(world, loop.look(world, full=False, woken={own_name(world, host) for host in hosts}))


def _with_since(world: World, snapshot: Snapshot) -> Snapshot:
    """A new connection does not know when a silent host was last heard of; the loop may."""
    from dataclasses import replace

    from reconciler.model.facts import Observed, Unknown
    from reconciler.store.seen import read_seen

    views = snapshot.observed.hosts
    silent = {host: v for host, v in views.items() if isinstance(v, Unknown) and not v.quiet and v.since is None}
    if not silent:
        return snapshot
    seen = {host: each for host, each in read_seen(world.paths).items() if not each.reachable}
    known = {host: replace(v, since=seen[host].last_answer_at) for host, v in silent.items() if host in seen}
    return replace(snapshot, observed=Observed({**views, **known}))


def own_name(world: World, host: str) -> str:
    """The one name of this machine, whatever the specs call it; other hosts are called as they are."""
    from reconciler.model.spec import LOCAL_HOST

    return LOCAL_HOST if world.is_local(host) else host


def with_round_trips(world: World, snapshot: Snapshot) -> Snapshot:
    """The same look with the time that an answer of each host takes, now that there are connections."""
    from dataclasses import replace

    from reconciler.model.facts import HostView, Observed

    views = snapshot.observed.hosts.items()
    remote = {host: view for host, view in views if isinstance(view, HostView) and not world.is_local(host)}
    asked = [(host, _timed_hello(world.agent_for(host))) for host in remote]
    hosts = dict(snapshot.observed.hosts)
    for host, (reply, took_s) in asked:
        answer = reply.wait(PATIENCE_S)
        if answer is not None and "error" not in answer:
            hosts[host] = replace(remote[host], round_trip_s=took_s[0])
    return replace(snapshot, observed=Observed(hosts))


def _timed_hello(agent: HostAgent) -> tuple[Reply, list[float]]:
    """A reply, and how long it took, once it is there."""
    import time

    from reconciler.host.reply import Reply, send

    began, timed, took_s = time.monotonic(), Reply(), list[float]()
    reply = send(agent, {"op": "hello"})

    def done() -> None:
        took_s.append(time.monotonic() - began)
        timed.put(reply.wait() or {})

    reply.on_done(done)
    return timed, took_s


@contextmanager
def waiting_said(late: Callable[[], Collection[str]]) -> Iterator[None]:
    """Tell a terminal which hosts are waited for, once it takes long. `late` names them, from another thread."""
    timer = threading.Timer(SAY_AFTER_S, _say_waiting, (late,))
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say_waiting(late: Callable[[], Collection[str]]) -> None:
    hosts = late()
    if hosts:
        say(f"waiting for {', '.join(hosts)} ...")


def _late(world: World) -> list[str]:
    return [host for host, asked in list(world.asked.items()) if not asked.reply.done]


def say_if_shared(paths: StatePaths) -> None:
    """Warn on stderr that others could have written what is about to be read; for verbs that run nothing of it."""
    from reconciler.store.errors import StoreError

    try:
        paths.check()
    except StoreError as shared:
        say(f"warning: others could have changed what follows: {shared}")


def has_errors(snapshot: Snapshot) -> bool:
    """Some spec file has more than warnings."""
    return any(not error.warning for error in snapshot.desired.errors)


def say_spec_errors(snapshot: Snapshot) -> None:
    """Print the mistakes in the specs on stderr."""
    for error in snapshot.desired.errors:
        say(str(error))
