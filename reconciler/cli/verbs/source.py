"""`exq source`: the git repository that the specs come from, and what to do when its history was rewritten."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, PROBLEM, CliError
from reconciler.cli.output import print_json, print_text
from reconciler.model.enums import RequestKind

if TYPE_CHECKING:
    from reconciler.loop import World
    from reconciler.model.ledger import Request
    from reconciler.model.snapshot import Snapshot

EXAMPLES = """\
  exq source           repository, commit in force, and how far behind it is
  exq source --fetch   fetch first, also while a loop runs, which takes it up at once
  exq source --accept  take a history that was rewritten (a force-push, another branch)"""

FETCH_S = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--fetch", action="store_true", help="fetch the repository first")
    parser.add_argument("--accept", action="store_true", help="take the newest commit, though its history is another")


def run(args: Namespace, context: Context) -> int:
    """Show the source. Returns 1 when the newest commit is not in force, or not known."""
    from reconciler.cli.look import look_in, looking

    with looking(context, fetch=not args.fetch) as world:
        if args.fetch:
            _fetch(world)
        snapshot = look_in(world, hosts=())
    if args.accept and not any(request.kind is RequestKind.ACCEPT_SOURCE for request in snapshot.requests):
        asked = _accept(context, snapshot)
    else:
        asked = next((r for r in snapshot.requests if r.kind is RequestKind.ACCEPT_SOURCE), None)
    _show(context, snapshot, asked)
    source = snapshot.desired.source
    return PROBLEM if source is not None and source.problem and not args.accept else OK


def _fetch(world: World) -> None:
    source = world.settings.source
    if source is None or source.url is None:
        say("there is nothing to fetch: the specs are read where they are")
        return
    world.fetch_source(FETCH_S, always=True)
    with suppress(OSError):  # what wakes a loop is a help; it looks by itself before long
        nudge = world.paths.requests / ".fetched"
        nudge.touch(mode=0o600)
        nudge.unlink()


def _accept(context: Context, snapshot: Snapshot) -> Request | None:
    """Record the request for the very commit that is shown. Raises `CliError` when there is nothing to accept."""
    from reconciler.cli.asking import submit_all

    source = snapshot.desired.source
    if source is None:
        raise CliError("the specs are the folder as it is: there is no history to accept", "exq settings")
    if not source.rewritten or source.newest is None:
        what = source.problem or "the newest commit is in force"
        raise CliError(f"there is no rewritten history to accept: {what}", source.advice)
    return submit_all(RequestKind.ACCEPT_SOURCE, [source.newest], context)[0]


def _show(context: Context, snapshot: Snapshot, asked: Request | None) -> None:
    from reconciler.cli.asking import next_words
    from reconciler.cli.daemon import running_loop
    from reconciler.view.source import file_json, source_json, source_words

    daemon = running_loop(context)
    if context.json:
        print_json(
            {
                "schema": "exq.source/v1",
                **source_json(snapshot.desired.source),
                "revision": snapshot.desired.revision,
                "accepting": asked.target if asked is not None else None,
                "files": [file_json(file) for file in snapshot.desired.files],
                "daemon": daemon,
            }
        )
        return
    rows = source_words(snapshot)
    width = max(len(head) for head, _ in rows)
    print_text("".join(f"{head:<{width}}  {words}\n" for head, words in rows))
    source = snapshot.desired.source
    if asked is not None:
        say(f"{asked.target[:12]} is to be taken, as {asked.by} said; {next_words(daemon)}")
    elif source is not None and source.advice:
        say(f"Next: {source.advice}")
