"""`exq history`: the audit trail, for people; with `--full`, what each attempt of a job ran with."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, USAGE, CliError
from reconciler.cli.logfile import keys_with_attempts
from reconciler.cli.look import PATIENCE_S, look_in, say_if_shared, waiting_said
from reconciler.cli.output import print_json, print_text, style_for
from reconciler.cli.resolve import Names, resolve_job
from reconciler.store.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.loop import World
    from reconciler.loop.provenance import Files
    from reconciler.model.spec import Desired
    from reconciler.view.provenance import Ran

EXAMPLES = """\
  exq history                the last 50 lines
  exq history s42_N64 -n 0   all of one job
  exq history s42_N64 --full what its attempts ran with: commit, packages, GPUs, host
  exq history s42_N64 --full --patch | git -C "$(git rev-parse --show-toplevel)" apply
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
    parser.add_argument("--full", action="store_true", help="what each attempt of JOB ran with, the newest last")
    parser.add_argument("--patch", action="store_true", help="with --full: the changes that its commit does not have")
    parser.add_argument("--attempt", metavar="N", type=_count, help="with --full: this attempt alone")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def run(args: Namespace, context: Context) -> int:
    """Print the last records of the trail, oldest first; without --full it needs neither specs nor a host."""
    if args.full:
        return _full(args, context)
    if args.patch or args.attempt is not None:
        raise CliError("--patch and --attempt go with --full", "exq history JOB --full --patch", code=USAGE)
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


def _full(args: Namespace, context: Context) -> int:
    if not args.job:
        raise CliError("--full is about one job", "exq history JOB --full", code=USAGE)
    if args.patch and context.json:
        raise CliError("--patch and --json do not go together: a patch is a text of its own", code=USAGE)
    from reconciler import loop
    from reconciler.loop.provenance import files_of
    from reconciler.view.provenance import provenance_json, render_provenance

    paths = StatePaths(context.state)
    say_if_shared(paths)
    key = _key(args.job, paths, context)
    with loop.open_world(context.specs, context.state, writable=False, env=context.env) as world:
        desired = _desired(world, context)
        with waiting_said(lambda: [host for host in world.agents if not world.is_local(host)]):
            found = files_of(world, desired, key, PATIENCE_S)
        if args.attempt is not None and args.attempt not in found:
            raise CliError(f"{key} has no attempt {args.attempt}", f"exq history {key} --full")
        chosen = {number: each for number, each in found.items() if args.attempt in (None, number)}
        if args.patch:
            return _print_patch(world, key, chosen)
        attempts = [_ran(world, key, number, each) for number, each in chosen.items()]
    if context.json:
        print_json(provenance_json(key, attempts))
    else:
        print_text(render_provenance(key, attempts, style_for(context)))
    return OK


def _desired(world: World, context: Context) -> Desired:
    """The specs tell where outputs are collected; without them, there are no copies."""
    from reconciler.model.spec import Desired

    return look_in(world, hosts=()).desired if context.specs.is_dir() else Desired("", "", {})


def _ran(world: World, key: str, number: int, files: Files) -> Ran:
    from reconciler.view.provenance import Ran

    job = world.ledger.ledger().jobs.get(key)
    record = next((each for each in (job.attempts if job else ()) if each.number == number), None)
    return Ran(
        key, number, files.host, files.folder, files.records, files.times, record, files.problem, files.collected
    )


def _print_patch(world: World, key: str, chosen: dict[int, Files]) -> int:
    """Byte by byte as it was noted, so that `git apply` takes it."""
    from reconciler.loop.provenance import Unreadable, patch_of

    if not chosen:
        raise CliError(f"{key} has no attempt yet", f"exq why {key}")
    number = max(chosen)
    try:
        patch = patch_of(world, chosen[number], PATIENCE_S)
    except (Unreadable, OSError) as error:
        raise CliError(f"attempt {number} of {key} has no patch: {error}", f"exq history {key} --full") from None
    commit = chosen[number].records["provenance.json"]["code"].get("commit")
    say(f"{key}, attempt {number}: changes to commit {commit}")
    sys.stdout.buffer.write(patch)
    sys.stdout.buffer.flush()
    return OK
