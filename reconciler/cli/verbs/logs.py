"""`exq logs`: what an attempt wrote, to the last byte."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, USAGE, CliError
from reconciler.cli.logfile import AttemptLog, attempts_of, follow, keys_with_attempts, last_lines
from reconciler.cli.look import say_if_shared
from reconciler.cli.output import print_json
from reconciler.cli.resolve import Names, listed, resolve_job
from reconciler.store.paths import StatePaths

EXAMPLES = """\
  exq logs s42_N64            all its newest attempt wrote
  exq logs s42_N64 -f         and what it goes on to write
  exq logs s42_N64 -n 20 --attempt 1"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a job: project/id, or its id alone")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the attempt has ended")
    parser.add_argument("-n", "--lines", metavar="LINES", type=_count, help="only this many of the last lines")
    parser.add_argument("--attempt", metavar="N", type=_count, help="which attempt; default: the newest")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def run(args: Namespace, context: Context) -> int:
    """Print the log on stdout, and which attempt it is on stderr."""
    if args.follow and context.json:
        raise CliError("-f and --json do not go together: a log that grows is no document", code=USAGE)
    say_if_shared(StatePaths(context.state))
    log = _find(args.job, args.attempt, context)
    if context.json:
        _print_json(log, args.lines)
        return OK
    say(f"{log.job}, attempt {log.number}, {log.path}")
    text, offset = last_lines(log.path, args.lines)
    _write(text)
    if args.follow:
        for added in follow(log, offset, time.sleep):
            _write(added)
    if log.ended():
        say(f"attempt {log.number} has ended: {log.ending()}")
    return OK


def _find(word: str, number: int | None, context: Context) -> AttemptLog:
    attempts = StatePaths(context.state).attempts
    try:
        key = resolve_job(word, Names(keys_with_attempts(attempts)))
    except CliError:
        key = _key_from_specs(word, context)
    found = attempts_of(attempts, key)
    if not found:
        raise _no_attempt(key, context)
    if number is None:
        return found[max(found)]
    if number not in found:
        raise CliError(f"{key} has no attempt {number}", f"its attempts: {listed([str(each) for each in found])}")
    return found[number]


def _key_from_specs(word: str, context: Context) -> str:
    """A job that has not run yet is known from the specs alone."""
    from reconciler.cli.look import look_now
    from reconciler.cli.wishes import names_of

    return resolve_job(word, names_of(look_now(context)))


def _no_attempt(key: str, context: Context) -> CliError:
    from reconciler.cli.look import look_now

    state = look_now(context).plan.states.get(key)
    why = f": it is {state.status} ({state.reason}), {state.message}" if state else ""
    return CliError(f"{key} has no attempt yet{why}", f"exq why {key}")


def _print_json(log: AttemptLog, lines: int | None) -> None:
    text, offset = last_lines(log.path, lines)
    print_json(
        {
            "schema": "exq.logs/v1",
            "job": log.job,
            "attempt": log.number,
            "path": str(log.path),
            "ended": log.ended(),
            "size_bytes": offset,
            "text": text.decode("utf-8", errors="replace"),
        }
    )


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
