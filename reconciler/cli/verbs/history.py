"""`exq history`: the audit trail, for people."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, CliError
from reconciler.cli.logfile import keys_with_attempts
from reconciler.cli.look import say_if_shared
from reconciler.cli.output import print_json, print_text, style_for
from reconciler.cli.resolve import Names, resolve_job
from reconciler.store.paths import StatePaths

EXAMPLES = """\
  exq history                the last 50 lines
  exq history s42_N64 -n 0   all of one job
  exq history --json | jq -r '.records[] | select(.by) | "\\(.by) \\(.action) \\(.job)"'"""

DEFAULT_LINES = 50


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", nargs="?", help="a job: project/id, or its id alone")
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        type=_count,
        default=DEFAULT_LINES,
        help=f"how many of the last records (0: all; default {DEFAULT_LINES})",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def run(args: Namespace, context: Context) -> int:
    """Print the last records of the trail, oldest first; it needs neither specs nor a host."""
    from reconciler.store.audit import read
    from reconciler.view.history import history_json, render_history

    paths = StatePaths(context.state)
    say_if_shared(paths)
    key = _key(args.job, paths, context) if args.job else None
    records = read(paths, job=key, last=args.lines or None)
    listed: Sequence[dict[str, object]] = list(records)
    if context.json:
        print_json(history_json(listed))
    else:
        print_text(render_history(listed, style_for(context)))
    if records.damaged:
        say(f"{records.damaged} lines of {paths.audit} could not be read and are left out")
    return OK


def _key(word: str, paths: StatePaths, context: Context) -> str:
    """A job that ran is known from its folder, any other from the specs and the ledger."""
    try:
        return resolve_job(word, Names(keys_with_attempts(paths.attempts)))
    except CliError:
        from reconciler.cli.look import look_now
        from reconciler.cli.wishes import names_of

        return resolve_job(word, names_of(look_now(context)))
