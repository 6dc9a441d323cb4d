"""`exq status`: where every job stands."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context
from reconciler.cli.exits import OK
from reconciler.cli.look import look_in, looking, with_round_trips
from reconciler.cli.narrow import narrowed
from reconciler.cli.output import print_json, print_text, style_for

EXAMPLES = """\
  exq status
  exq status distill 's42_*'
  exq status --hosts
  exq status --json | jq -r '.jobs[] | select(.status == "stuck") | .key'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="PROJECT|JOB", nargs="*", help="show only these: projects, jobs, patterns; default: all"
    )
    parser.add_argument("--hosts", action="store_true", help="show all of the hosts, as exq hosts does")


def run(args: Namespace, context: Context) -> int:
    """Print it, also when some spec file is broken: how many mistakes there are is part of it."""
    from reconciler.cli.daemon import running_loop
    from reconciler.view.status import render_status, status_json

    with looking(context) as world:
        seen = look_in(world, results=context.json)
        if args.hosts or context.json:
            seen = with_round_trips(world, seen)
    snapshot = narrowed(seen, args.targets)
    daemon = running_loop(context)
    if context.json:
        print_json(status_json(snapshot, daemon))
    else:
        print_text(render_status(snapshot, style_for(context), daemon or {}, hosts=args.hosts))
    return OK
