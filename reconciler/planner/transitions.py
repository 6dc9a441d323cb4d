"""How a job's record changes: pure updates that the ledger stores."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.ledger import AttemptRecord, Copy, JobRecord
from reconciler.model.plan import Settle


def with_attempt(record: JobRecord | None, attempt: AttemptRecord) -> JobRecord:
    """Add a new attempt, or replace the one with its number."""
    if record is None:
        return JobRecord(attempt.job, (attempt,))
    kept = tuple(a for a in record.attempts if a.number != attempt.number)
    return replace(record, attempts=tuple(sorted((*kept, attempt), key=lambda a: a.number)))


def _update(record: JobRecord, number: int, **changes: object) -> JobRecord:
    attempts = tuple(replace(a, **changes) if a.number == number else a for a in record.attempts)  # type: ignore[arg-type]
    return replace(record, attempts=attempts)


def mark_launched(record: JobRecord, number: int, launcher: str, session: str | None) -> JobRecord:
    """The launch was carried out, by this launcher."""
    return _update(record, number, launched=True, launcher=launcher, session=session)


def mark_kill_intended(record: JobRecord, number: int, now: float, reason: Reason) -> JobRecord:
    """The attempt is about to be asked to end; the first reason stays. A loop that ends here asks again at once."""
    current = next(a for a in record.attempts if a.number == number)
    first_at = now if current.kill_at is None else current.kill_at
    return _update(record, number, kill_at=first_at, kill_reason=current.kill_reason or reason)


def mark_kill(record: JobRecord, number: int, now: float, reason: Reason) -> JobRecord:
    """The attempt was asked to end."""
    return _update(mark_kill_intended(record, number, now, reason), number, kill_last_at=now)


def mark_released(record: JobRecord, number: int) -> JobRecord:
    """Nothing of the attempt is left: its slot and its GPUs are free."""
    return _update(record, number, released=True)


def mark_copied(record: JobRecord, copy: Copy) -> JobRecord:
    """Its files are whole in another place, too."""
    kept = tuple(old for old in record.copies if old.place != copy.place)
    return replace(record, copies=(*kept, copy))


def settle(record: JobRecord | None, action: Settle) -> JobRecord:
    """Record a verdict. Attempt 0 completes a job that needs no attempt."""
    assert action.verdict is not None
    base = record or JobRecord(action.job)
    if action.attempt:
        base = _update(
            base,
            action.attempt,
            verdict=action.verdict,
            retry_at=action.retry_at,
            started_at=action.started_at,
            ended_at=action.ended_at,
            exit_code=action.exit_code,
            pid=action.pid,
        )
    if action.verdict.status is JobStatus.COMPLETED:
        base = replace(base, completed=action.verdict, generation=action.generation, completed_on=action.host)
    return base
