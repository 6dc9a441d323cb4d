"""`exq diff`: the plan that the loop would carry out now."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context, say
from reconciler.cli.exits import CHANGES, INCOMPLETE, OK, PROBLEM
from reconciler.cli.look import has_errors, look_now, say_spec_errors
from reconciler.cli.narrow import narrowed
from reconciler.cli.output import print_json, print_text, style_for
from reconciler.cli.resolve import resolve_project
from reconciler.model.snapshot import Snapshot

EXAMPLES = """\
  exq diff
  exq diff distill                     of one project
  exq diff --all                       every job, also those that stay as they are
  exq diff --exit-code && echo settled
  exq diff --json | jq '.summary'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT", nargs="?", help="show only this one; default: all")
    parser.add_argument("--all", action="store_true", help="list every job, also where many are alike")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit 0 for no action, 2 for some, 3 when a probe gave no answer"
    )


def run(args: Namespace, context: Context) -> int:
    """Print the plan, also when some spec file is broken: then it is that of the others, and the exit code is 1."""
    from reconciler.cli.daemon import running_loop
    from reconciler.view.diff import diff_json, next_step, render_diff

    snapshot = look_now(context)
    if args.project:
        snapshot = narrowed(snapshot, [resolve_project(args.project, tuple(snapshot.desired.projects)) + "/"])
    if context.json:
        say_spec_errors(snapshot)
        print_json(diff_json(snapshot))
    else:
        print_text(render_diff(snapshot, style_for(context), verbose=args.all))
        step = next_step(snapshot, running_loop(context))
        if step:
            say(step)
    return exit_code(snapshot, asked=args.exit_code)


def exit_code(snapshot: Snapshot, *, asked: bool) -> int:
    """1 for broken specs; with --exit-code also what the plan holds. An incomplete plan is said before changes."""
    if has_errors(snapshot):
        return PROBLEM
    if not asked:
        return OK
    if snapshot.plan.unknown:
        return INCOMPLETE
    return CHANGES if snapshot.plan.actions or snapshot.plan.transfers else OK
