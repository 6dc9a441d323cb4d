"""When a failed attempt is tried again."""

from __future__ import annotations

import pytest

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.ledger import AttemptRecord
from reconciler.model.spec import RetryPolicy
from reconciler.planner.backoff import counted_attempts, jitter, retry_at
from tests.unit import factories as make
from tests.unit.factories import NOW

OOM_RETRY = RetryPolicy(delay_s=120.0, max_attempts=3)
NO_RETRY = RetryPolicy(delay_s=0.0, max_attempts=1)
PATH = "p/a/1"


def wait_s(reason: Reason, *earlier: Reason, failure: RetryPolicy = NO_RETRY) -> float | None:
    status = JobStatus.FAILED_OOM if reason is Reason.GPU_OUT_OF_MEMORY else JobStatus.FAILED_OTHER
    before = [make.over(n + 1, r) for n, r in enumerate(earlier)]
    at = retry_at(PATH, make.verdict(reason, status, at=NOW), before, OOM_RETRY, failure)
    return None if at is None else at - NOW


OOM, CODE, LOST, BOOTED, LOCK = (
    Reason.GPU_OUT_OF_MEMORY,
    Reason.CODE_ERROR,
    Reason.LAUNCH_LOST,
    Reason.HOST_REBOOTED,
    Reason.LOCK_HELD,
)


@pytest.mark.parametrize(
    ("reason", "earlier", "at_least_s"),
    [
        pytest.param(OOM, (), 120.0, id="first-oom"),
        pytest.param(OOM, (OOM,), 120.0, id="second-oom"),
        pytest.param(OOM, (OOM, OOM), None, id="third-oom-is-the-last"),
        pytest.param(OOM, (OOM, LOST, BOOTED), 120.0, id="infra-uses-up-no-try"),
        pytest.param(OOM, (OOM, CODE), 120.0, id="other-failures-count-apart"),
        pytest.param(CODE, (), None, id="code-error-not-retried-by-default"),
        pytest.param(BOOTED, (), 0.0, id="reboot-at-once"),
        pytest.param(LOST, (), 0.0, id="lost-launch-at-once"),
        pytest.param(LOST, (LOST,), 2.0, id="lost-twice"),
        pytest.param(LOST, (LOST,) * 4, 16.0, id="lost-five-times"),
        pytest.param(LOST, (LOST,) * 8, 256.0, id="lost-nine-times"),
        pytest.param(LOST, (LOST,) * 9, None, id="lost-ten-times-a-person-must-look"),
        pytest.param(LOST, (LOST, LOST, CODE), 0.0, id="in-a-row-only"),
        pytest.param(LOCK, (LOCK,) * 50, 15.0, id="a-held-lock-is-waited-for"),
        pytest.param(Reason.STOPPED_BY_USER, (), None, id="stopped"),
        pytest.param(Reason.ENVIRONMENT_BROKEN, (Reason.ENVIRONMENT_BROKEN,) * 50, 0.0, id="environment-due-at-once"),
    ],
)
def test_delay(reason: Reason, earlier: tuple[Reason, ...], at_least_s: float | None) -> None:
    waits = wait_s(reason, *earlier)
    if at_least_s is None:
        assert waits is None
    else:
        assert waits is not None
        assert at_least_s <= waits <= at_least_s * 1.1


def test_ends_through_no_fault_of_the_job_use_up_none_of_its_tries() -> None:
    twice = RetryPolicy(1.0, 2)
    assert wait_s(CODE, LOST, BOOTED, LOCK, failure=twice) is not None
    assert wait_s(CODE, LOST, CODE, failure=twice) is None


@pytest.mark.parametrize("reason", [Reason.STOPPED_BY_USER])
def test_final_reasons_are_final_under_any_policy(reason: Reason) -> None:
    assert wait_s(reason, failure=RetryPolicy(1.0, 100)) is None


@pytest.mark.parametrize(("max_attempts", "tries"), [(1, 1), (2, 2), (5, 5)])
def test_max_attempts_counts_the_first_try(max_attempts: int, tries: int) -> None:
    done = 1
    while wait_s(CODE, *[CODE] * (done - 1), failure=RetryPolicy(1.0, max_attempts)) is not None:
        done += 1
    assert done == tries


def test_jitter_is_the_same_every_time_and_differs_between_attempts() -> None:
    paths = [f"p/j{n}/1" for n in range(50)]
    values = [jitter(path, 100.0) for path in paths]
    assert values == [jitter(path, 100.0) for path in paths]
    assert len(set(values)) == 50
    assert min(values) >= 0.0
    assert max(values) <= 10.0


def numbers(attempts: tuple[AttemptRecord, ...]) -> list[int]:
    return [a.number for a in attempts]


def test_only_attempts_of_this_generation_after_the_last_retry_count() -> None:
    record = make.record(make.over(1), make.over(2, generation="g0"), make.over(3), make.over(4), retry_after=1)
    assert numbers(counted_attempts(record, "g1")) == [3, 4]
    assert numbers(counted_attempts(record, "g0")) == [2]
    assert counted_attempts(None, "g1") == ()
