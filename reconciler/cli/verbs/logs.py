"""`exq logs`: what an attempt wrote, to the last byte."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from codecs import getincrementaldecoder
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, USAGE, CliError
from reconciler.cli.logfile import AttemptLog, CollectedLog, Log, attempts_of, follow, keys_with_attempts
from reconciler.cli.look import look_in, look_now, looking, say_if_shared
from reconciler.cli.output import json_text
from reconciler.cli.resolve import Names, listed, resolve_job
from reconciler.model.enums import JobStatus
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.loop import World
    from reconciler.model.ledger import AttemptRecord, JobRecord

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
    with ExitStack() as opened:
        log = _find(args.job, args.attempt, context, opened)
        if context.json:
            _print_json(log, args.lines)
        else:
            _print(log, args)
    return OK


def _print(log: Log, args: Namespace) -> None:
    pieces = log.pieces(args.lines)
    text, offset = next(pieces)
    say(f"{log.job}, attempt {log.number}, {log.place}")
    _write(text)
    for piece in pieces:
        _write(piece[0])
        offset = piece[1]
    if args.follow:
        for added in follow(log, offset, time.sleep):
            _write(added)
    if log.ended():
        say(f"attempt {log.number} has ended: {log.ending()}")


def _find(word: str, number: int | None, context: Context, opened: ExitStack) -> Log:
    """The log, where the folders of this machine tell which it is; else where the ledger says that it is."""
    try:
        key = resolve_job(word, Names(keys_with_attempts(StatePaths(context.state).attempts)))
    except CliError:
        return _elsewhere(word, number, context, opened)
    found = attempts_of(StatePaths(context.state).attempts, key)
    if number is not None and number in found:
        return found[number]
    newest = found[max(found)] if found else None
    if newest is not None and number is None and not _may_be_followed(newest):
        return newest
    try:
        return _elsewhere(key, number, context, opened)
    except StoreError:
        if newest is None or number is not None:
            raise
        return newest  # a state folder that is not trusted tells of no other machine


def _may_be_followed(newest: AttemptLog) -> bool:
    """A further attempt of the job may have been made on another machine: this one is over, and not completed."""
    verdict = newest.settled()
    return bool(verdict) and verdict.get("status") != JobStatus.COMPLETED


def _elsewhere(word: str, number: int | None, context: Context, opened: ExitStack) -> Log:
    from reconciler import loop
    from reconciler.cli.remotelog import RemoteLog
    from reconciler.view.words import host_once

    paths = StatePaths(context.state)
    world = opened.enter_context(loop.open_world(context.specs, context.state, writable=False, env=context.env))
    jobs = world.ledger.ledger().jobs
    try:
        key = resolve_job(word, Names(tuple(jobs)))
    except CliError:
        key = _key_from_specs(word, context)
    here = attempts_of(paths.attempts, key)
    record = jobs.get(key)
    there = {each.number: each for each in (record.attempts if record else ()) if not world.is_local(each.host)}
    numbers = sorted({*here, *there})
    if not numbers:
        raise _no_attempt(key, context)
    chosen = numbers[-1] if number is None else number
    if chosen not in numbers:
        raise CliError(f"{key} has no attempt {number}", f"its attempts: {listed([str(each) for each in numbers])}")
    if chosen in here:
        return here[chosen]
    log = RemoteLog(world, there[chosen])
    copy = _collected(world, jobs[key], there[chosen])
    silence = log.silence() if copy is not None else None
    if copy is None or silence is None:
        return log
    say(f"{host_once(f'{copy.host}: {silence}')}; this is the copy that was collected")
    return copy


def _collected(world: World, record: JobRecord, attempt: AttemptRecord) -> CollectedLog | None:
    """The copy of its log on this machine, where the specs still name the folder of it."""
    from reconciler.host.destination import collected_log
    from reconciler.model.ledger import COLLECTED

    if not any(copy.place == COLLECTED and copy.attempt == attempt.number for copy in record.copies):
        return None
    project = look_in(world, hosts=()).desired.projects.get(record.key.partition("/")[0])
    places = collected_log(record.key, project.collect) if project is not None and project.collect else ()
    found = next((path for path in (Path(place).expanduser() for place in places) if path.is_file()), None)
    return None if found is None else CollectedLog(record.key, attempt.number, attempt.host, found, attempt.exit_code)


def _key_from_specs(word: str, context: Context) -> str:
    """A job that has not run yet is known from the specs alone."""
    from reconciler.cli.wishes import names_of

    with looking(context) as world:
        return resolve_job(word, names_of(look_in(world, hosts=())))


def _no_attempt(key: str, context: Context) -> CliError:
    state = look_now(context).plan.states.get(key)
    why = f": it is {state.status} ({state.reason}), {state.message}" if state else ""
    return CliError(f"{key} has no attempt yet{why}", f"exq why {key}")


def _print_json(log: Log, lines: int | None) -> None:
    """One document, printed as the log is read: that may be huge."""
    indent = 2 if sys.stdout.isatty() else None
    gap, end = ("\n  ", "\n") if indent else (" ", "")
    pieces = log.pieces(lines)
    text, size = next(pieces)
    head = {"schema": "exq.logs/v1", "job": log.job, "attempt": log.number, **log.where, "ended": log.ended()}
    print(json_text(head, indent).rstrip("}\n"), end=f',{gap}"text": "')
    decoder = getincrementaldecoder("utf-8")("replace")
    _print_inside(decoder.decode(text))
    for piece in pieces:
        _print_inside(decoder.decode(piece[0]))
        size = piece[1]
    _print_inside(decoder.decode(b"", final=True))
    print(f'",{gap}"size_bytes": {size}{end}}}')


def _print_inside(text: str) -> None:
    """Between the quotes of a JSON text."""
    print(json_text(text)[1:-1], end="")


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
