"""What has moved since a plan was saved: its specs, and the actions that the same specs and the facts of now give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.model.comparison import Comparison
from reconciler.model.facts import Unknown
from reconciler.model.plan import Action, Launch
from reconciler.model.saved import SavedAction, SavedPlan, Step
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired, SpecError
from reconciler.planner.compare import compare
from reconciler.planner.plan_id import other_steps, step_of


@dataclass(frozen=True, slots=True)
class ActionMove:
    """One action that is not the same: `now` None: it is gone, `then` None: it is new."""

    then: SavedAction | None
    now: SavedAction | None

    @property
    def job(self) -> str:
        """The job it is about."""
        return (self.then or self.now).job  # type: ignore[union-attr]


@dataclass(frozen=True, slots=True)
class Moved:
    """All that has moved; false when nothing has, and the plan is still the plan.

    `fallen_silent` and `answering`: hosts of which the one or the other is new. They explain the rest, and alone are
    nothing that matters."""

    specs: Comparison
    broken: tuple[SpecError, ...] = ()
    """Mistakes in the specs of now; a plan is not saved when there are any."""
    unsettled: tuple[str, ...] = ()
    """Spec files that are being written just now."""
    actions: tuple[ActionMove, ...] = ()
    gone: tuple[Step, ...] = ()
    new: tuple[Step, ...] = ()
    """Steps other than actions."""
    fallen_silent: tuple[str, ...] = ()
    answering: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.specs.projects or self.broken or self.unsettled or self.actions or self.gone or self.new)


def moved_since(saved: SavedPlan, was: Desired, now: Snapshot) -> Moved:
    """Compare a saved plan, made of the specs `was`, with a look at everything.

    Time alone moves nothing: a plan that would be made again just so is as good as new. A change of the specs counts
    though the actions stay the same, unless it is one of comments or places only."""
    plan = now.plan
    others = other_steps(plan)
    before, after = frozenset(saved.others), frozenset(others)
    known = now.observed.hosts
    return Moved(
        specs=compare(was, now.desired),
        broken=tuple(error for error in now.desired.errors if not error.warning),
        unsettled=tuple(file.path for file in now.desired.files if file.unsettled),
        actions=tuple(_action_moves(saved.actions, [saved_action(action) for action in plan.actions])),
        gone=tuple(step for step in saved.others if step not in after),
        new=tuple(step for step in others if step not in before),
        fallen_silent=tuple(h for h, why in saved.hosts.items() if not why and isinstance(known.get(h), Unknown)),
        answering=tuple(
            h for h, why in saved.hosts.items() if why and h in known and not isinstance(known[h], Unknown)
        ),
    )


def saved_action(action: Action) -> SavedAction:
    """An action as it is saved."""
    record = action.record if isinstance(action, Launch) else None
    return SavedAction(
        kind=str(action.kind),
        job=action.job,
        attempt=action.attempt,
        reason=str(action.reason),
        message=action.message,
        host=action.host,
        step=step_of(action),
        gpus=action.gpus,
        gpu_indices=action.gpu_indices,
        generation=record.generation if record is not None else "",
    )


def _action_moves(then: Iterable[SavedAction], now: Iterable[SavedAction]) -> list[ActionMove]:
    """Pair what is left of both when all that is the same is taken away: first by kind and job."""
    old, new = {action.step: action for action in then}, {action.step: action for action in now}
    gone = [action for step, action in old.items() if step not in new]
    fresh = [action for step, action in new.items() if step not in old]
    twins: dict[tuple[str, str], list[SavedAction]] = {}
    for action in reversed(fresh):
        twins.setdefault((action.kind, action.job), []).append(action)
    moves: list[ActionMove] = []
    for action in gone:
        alike = twins.get((action.kind, action.job))
        moves.append(ActionMove(action, alike.pop() if alike else None))
    paired = {move.now.step for move in moves if move.now is not None}
    return moves + [ActionMove(None, action) for action in fresh if action.step not in paired]
