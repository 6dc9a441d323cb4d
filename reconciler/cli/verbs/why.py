"""`exq why`: the chain of reasons that keeps a job where it is, and what would move it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context
from reconciler.cli.exits import OK, CliError
from reconciler.cli.look import look_now, say_spec_errors
from reconciler.cli.output import print_json, print_text, style_for
from reconciler.cli.resolve import resolve_job
from reconciler.cli.wishes import names_of

EXAMPLES = """\
  exq why d_N512_s42
  exq why distill/d_N512_s42 --json"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a job: project/id, or its id alone")


def run(args: Namespace, context: Context) -> int:
    """Mistakes in the specs go to stderr: they may be why. The answer itself is what counts: exit 0."""
    from reconciler.view.why import render_why, why_json

    snapshot = look_now(context)
    say_spec_errors(snapshot)
    key = resolve_job(args.job, names_of(snapshot))
    if key not in snapshot.plan.states:
        raise CliError(f"{key} is in no spec any more, and nothing of it runs", f"exq history {key}, exq logs {key}")
    if context.json:
        print_json(why_json(snapshot, key))
    else:
        print_text(render_why(snapshot, key, style_for(context)))
    return OK
