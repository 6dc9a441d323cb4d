"""The name of a plan: what it does, whoever makes it and whenever."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from reconciler.model.plan import Action, Kill, Launch, Milestone, Plan, Settle, Transfer
from reconciler.model.saved import Step

ID_DIGITS = 12

BRING, BEGIN_RUN, END_RUN, PIN = "bring", "begin_run", "end_run", "pin"
"""What the steps that are no actions begin with."""


def plan_id(plan: Plan) -> str:
    """The same for the same things to do, in whatever order they are listed.

    It covers what tells one step from another, what a job runs (its generation) included. Messages and times are left
    out: they change while what is done stays the same."""
    return id_of_steps([*map(step_of, plan.actions), *other_steps(plan)])


def id_of_steps(steps: Iterable[Step]) -> str:
    """The name of the plan that does these."""
    text = "\n".join(sorted("\0".join(step) for step in steps))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_DIGITS]


def step_of(action: Action) -> Step:
    """What makes it this action and no other: kind, attempt, reason, host, GPUs, and what is particular to its kind."""
    gpus = ",".join(action.gpus)
    return (str(action.kind), action.path, str(action.reason), action.host, gpus, *_particulars(action))


def other_steps(plan: Plan) -> list[Step]:
    """What a plan does besides its actions, as far as anybody would want to know it beforehand."""
    pins = [(PIN, job, pin) for job, pin in plan.pins.items()]
    return [*map(_transfer, plan.transfers), *map(_milestone, plan.milestones), *pins]


def _particulars(action: Action) -> Step:
    if isinstance(action, Launch):
        assert action.record is not None
        return action.record.generation, action.record.launcher, action.record.session or "", action.record.pin
    if isinstance(action, Settle):
        return action.generation, "revoke" if action.revoke else ""
    if isinstance(action, Kill):
        return "force" if action.force else "", ",".join(action.sessions)
    return ()


def _transfer(transfer: Transfer) -> Step:
    where = (transfer.source, transfer.place, transfer.cwd, transfer.folder)
    return BRING, f"{transfer.job}/{transfer.attempt}", *where, *transfer.patterns


def _milestone(milestone: Milestone) -> Step:
    return END_RUN if milestone.settled else BEGIN_RUN, milestone.project
