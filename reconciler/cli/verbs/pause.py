"""`exq pause`: ask the loop to launch nothing more of some jobs or projects."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.asking import ask
from reconciler.cli.context import Context
from reconciler.model.enums import RequestKind

EXAMPLES = """\
  exq pause                  everything
  exq pause sweep            one project
  exq pause 's42_*'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="JOB|PROJECT", nargs="*", help="a job, a pattern or a project; default: all projects"
    )


def run(args: Namespace, context: Context) -> int:
    """Record the requests; the loop carries them out. Returns 1 when one makes no sense."""
    return ask(RequestKind.PAUSE, args.targets, context)
