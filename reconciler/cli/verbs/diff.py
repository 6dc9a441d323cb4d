"""`exq diff`: the plan that the loop would carry out now; to a file, too; or what changes between two revisions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from reconciler.cli.context import Context, say
from reconciler.cli.exits import CHANGES, INCOMPLETE, OK, PROBLEM, USAGE, CliError
from reconciler.cli.look import has_errors, look_in, looking, say_spec_errors
from reconciler.cli.narrow import narrowed
from reconciler.cli.output import print_json, print_text, style_for
from reconciler.cli.resolve import resolve_project
from reconciler.model.snapshot import Snapshot

EXAMPLES = """\
  exq diff
  exq diff distill                     of one project
  exq diff --all                       every job, also those that stay as they are
  exq diff --exit-code && echo settled
  exq diff --json | jq '.summary'
  exq diff --out plan.json             to be carried out just so: exq apply plan.json
  exq diff --rev HEAD                  what the edits since the last commit change in the specs
  exq diff --rev origin/main...HEAD    what a branch changes in them; no host is asked"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT", nargs="?", help="show only this one; default: all")
    parser.add_argument("--all", action="store_true", help="list every job, also where many are alike")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit 0 for no action, 2 for some, 3 when a probe gave no answer"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--out", metavar="FILE", help="write the plan to a file, for exq apply")
    other.add_argument(
        "--rev", metavar="A..B", help="compare the specs of two git revisions (A: with the working tree), not the hosts"
    )


def run(args: Namespace, context: Context) -> int:
    """Print the plan, also when some spec file is broken: then it is that of the others, and the exit code is 1."""
    if args.project and (args.out is not None or args.rev):
        option = "--out" if args.out is not None else "--rev"
        raise CliError(f"{option} is about all projects: leave {args.project} out", "", USAGE)
    if args.rev is not None:
        from reconciler.cli.revisions import diff_revisions

        return diff_revisions(context, args.rev, exit_code=args.exit_code, verbose=args.all)
    if args.out is not None:
        from reconciler.cli.saving import check_target

        check_target(context, args.out)
    with looking(context) as world:
        snapshot = look_in(world)
        if args.out and not has_errors(snapshot):
            from reconciler.cli.saving import save

            save(context, world, snapshot, Path(args.out))
    _show(args, context, snapshot)
    if args.out and has_errors(snapshot):
        say(f"exq: {args.out} is not written: some spec has mistakes, see above")
    return exit_code(snapshot, asked=args.exit_code)


def _show(args: Namespace, context: Context, snapshot: Snapshot) -> None:
    """Print a plan and what to type next."""
    from reconciler.cli.daemon import running_loop
    from reconciler.view.diff import diff_json, next_step, render_diff

    if args.project:
        snapshot = narrowed(snapshot, [resolve_project(args.project, tuple(snapshot.desired.projects)) + "/"])
    if context.json:
        say_spec_errors(snapshot)
        print_json(diff_json(snapshot))
    else:
        print_text(render_diff(snapshot, style_for(context), verbose=args.all))
        step = next_step(snapshot, running_loop(context), saved_as=None if has_errors(snapshot) else args.out)
        if step:
            say(step)


def exit_code(snapshot: Snapshot, *, asked: bool) -> int:
    """1 for broken specs; with --exit-code also what the plan holds. An incomplete plan is said before changes."""
    if has_errors(snapshot):
        return PROBLEM
    if not asked:
        return OK
    if snapshot.plan.unknown:
        return INCOMPLETE
    return CHANGES if snapshot.plan.actions or snapshot.plan.transfers else OK
