"""`exq resume`: ask the loop to lift pauses."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.asking import ask
from reconciler.cli.context import Context
from reconciler.model.enums import RequestKind

EXAMPLES = """\
  exq resume                 everything that is paused
  exq resume sweep"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="JOB|PROJECT", nargs="*", help="a job, a pattern or a project; default: all that is paused"
    )


def run(args: Namespace, context: Context) -> int:
    """Record the requests; the loop carries them out. Returns 1 when one makes no sense."""
    return ask(RequestKind.RESUME, args.targets, context)
