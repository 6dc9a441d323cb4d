"""How a user's request changes the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.model.enums import JobStatus, Reason, RequestKind
from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger, Request, Verdict


@dataclass(frozen=True, slots=True)
class Effect:
    """What requests change: job records, and what is paused or resumed."""

    jobs: dict[str, JobRecord] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()


def apply_requests(ledger: Ledger, requests: Sequence[Request]) -> Effect:
    """Carry requests out in their order. `Effect.paused` is the whole set afterwards.

    Retry and stop are about jobs; what is completed stays so."""
    jobs: dict[str, JobRecord] = {}
    paused = set(ledger.paused)
    for request in requests:
        record = jobs.get(request.target) or ledger.jobs.get(request.target) or JobRecord(request.target)
        is_open = "/" in request.target and record.completed is None
        if request.kind is RequestKind.PAUSE:
            paused.add(request.target)
        elif request.kind is RequestKind.RESUME:
            paused.discard(request.target)
        elif request.kind is RequestKind.FORGET_HOST:
            jobs.update(_without_host({**ledger.jobs, **jobs}, request))
        elif request.kind is RequestKind.STOP and is_open:
            jobs[request.target] = replace(record, stopped_by=request.by)
        elif request.kind is RequestKind.RETRY and is_open:
            jobs[request.target] = _retried(record, request.at)
    return Effect(jobs, frozenset(paused))


def _without_host(jobs: Mapping[str, JobRecord], request: Request) -> dict[str, JobRecord]:
    """Give up what may run on a host that does not answer: its jobs are due again elsewhere."""
    changed: dict[str, JobRecord] = {}
    for key, record in jobs.items():
        attempts = tuple(_given_up(a, request) if a.host == request.target else a for a in record.attempts)
        if attempts != record.attempts:
            changed[key] = replace(record, attempts=attempts)
    return changed


def _given_up(attempt: AttemptRecord, request: Request) -> AttemptRecord:
    if attempt.verdict is not None:
        return replace(attempt, released=True)
    message = f"{request.target} did not answer, and {request.by} gave it up"
    verdict = Verdict(JobStatus.FAILED_OTHER, Reason.HOST_FORGOTTEN, message, request.at)
    return replace(attempt, verdict=verdict, ended_at=request.at, retry_at=request.at, released=True)


def _retried(record: JobRecord, asked_at: float) -> JobRecord:
    """Forget what was tried by then, also an attempt whose end the ledger has not been told yet."""
    tried = [a.number for a in record.attempts if a.verdict is not None or a.kill_at is not None]
    tried += [a.number for a in record.attempts if a.intended_at <= asked_at]
    return replace(record, stopped_by=None, retry_after=max([record.retry_after, *tried]))


def with_requests(ledger: Ledger, requests: Sequence[Request]) -> Ledger:
    """The ledger as it will be once the loop has carried the requests out."""
    if not requests:
        return ledger
    effect = apply_requests(ledger, requests)
    jobs = {**ledger.jobs, **effect.jobs}
    still = dict(ledger.open_attempts)
    for record in effect.jobs.values():
        still.update((a.path, a) for a in record.attempts if a.path in still)
    still = {path: attempt for path, attempt in still.items() if attempt.verdict is None or not attempt.released}
    return replace(ledger, jobs=jobs, paused=effect.paused, open_attempts=still)
