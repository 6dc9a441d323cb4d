"""`exq hosts`: which hosts answer, what they have, and what of ours is there."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK
from reconciler.cli.hostnames import resolve_host
from reconciler.cli.look import look_in, looking, with_round_trips
from reconciler.cli.output import print_json, print_text, style_for

EXAMPLES = """\
  exq hosts
  exq hosts gpu-a gpu-b
  exq hosts --json | jq -r '.hosts[] | select(.reachable | not) | "\\(.name): \\(.message)"'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("hosts", metavar="HOST", nargs="*", help="show only these; default: all that the specs name")


def run(args: Namespace, context: Context) -> int:
    """Hosts that do not answer are part of the answer: exit 0."""
    from reconciler.view import look
    from reconciler.view.hosts import render_hosts
    from reconciler.view.hosts_json import hosts_json

    with looking(context) as world:
        known = look.hosts_of(look_in(world, hosts=()))
        names = list(dict.fromkeys(resolve_host(word, known) for word in args.hosts)) or known
        snapshot = with_round_trips(world, look_in(world, hosts=names))
    if context.json:
        print_json(hosts_json(snapshot, names))
    else:
        print_text(render_hosts(snapshot, style_for(context), names))
        if not args.hosts and any(not error.warning for error in snapshot.desired.errors):
            say("! the specs have mistakes (exq validate): hosts that only a broken file names are not shown")
    return OK
