"""`exq status`: where every job stands."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context
from reconciler.cli.exits import OK
from reconciler.cli.look import look_now
from reconciler.cli.narrow import narrowed
from reconciler.cli.output import print_json, print_text, style_for

EXAMPLES = """\
  exq status
  exq status distill 's42_*'
  exq status --json | jq -r '.jobs[] | select(.status == "stuck") | .key'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="PROJECT|JOB", nargs="*", help="show only these: projects, jobs, patterns; default: all"
    )


def run(args: Namespace, context: Context) -> int:
    """Print it, also when some spec file is broken: how many mistakes there are is part of it."""
    from reconciler.cli.daemon import running_loop
    from reconciler.view.status import render_status, status_json

    snapshot = narrowed(look_now(context, results=context.json), args.targets)
    daemon = running_loop(context)
    if context.json:
        print_json(status_json(snapshot, daemon))
    else:
        print_text(render_status(snapshot, style_for(context), daemon or {}))
    return OK
