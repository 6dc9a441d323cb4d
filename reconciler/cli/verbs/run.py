"""`exq run`: the loop, in the foreground, as a service, or detached."""

from __future__ import annotations

import signal
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say
from reconciler.cli.daemon import held_by
from reconciler.cli.exits import INTERRUPTED, OK, PROBLEM, SETTLED_STUCK, USAGE, CliError
from reconciler.cli.look import has_errors
from reconciler.cli.notify import Supervisor, systemd_supervisor
from reconciler.cli.progress import progress_for
from reconciler.cli.signals import StopSignals
from reconciler.cli.summaries import fresh_summaries
from reconciler.model.enums import ActionKind, JobStatus
from reconciler.model.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.progress import Progress
    from reconciler.host.watch import Waker
    from reconciler.loop import World
    from reconciler.loop.done import Done

EXAMPLES = """\
  exq run                  until it is stopped; jobs go on without it
  exq run --until-settled  until every job is completed or stuck
  exq run --once           one step
  exq run --plan-only      the plan alone, as exq diff has it: nothing is changed
  exq run --detach         in the background, where there is no systemd; `exq service install` is better"""

HOST_PATIENCE_S = 1.0
"""How long one step waits for a host behind a connection. Its answer is used when it comes; others are not held up."""

FIRST_FETCH_S = 20.0
"""How long the first look waits for specs that come from elsewhere; after that they are as they were."""

WHOLE_SPECS_POLL_S = 0.1
WHOLE_SPECS_TRIES = 50
"""After these the loop begins anyway, and takes such a file up when it is whole."""


def add_arguments(parser: ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--once", action="store_true", help="carry out one plan and end")
    group.add_argument("--until-settled", action="store_true", help="end when every job is completed or stuck")
    group.add_argument("--plan-only", action="store_true", help="print the plan and end: nothing is changed, or locked")
    parser.add_argument("--detach", action="store_true", help="go on in the background, once the loop has begun")
    parser.add_argument("-q", "--quiet", action="store_true", help="print what goes wrong and the summary only")
    parser.add_argument("--exit-code", action="store_true", help="with --plan-only: as that of exq diff")


def run(args: Namespace, context: Context) -> int:
    """Print the plan, carry it out, print what became of it. Raises `CliError` with 75 when another loop runs."""
    if args.exit_code and not args.plan_only:
        raise CliError("--exit-code is about a plan alone: exq run --plan-only --exit-code", "", USAGE)
    if args.detach and (args.once or args.plan_only):
        one = "--once" if args.once else "--plan-only"
        raise CliError(f"one step needs no background: {one} and --detach do not go together", "", USAGE)
    if args.plan_only:
        return _plan_only(args, context)
    if args.detach:
        from reconciler.cli.detach import detached

        return detached(context, lambda send: _run(args, context, Supervisor(send)))
    return _run(args, context, systemd_supervisor(context.env))


def _plan_only(args: Namespace, context: Context) -> int:
    """What a loop prints first, by the eyes of `exq diff`: no state folder is made, and a running loop is no matter."""
    from reconciler.cli.look import look_now
    from reconciler.cli.verbs import diff

    snapshot = look_now(context)
    progress_for(context, quiet=args.quiet).plan(snapshot)
    return diff.exit_code(snapshot, asked=args.exit_code)


def _run(args: Namespace, context: Context, supervisor: Supervisor) -> int:
    from reconciler import loop
    from reconciler.store.lock import Held

    context.require_specs()
    progress = progress_for(context, quiet=args.quiet)
    news = News()
    try:
        world = loop.open_world(context.specs, context.state, writable=True, env=context.env, on_event=news.come)
    except Held as held:
        raise held_by(context, held.holder) from held
    with world:
        if not args.once:  # one step alone is for all hosts
            world.patience_s = HOST_PATIENCE_S
        world.fetch_source(FIRST_FETCH_S)
        before = look_when_specs_are_whole(world)
        progress.plan(before)
        after, stopped_by = _loop(world, args, progress, news, supervisor)
        supervisor.stopping()
        progress.end(after, fresh_summaries(world, before, after))
    return _stopped(stopped_by, args, after) if stopped_by is not None else exit_code(after)


def look_when_specs_are_whole(world: World) -> Snapshot:
    """The first look. A file that was saved just now counts as half-written for a moment: that is waited for."""
    from reconciler import loop

    snapshot = loop.look(world)
    for _ in range(WHOLE_SPECS_TRIES):
        if not any(file.unsettled for file in snapshot.desired.files):
            break
        time.sleep(WHOLE_SPECS_POLL_S)
        snapshot = loop.look(world)
    return snapshot


class News:
    """Passes on that there is news, once there is a loop to wake."""

    def __init__(self) -> None:
        self.waker: Waker | None = None

    def come(self, what: str) -> None:
        """Callable from any thread."""
        if self.waker is not None:
            self.waker.wake(what)


def _loop(
    world: World, args: Namespace, progress: Progress, news: News, supervisor: Supervisor
) -> tuple[Snapshot, int | None]:
    """Run it; the signal that ended it, if one did."""
    from reconciler import loop
    from reconciler.host.watch import Waker
    from reconciler.loop.run import watched_folders

    waker = news.waker = Waker(watched_folders(world), wait_max_s=supervisor.silence_max_s)

    def reload() -> None:
        supervisor.reloading()
        if world.sources is not None:
            world.sources.refresh()
        waker.wake("reload")

    def report(snapshot: Snapshot, done: Sequence[Done]) -> None:
        progress.tick(snapshot, done)
        supervisor.ticked(snapshot)

    with StopSignals(lambda: waker.wake("stop"), reload if supervisor.listens else None) as signals:
        snapshot = loop.run(
            world,
            once=args.once,
            until_settled=args.until_settled,
            report=report,
            stop=signals.asked,
            waker=waker,
        )
        return snapshot, signals.received


def exit_code(snapshot: Snapshot) -> int:
    """1 when some spec file is broken, 3 when it settled with a job that did not complete, else 0."""
    if has_errors(snapshot):
        return PROBLEM
    states = [state for key, state in snapshot.plan.states.items() if key in snapshot.desired.index]
    incomplete = any(state.status is not JobStatus.COMPLETED for state in states)
    return SETTLED_STUCK if snapshot.plan.settled and incomplete else OK


def _stopped(number: int, args: Namespace, last: Snapshot) -> int:
    """A loop that was to go on until it is stopped ends well by SIGTERM; one with an aim has not reached it."""
    name = signal.Signals(number).name
    # what the last step launched runs, too, though that step still had it waiting
    launched = any(action.kind is ActionKind.LAUNCH for action in last.plan.actions)
    some_run = launched or any(state.status is JobStatus.RUNNING for state in last.plan.states.values())
    goes_on = "; running jobs go on, and the next exq run takes them up again" if some_run else "; no job was running"
    say(f"exq: stopped by {name}{goes_on}")
    if number == signal.SIGINT:
        return INTERRUPTED
    return 128 + number if args.until_settled else OK
