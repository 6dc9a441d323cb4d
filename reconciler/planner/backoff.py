"""Whether a failed attempt is tried again, and when."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.ledger import AttemptRecord, JobRecord, Verdict
from reconciler.model.spec import RetryPolicy
from reconciler.planner.limits import INFRA_DELAY_MAX_S, INFRA_RETRY_MAX, LOCK_RETRY_S, RETRY_JITTER

INFRA_REASONS = frozenset(
    {Reason.HOST_REBOOTED, Reason.HOST_FORGOTTEN, Reason.LAUNCH_LOST, Reason.LOCK_HELD, Reason.ENVIRONMENT_BROKEN}
)
"""Ends that say nothing about the job: they use up none of its attempts."""

FINAL_REASONS = frozenset({Reason.STOPPED_BY_USER})
"""Ends that the same job would meet again: only a person can change that."""


def counted_attempts(record: JobRecord | None, generation: str) -> tuple[AttemptRecord, ...]:
    """The attempts that still count: of this generation, after the last retry a user asked for.

    Where an attempt's intent cannot be read, nothing says that it was of another one."""
    if record is None:
        return ()
    after, alike = record.retry_after, (generation, "")
    return tuple([a for a in record.attempts if a.number > after and a.generation in alike])


def jitter(path: str, delay_s: float) -> float:
    """A fixed share of the delay for each attempt, in seconds: spread without randomness."""
    fraction = int.from_bytes(sha256(path.encode()).digest()[:4], "big") / 0xFFFFFFFF
    return delay_s * RETRY_JITTER * fraction


def retry_at(
    path: str,
    verdict: Verdict,
    earlier: Iterable[AttemptRecord],
    oom_retry: RetryPolicy,
    failure_retry: RetryPolicy,
) -> float | None:
    """When the job may run again after attempt `path` ended in `verdict`; None when its tries are used up.

    `earlier` are the counted attempts before this one."""
    if verdict.reason in FINAL_REASONS:
        return None
    before = [a.verdict for a in earlier if a.verdict is not None]
    if verdict.reason in INFRA_REASONS:
        return _infra_retry_at(path, verdict, before)
    policy = oom_retry if verdict.status is JobStatus.FAILED_OOM else failure_retry
    tries = 1 + sum(v.status is verdict.status and v.reason not in INFRA_REASONS for v in before)
    if tries >= policy.max_attempts:
        return None
    return verdict.at + policy.delay_s + jitter(path, policy.delay_s)


def _infra_retry_at(path: str, verdict: Verdict, before: list[Verdict]) -> float | None:
    if verdict.reason is Reason.LOCK_HELD:
        return verdict.at + LOCK_RETRY_S + jitter(path, LOCK_RETRY_S)
    if verdict.reason is Reason.ENVIRONMENT_BROKEN:
        return verdict.at  # on this host `environments` holds it back, on another one it may work
    in_a_row = 0
    for earlier in reversed(before):
        if earlier.reason is not verdict.reason:
            break
        in_a_row += 1
    if in_a_row + 1 >= INFRA_RETRY_MAX:
        return None
    delay_s = 0.0 if in_a_row == 0 else min(INFRA_DELAY_MAX_S, 2.0**in_a_row)
    return verdict.at + delay_s + jitter(path, delay_s)
