"""One look at everything: what the views show and what the loop acts on."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.facts import Observed
from reconciler.model.ledger import Ledger, Request
from reconciler.model.plan import Plan
from reconciler.model.spec import Desired


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Desired, observed and intended state at one time (`now`, seconds since the epoch), and the plan made of them.

    `ledger` already includes `requests` that the loop has not carried out yet, as it will once it does."""

    now: float
    desired: Desired
    observed: Observed
    ledger: Ledger
    plan: Plan
    requests: tuple[Request, ...] = ()
