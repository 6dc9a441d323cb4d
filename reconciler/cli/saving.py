"""A plan into a file, and back: `exq diff --out` and `exq apply`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.context import login_name, who
from reconciler.cli.exits import USAGE, CliError
from reconciler.model.facts import Unknown
from reconciler.model.saved import Origin, SavedPlan
from reconciler.planner.compare import compare
from reconciler.planner.moved import saved_action
from reconciler.planner.plan_id import id_of_steps, other_steps
from reconciler.spec.files import base_of_folder
from reconciler.spec.reading import SPEC_ENDINGS
from reconciler.spec.texts import load_texts
from reconciler.store.plan_file import PlanUnreadable, read_plan, why_not_replaced, write_plan

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.loop import World
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.spec import Desired

_NEW = "a new plan: exq diff --out FILE"
_ELSEWHERE = "name another file, such as: exq diff --out plan.json"


def check_target(context: Context, file: str) -> None:
    """Raise `CliError` where a plan may not be written: nothing but an earlier plan is ever replaced by one."""
    path = Path(file)
    if file in ("", "-"):
        words = "--out needs the name of a file" + (": standard output has what is shown" if file else "")
        raise CliError(words, "such as: exq diff --out plan.json", USAGE)
    if path.name.endswith(SPEC_ENDINGS) and os.path.realpath(path.parent) == os.path.realpath(context.specs):
        raise CliError(f"no plan is written to {file}: in the specs folder, it would be taken as a spec", _ELSEWHERE)
    why = why_not_replaced(path)
    if why:
        raise CliError(f"no plan is written to {file}: {why}", _ELSEWHERE)


def save(context: Context, world: World, snapshot: Snapshot, path: Path) -> None:
    """Write the plan of this look to a file. Raises `CliError`, StoreError or StoreFull."""
    saved = _saved(context, world, snapshot)
    if compare(specs_of(saved), snapshot.desired).projects:
        raise CliError("the specs changed while the plan was made", "type it again")
    write_plan(path, saved)


def _saved(context: Context, world: World, snapshot: Snapshot) -> SavedPlan:
    from reconciler import __version__

    plan, desired = snapshot.plan, snapshot.desired
    return SavedPlan(
        plan_id=plan.plan_id,
        made_at=snapshot.now,
        made_by=who(context.env),
        exq=__version__,
        origin=origin_of(context),
        revision=desired.revision,
        version=desired.version,
        base=base_of_folder(context.specs),
        texts=world.specs.texts(),
        actions=tuple(saved_action(action) for action in plan.actions),
        others=tuple(other_steps(plan)),
        hosts={
            host: view.message if isinstance(view, Unknown) else "" for host, view in snapshot.observed.hosts.items()
        },
    )


def origin_of(context: Context) -> Origin:
    """Where this command works."""
    return Origin(
        machine=socket.gethostname(),
        user=login_name() or f"uid-{os.getuid()}",
        state=os.path.realpath(context.state),
        specs=os.path.abspath(context.specs),  # where that is a link, other specs may be put in its place
    )


def specs_of(saved: SavedPlan) -> Desired:
    """What the specs asked for when the plan was made."""
    return load_texts(saved.texts, saved.base, saved.revision)


def load(context: Context, path: str) -> SavedPlan:
    """A plan that was made here. Raises `CliError`."""
    try:
        saved = read_plan(Path(path))
    except PlanUnreadable as error:
        raise CliError(f"{path} is not carried out: {error}", _NEW) from error
    if id_of_steps([*(action.step for action in saved.actions), *saved.others]) != saved.plan_id:
        raise CliError(f"{path} is not carried out: its actions are not those of plan {saved.plan_id}", _NEW)
    _check_origin(path, saved.origin, origin_of(context))
    return saved


def _check_origin(path: str, made: Origin, here: Origin) -> None:
    if made == here:
        return
    told = (
        ("machine", made.machine, here.machine, f"carry it out there, or make {_NEW}"),
        ("user", made.user, here.user, _NEW),
        ("state folder", made.state, here.state, f"exq --state {made.state} apply {path}"),
        ("specs folder", made.specs, here.specs, f"exq --specs {made.specs} apply {path}"),
    )
    what, then, now, hint = next(each for each in told if each[1] != each[2])
    raise CliError(f"{path} is not carried out: it was made for the {what} {then}, and this is {now}", hint)
