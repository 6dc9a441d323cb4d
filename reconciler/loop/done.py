"""What a tick did."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.plan import Action


@dataclass(frozen=True, slots=True)
class Done:
    """One action and what came of it."""

    action: Action
    ok: bool
    message: str = ""
    again: bool = False
    """It brought up something new: look at everything at once."""
