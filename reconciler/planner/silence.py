"""What becomes of the jobs of a host that does not answer, in words."""

from __future__ import annotations

from reconciler.model.ledger import Ledger


def left_words(ledger: Ledger, host: str) -> str:
    """Jobs that may run there are left alone; where none may, or the host was given up, none is waited for."""
    if any(attempt.host == host for attempt in ledger.open_attempts.values()):
        return "its jobs are left as they are"
    return "nothing is started there until it answers"
