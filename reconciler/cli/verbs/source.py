"""`exq source`: the git repository that the specs come from, and what to do when its history was rewritten."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, PROBLEM, CliError
from reconciler.cli.output import print_json, print_text
from reconciler.model.enums import RequestKind
from reconciler.view.source import settings_mistake

if TYPE_CHECKING:
    from reconciler.loop import World
    from reconciler.model.ledger import Request
    from reconciler.model.snapshot import Snapshot

EXAMPLES = """\
  exq source           repository, commit in force, and how far behind it is
  exq source --fetch   fetch first, also while a loop runs, which takes it up at once
  exq source --accept  take a history that was rewritten (a force-push, another branch)"""

SILENCE_S = 30.0
"""How long a server may say nothing at all to somebody who waits for it."""


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
    waiting = [request for request in snapshot.requests if request.kind is RequestKind.ACCEPT_SOURCE]
    source = snapshot.desired.source
    asked = waiting[-1] if waiting else None
    if args.accept and (asked is None or (source is not None and source.rewritten)):
        asked = _accept(context, snapshot)  # a later one counts, where the history was rewritten once more
    _show(context, snapshot, asked)
    if source is None:
        return PROBLEM if settings_mistake(snapshot.desired) else OK
    return PROBLEM if source.problem and not args.accept else OK


def _fetch(world: World) -> None:
    source = world.settings.source
    if source is None or source.url is None:
        say("there is nothing to fetch: the specs are read where they are")
        return
    say(f"fetching {source.repository}; Ctrl-C ends it")
    world.fetch_source(None, always=True, silence_s=SILENCE_S)  # as long as something comes
    with suppress(OSError):  # what wakes a loop is a help; it looks by itself before long
        nudge = world.paths.requests / ".fetched"
        nudge.touch(mode=0o600)
        nudge.unlink()


def _accept(context: Context, snapshot: Snapshot) -> Request | None:
    """Record the request for the very commit that is shown. Raises `CliError` when there is nothing to accept."""
    from reconciler.cli.asking import submit_all

    source = snapshot.desired.source
    mistake = settings_mistake(snapshot.desired)
    if source is None and mistake is not None:
        raise CliError(f"the source of the specs is not known: {mistake}", "exq validate")
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
