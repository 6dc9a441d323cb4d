"""`exq apply`: carry out a plan that was written to a file, just as it is or not at all."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say, who
from reconciler.cli.exits import HELD, PROBLEM, CliError
from reconciler.cli.output import print_json, style_for

if TYPE_CHECKING:
    from reconciler.loop import World
    from reconciler.model.saved import SavedPlan
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.spec import Desired
    from reconciler.store.lock import Holder
    from reconciler.view.moved import Fact

EXAMPLES = """\
  exq diff --out plan.json  look at the plan, and keep it
  exq apply plan.json       carry it out, if nothing that matters has moved since
  exq apply plan.json --yes without a question"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("plan", metavar="FILE", help="what exq diff --out wrote")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


@dataclass(slots=True)
class Check:
    """Compares looks with the plan. `facts` tell what the last of them found moved."""

    saved: SavedPlan
    was: Desired
    facts: list[Fact] = field(default_factory=list)

    def holds(self, now: Snapshot) -> bool:
        """A plan made of this look is the saved one."""
        from reconciler.planner.moved import moved_since
        from reconciler.view.moved import moved_facts

        self.facts = moved_facts(moved_since(self.saved, self.was, now), now)
        if not self.facts and now.plan.plan_id != self.saved.plan_id:
            self.facts = [("plan", now.plan.plan_id, "so this exq calls the same plan: another version made it")]
        return not self.facts


def run(args: Namespace, context: Context) -> int:
    """Look again, and carry the plan out in one step where a new one would be the same. Else say what has moved."""
    from reconciler import loop
    from reconciler.cli.saving import load, specs_of
    from reconciler.store.lock import Held

    context.require_specs()
    saved = load(context, args.plan)
    ask = not args.yes and bool(saved.actions or saved.others)
    if ask and (context.json or not (sys.stdin.isatty() and sys.stderr.isatty())):
        raise CliError("carrying out a plan has to be confirmed", f"exq apply {args.plan} --yes")
    check = Check(saved, specs_of(saved))
    try:
        world = loop.open_world(context.specs, context.state, writable=True, env=context.env)
    except Held as held:
        raise _held_by(context, saved, held.holder) from held
    with world:
        return _apply(args, context, world, check, ask=ask)


def _apply(args: Namespace, context: Context, world: World, check: Check, *, ask: bool) -> int:
    """The plan is compared before the question, which may stand for hours, and with the look that is acted on."""
    from reconciler.cli.progress import TextProgress
    from reconciler.cli.summaries import fresh_summaries
    from reconciler.cli.verbs.run import exit_code, look_when_specs_are_whole
    from reconciler.loop.apply import apply
    from reconciler.view.moved import applied_json

    before = look_when_specs_are_whole(world)
    if not check.holds(before):
        return _refused(context, check, before)
    progress = None if context.json else TextProgress(style_for(context), quiet=False)
    if progress is not None:
        progress.plan(before)
    if ask and not _agreed():
        say(f"plan {check.saved.plan_id} is not carried out")
        return PROBLEM
    after, done = apply(world, check.holds, by=who(context.env), note=f"plan {check.saved.plan_id}, from {args.plan}")
    if check.facts:
        return _refused(context, check, after)
    if progress is not None:
        progress.tick(after, done)
        progress.end(after, fresh_summaries(world, before, after))
    else:
        print_json(applied_json(after, done))
    if after.plan.transfers:
        say("outputs are brought to where they are wanted by a loop: exq run")
    return exit_code(after)


def _refused(context: Context, check: Check, now: Snapshot) -> int:
    """Say what has moved."""
    from reconciler.view.moved import refused_json, render_moved
    from reconciler.view.times import spoken
    from reconciler.view.words import count

    if context.json:
        print_json(refused_json(check.saved, now, check.facts))
    age = spoken(max(0.0, now.now - check.saved.made_at))
    moved = f"{count(len(check.facts), 'thing')} moved since it was made {age} ago"
    say(f"exq: plan {check.saved.plan_id} is not carried out: {moved}")
    say(render_moved(check.facts, replace(style_for(context), color=False)))
    say("  a new plan: exq diff --out FILE")
    return PROBLEM


def _agreed() -> bool:
    sys.stderr.write("Carry this plan out? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _held_by(context: Context, saved: SavedPlan, holder: Holder) -> CliError:
    """Exit 75: a loop needs nobody to carry plans out, but does not do what is paused."""
    from reconciler.cli.daemon import words_of

    paused = _paused(context, saved)
    hint = "it does by itself what the specs ask for: exq diff shows what is left"
    if paused:
        hint = f"it does by itself what the specs ask for, but for what is paused: exq resume {' '.join(paused)}"
    loop = f"a loop ({words_of(holder)}) works on the state folder {context.state}"
    return CliError(f"plan {saved.plan_id} is not carried out from its file: {loop}", hint, HELD)


def _paused(context: Context, saved: SavedPlan) -> list[str]:
    """What of the plan, or of its projects, is paused now."""
    from reconciler.cli.look import look_in, looking

    with looking(context) as world:
        paused = look_in(world, hosts=()).ledger.paused
    jobs = {action.job for action in saved.actions}
    projects = {job.partition("/")[0] for job in jobs}
    return sorted(name for name in paused if name in projects or name.partition("/")[0] in projects)
