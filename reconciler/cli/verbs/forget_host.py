"""`exq forget-host`: give up what may still run on a host that does not answer."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from reconciler.cli.asking import next_words, requests_json, submit_all
from reconciler.cli.context import Context, say
from reconciler.cli.daemon import running_loop
from reconciler.cli.exits import OK, PROBLEM, CliError
from reconciler.cli.hostnames import resolve_host
from reconciler.cli.look import look_in, looking
from reconciler.cli.output import print_json
from reconciler.model.enums import RequestKind
from reconciler.model.facts import HostView, Unknown
from reconciler.model.ledger import AttemptRecord, Request
from reconciler.model.snapshot import Snapshot

EXAMPLES = """\
  exq hosts                   which ones do not answer, and what may run there
  exq forget-host gpu-b
  exq forget-host gpu-b --yes without a question"""

SHOWN_MAX = 20


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST", help="a host that does not answer")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: Namespace, context: Context) -> int:
    """Record the request, once the user has seen what is given up. Raises `CliError` for a host that answers."""
    host, snapshot = _look(args.host, context)
    given_up = _open_there(snapshot, host)
    if not given_up and not _is_awaited(snapshot, host):
        _report(context, host, given_up, [])
        return OK
    if not context.json:
        print(_explained(snapshot, host, given_up))
    if not args.yes and not _agreed(host, context):
        say(f"{host} is not given up")
        return PROBLEM
    _report(context, host, given_up, submit_all(RequestKind.FORGET_HOST, [host], context))
    return OK


def _look(word: str, context: Context) -> tuple[str, Snapshot]:
    """The host, and a look at it alone."""
    from reconciler.view.look import hosts_of

    with looking(context) as world:
        host = resolve_host(word, hosts_of(look_in(world, hosts=())))
        if world.is_local(host):
            raise CliError(f"{host} is the machine that exq runs on", "exq stop JOB ends a job")
        snapshot = look_in(world, hosts=[host])
    if isinstance(snapshot.observed.hosts.get(host), HostView):
        raise CliError(
            f"{host} answers, so nothing of it has to be given up", "exq stop JOB ends a job that runs there"
        )
    return host, snapshot


def _is_awaited(snapshot: Snapshot, host: str) -> bool:
    """Only a ledger that was lost knew what was launched there: jobs wait for what the host tells of it."""
    view = snapshot.observed.hosts.get(host)
    return isinstance(view, Unknown) and view.untold


def _open_there(snapshot: Snapshot, host: str) -> list[AttemptRecord]:
    from reconciler.view.look import open_on

    return open_on(snapshot, host)


def _explained(snapshot: Snapshot, host: str, given_up: Sequence[AttemptRecord]) -> str:
    """What is known of the host, what is given up, and what that means."""
    from reconciler.view.hosts import heard_words
    from reconciler.view.look import possible_hosts
    from reconciler.view.words import host_once

    view = snapshot.observed.hosts.get(host)
    heard = heard_words(snapshot, host)
    lines = [host_once(f"{host}: {view.message}") if isinstance(view, Unknown) else f"{host} was not looked at"]
    lines += [heard] if heard else []
    if not given_up:
        lines.append("the ledger does not know what was launched there: jobs wait until the host tells, or is given up")
        return "\n".join(lines)
    lines.append("what may still run there, and is given up:")
    lines += [f"  {_attempt_words(snapshot, attempt)}" for attempt in given_up[:SHOWN_MAX]]
    lines += [f"  and {len(given_up) - SHOWN_MAX:,} more"] if len(given_up) > SHOWN_MAX else []
    others = {name for attempt in given_up for name in possible_hosts(snapshot, attempt.job)} - {host}
    lines.append(_meaning(host, sorted(others)))
    return "\n".join(lines)


def _attempt_words(snapshot: Snapshot, attempt: AttemptRecord) -> str:
    from reconciler.view.times import clock, spoken
    from reconciler.view.words import gpu_list

    since = f"since {clock(attempt.intended_at, snapshot.now)} ({spoken(snapshot.now - attempt.intended_at)})"
    over = "ended, not let go of" if attempt.verdict is not None else ""
    parts = (f"{attempt.job}, attempt {attempt.number}", gpu_list(attempt.gpu_indices), over, since)
    return ", ".join(part for part in parts if part)


def _meaning(host: str, others: Sequence[str]) -> str:
    where = f"start anew on {', '.join(others)}" if others else f"start anew when {host} answers again (no other host)"
    return (
        f"These jobs {where}, with no try used up. If {host} comes back, what still runs there of them is ended.\n"
        "Until then both may run at once: on a shared disk they may write the same files."
    )


def _agreed(host: str, context: Context) -> bool:
    """Ask on a terminal. Raises `CliError` where nobody can answer."""
    if context.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CliError(f"giving up {host} has to be confirmed", f"exq forget-host {host} --yes")
    sys.stderr.write(f"Give {host} up? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(context: Context, host: str, given_up: Sequence[AttemptRecord], requests: Sequence[Request]) -> None:
    daemon = running_loop(context)
    if context.json:
        print_json({**requests_json(requests, (), daemon), "given_up": [attempt.path for attempt in given_up]})
    elif requests:
        say(next_words(daemon))
    else:
        say(f"nothing of ours may run on {host}: there is nothing to give up")
