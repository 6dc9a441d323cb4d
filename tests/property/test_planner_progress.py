"""A plan that asks to be looked at again at once gets further with that look, however long the queue is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import Reason
from reconciler.model.ledger import Ledger
from reconciler.model.plan import Launch, Plan
from reconciler.model.spec import Desired, GpuPool, Job, Project
from tests.property.mini_world import MiniHost, MiniLoop
from tests.unit import factories as make

QUEUE = 2_000
"""More than all windows of `needs` together."""


def loop_of(*jobs: Job, gpus: int, ledger: Ledger | None = None, **project: Any) -> MiniLoop:
    spec: Project = make.project(*jobs, **{"gpu_pool": GpuPool(None), "max_parallel": None, **project})
    desired: Desired = make.desired(spec)
    return MiniLoop(MiniHost(gpu_count=gpus), desired, lambda *_: None, ledger or make.ledger())


def launched_at_once(loop: MiniLoop, looks: int) -> list[str]:
    """What is launched without time passing: one full look, then those that the plan asks for."""
    found: list[str] = []
    for look in range(looks):
        result: Plan = loop.tick(full=look == 0)
        found += [a.job for a in result.actions if isinstance(a, Launch)]
        if result.wake_at is None or result.wake_at > loop.host.now:
            return found
    raise AssertionError(f"still asked to look again after {looks} looks: {loop.wanted}")


def queue(count: int, name: str = "j", **changes: Any) -> list[Job]:
    return [make.job(f"{name}{n:04}", **{"outputs": (f"{name}{n}.json",), "gpus": 1, **changes}) for n in range(count)]


def warm(loop: MiniLoop) -> None:
    """One look while nothing can start, so that later ones ask for a part only."""
    loop.host.foreign = set(range(loop.host.gpu_count))
    loop.tick()
    loop.host.foreign.clear()


def test_jobs_that_do_not_fit_do_not_hide_those_behind_them() -> None:
    loop = loop_of(*queue(QUEUE, "big", gpus=2), *queue(2, "small"), gpus=2)
    warm(loop)
    loop.host.foreign = {1}
    assert launched_at_once(loop, looks=3) == ["p/small0000"]


@pytest.mark.parametrize("number", [QUEUE - 1, QUEUE // 2])
def test_paused_jobs_do_not_hide_those_behind_them(number: int) -> None:
    jobs = queue(QUEUE)
    paused = frozenset(job.key for n, job in enumerate(jobs) if n != number)
    loop = loop_of(*jobs, gpus=2, ledger=make.ledger(paused=paused))
    warm(loop)
    assert launched_at_once(loop, looks=3) == [jobs[number].key]


def test_jobs_that_wait_for_a_retry_do_not_hide_those_behind_them() -> None:
    jobs = queue(QUEUE)
    loop = loop_of(*jobs, gpus=2)
    at = loop.host.now + 60
    failed = [make.record(make.over(1, Reason.LAUNCH_LOST, job.key, retry_at=at)) for job in jobs[:-1]]
    loop.ledger = make.ledger(*failed)
    warm(loop)
    assert launched_at_once(loop, looks=3) == [jobs[-1].key]


def test_a_phase_that_opens_is_looked_at_and_started_at_once() -> None:
    students = [replace(job, preconditions=(make.needs_file("p/t"),)) for job in queue(QUEUE)]
    phases = (
        make.phase("one", [make.job("t", outputs=("t.json",), gpus=1)]),
        make.phase("two", students, "one"),
    )
    loop = loop_of(gpus=2, phases=phases)
    assert launched_at_once(loop, looks=3) == ["p/t"]
    (teacher,) = loop.host.live()
    loop.host.write_output(teacher)
    loop.host.exit(teacher, 0)
    assert launched_at_once(loop, looks=3) == ["p/j0000", "p/j0001"]


def test_a_full_host_is_not_asked_about_those_that_could_not_start() -> None:
    loop = loop_of(*queue(QUEUE), gpus=2)
    assert launched_at_once(loop, looks=3) == ["p/j0000", "p/j0001"]
    assert loop.wanted == ()
    assert launched_at_once(loop, looks=1) == []
