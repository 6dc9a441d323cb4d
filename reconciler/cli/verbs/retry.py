"""`exq retry`: ask the loop to run stuck or failed jobs again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.asking import ask
from reconciler.cli.context import Context
from reconciler.model.enums import RequestKind

EXAMPLES = """\
  exq retry s42_N64
  exq retry 's42_*'          those of them that failed
  exq retry distill          all of a project that failed"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        metavar="JOB",
        nargs="+",
        help="a job, a pattern such as 's42_*', or a project (all of it that failed)",
    )


def run(args: Namespace, context: Context) -> int:
    """Record the requests; the loop carries them out. Returns 1 when one makes no sense."""
    return ask(RequestKind.RETRY, args.targets, context)
