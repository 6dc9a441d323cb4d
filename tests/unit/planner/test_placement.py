"""What is free for a project, and how it is said when nothing is."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from reconciler.model.enums import LauncherKind, Reason, Waves
from reconciler.model.facts import DiskFacts, Gpu, GpuProcess, Unknown
from reconciler.model.ledger import JobRecord
from reconciler.model.plan import Plan
from reconciler.model.spec import Job, Placement, Project
from reconciler.planner.placement import Room, Slots, is_free, pool_of
from reconciler.planner.plan import plan
from tests.unit import factories as make
from tests.unit.factories import NOW


def planned(project: Project, *records: JobRecord, **facts: Any) -> Plan:
    desired = make.desired(project)
    return plan(desired, make.observed(make.seen(desired, **facts)), make.ledger(*records), NOW)


def jobs(count: int, **changes: Any) -> list[Job]:
    return [make.job(f"j{n}", **changes) for n in range(count)]


def given(result: Plan) -> dict[str, tuple[int, ...]]:
    return {a.job: a.gpu_indices for a in result.actions}


@pytest.mark.parametrize(("used", "free"), [(0, True), (500, True), (501, False), (None, False)])
def test_threshold(used: int | None, free: bool) -> None:
    assert is_free(make.gpu(0, used), 500) is free


@pytest.mark.parametrize(
    ("ids", "indices"),
    [
        pytest.param(None, [0, 1, 2], id="all"),
        pytest.param(("2", "0"), [0, 2], id="indices"),
        pytest.param(("GPU-1",), [1], id="uuid"),
        pytest.param(("0", "GPU-0"), [0], id="both-names-of-one"),
        pytest.param(("7",), [], id="missing"),
    ],
)
def test_pool(ids: tuple[str, ...] | None, indices: list[int]) -> None:
    gpus = (make.gpu(2), make.gpu(0), make.gpu(1))
    assert [gpu.index for gpu in pool_of(make.gpu_project(ids=ids), Placement("local"), gpus)] == indices


def test_one_job_a_gpu_in_spec_order_by_index() -> None:
    result = planned(make.gpu_project(*jobs(3)), gpus=(make.gpu(1), make.gpu(0)))
    assert given(result) == {"p/j0": (0,), "p/j1": (1,)}
    assert result.states["p/j2"].reason is Reason.NO_FREE_GPU


def test_a_gpu_in_use_is_named_with_its_user() -> None:
    alice = GpuProcess(2797307, 14_850, user="alice")
    result = planned(make.gpu_project(*jobs(1)), gpus=(make.gpu(2, 14_850, alice),))
    state = result.states["p/j0"]
    assert state.reason is Reason.NO_FREE_GPU
    assert state.message == "0 of 1 GPUs free: GPU 2: 14,850 MiB used by pid 2797307 (alice)"
    assert result.wake_at == NOW + 15.0


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        pytest.param(make.gpu(0, 900), "900 MiB used (threshold 500 MiB), by no visible process", id="hidden"),
        pytest.param(make.gpu(0, None), "GPU 0 does not report its memory", id="no-figure"),
        pytest.param(make.gpu(0, 900, GpuProcess(7, None)), "900 MiB used by pid 7", id="user-hidden"),
    ],
)
def test_a_gpu_that_cannot_be_taken(gpu: Gpu, words: str) -> None:
    result = planned(make.gpu_project(*jobs(1)), gpus=(gpu,))
    assert make.launches(result) == []
    assert words in result.states["p/j0"].message


def test_a_running_attempt_keeps_its_gpu_before_its_memory_shows() -> None:
    live = make.attempt(1, "p/j0", gpus=("GPU-0",), gpu_indices=(0,))
    result = planned(
        make.gpu_project(*jobs(2)),
        make.record(live),
        gpus=(make.gpu(0, 0),),
        attempts={live.path: make.running()},
    )
    assert make.launches(result) == []
    assert result.states["p/j1"].message == "0 of 1 GPUs free: GPU 0 runs p/j0"


@pytest.mark.parametrize("view", ["unknown facts", "not looked at"])
def test_an_attempt_that_cannot_be_seen_keeps_its_gpu(view: str) -> None:
    live = make.attempt(1, "p/j0", gpus=("GPU-0",), gpu_indices=(0,))
    facts = {live.path: Unknown("EIO")} if view == "unknown facts" else {}
    result = planned(make.gpu_project(*jobs(2)), make.record(live), gpus=(make.gpu(0),), attempts=facts)
    assert make.launches(result) == []


def test_an_orphan_keeps_its_gpu() -> None:
    orphan = make.attempt(1, "gone/x", gpus=("GPU-0",), gpu_indices=(0,))
    result = planned(
        make.gpu_project(*jobs(1)),
        make.record(orphan),
        gpus=(make.gpu(0),),
        attempts={orphan.path: make.running()},
    )
    assert make.launches(result) == []
    assert "runs gone/x" in result.states["p/j0"].message


def test_two_projects_share_the_gpus_of_a_host() -> None:
    first = make.gpu_project(*jobs(1), name="p")
    second = make.gpu_project(make.job("k", project="q"), name="q")
    desired = make.desired(first, second)
    result = plan(desired, make.observed(make.seen(desired, gpus=(make.gpu(0),))), make.ledger(), NOW)
    assert make.launches(result) == ["p/j0"]
    assert result.states["q/k"].message == "0 of 1 GPUs free: GPU 0 just given out"


def test_max_parallel_is_the_reason_where_gpus_are_left() -> None:
    result = planned(make.gpu_project(*jobs(3), max_parallel=1), gpus=(make.gpu(0), make.gpu(1)))
    assert make.launches(result) == ["p/j0"]
    assert result.states["p/j1"].reason is Reason.NO_FREE_SLOT


def test_the_message_counts_what_this_plan_gives_out() -> None:
    result = planned(make.gpu_project(*jobs(3)), gpus=(make.gpu(0), make.gpu(1, 900), make.gpu(2)))
    assert given(result) == {"p/j0": (0,), "p/j1": (2,)}
    assert result.states["p/j2"].message.startswith("0 of 3 GPUs free: GPU 0 just given out, GPU 1: 900 MiB used")


class TestManyGpus:
    def test_all_or_nothing(self) -> None:
        result = planned(make.gpu_project(*jobs(2, gpus=2)), gpus=tuple(make.gpu(n) for n in range(3)))
        assert given(result) == {"p/j0": (0, 1)}
        assert result.states["p/j1"].reason is Reason.NO_FREE_GPU

    def test_one_that_does_not_fit_lets_smaller_ones_by(self) -> None:
        project = make.gpu_project(make.job("big", gpus=2), make.job("small", gpus=1))
        result = planned(project, gpus=(make.gpu(0), make.gpu(1, 900)))
        assert given(result) == {"p/small": (0,)}

    def test_more_than_there_are_can_never_be(self) -> None:
        result = planned(make.gpu_project(*jobs(1, gpus=4)), gpus=(make.gpu(0), make.gpu(1)))
        state = result.states["p/j0"]
        assert state.reason is Reason.NO_SUCH_GPU
        assert state.message == "it needs 4 GPUs, the project may use 2 here"


@pytest.mark.parametrize(
    ("ids", "gpus", "words"),
    [
        pytest.param(("4", "5"), (make.gpu(0), make.gpu(1)), "ask for GPU 4, 5, local has 0, 1", id="named"),
        pytest.param(("0",), (), "ask for GPU 0, local has none", id="no-gpu"),
        pytest.param(None, (), "local shows no GPU", id="any"),
    ],
)
def test_no_such_gpu(ids: tuple[str, ...] | None, gpus: tuple[Gpu, ...], words: str) -> None:
    result = planned(make.gpu_project(*jobs(1), ids=ids), gpus=gpus)
    assert result.states["p/j0"].reason is Reason.NO_SUCH_GPU
    assert words in result.states["p/j0"].message


def test_a_missing_gpu_among_others_is_an_alert() -> None:
    result = planned(make.gpu_project(*jobs(1), ids=("0", "7")), gpus=(make.gpu(0),))
    assert make.launches(result) == ["p/j0"]
    assert result.alerts == ("p: the specs ask for GPU 0, 7, local has 0",)


@pytest.mark.parametrize(("done", "alerts"), [(False, 1), (True, 0)])
def test_it_is_one_as_long_as_jobs_are_to_come(done: bool, alerts: int) -> None:
    live = make.attempt(1, "p/j0", gpus=("GPU-0",), gpu_indices=(0,))
    record = make.completed("p/j0") if done else make.record(live)
    facts = {} if done else {live.path: make.running()}
    result = planned(make.gpu_project(*jobs(1), ids=("0", "7")), record, gpus=(make.gpu(0),), attempts=facts)
    assert len(result.alerts) == alerts


def test_a_state_folder_that_cannot_be_used_is_said_in_the_words_of_the_host() -> None:
    disk = DiskFacts(0, writable=False, message="/proc/exq cannot be created in /proc")
    result = planned(make.project(*jobs(1)), disk=disk)
    assert result.states["p/j0"].message == disk.message
    assert result.alerts == (f"jobs are held: {disk.message}",)


@pytest.mark.parametrize(
    ("changes", "facts", "reason"),
    [
        pytest.param({}, {"gpus": Unknown("nvidia-smi timed out")}, Reason.GPU_UNKNOWN, id="gpus-unknown"),
        pytest.param({}, {"sessions": Unknown("wrong SCREENDIR")}, Reason.SCREEN_UNKNOWN, id="screens-unknown"),
        pytest.param(
            {"launcher": LauncherKind.SCREEN}, {"screen_installed": False}, Reason.SCREEN_UNKNOWN, id="screen-missing"
        ),
        pytest.param({}, {"disk": DiskFacts(3)}, Reason.DISK_FULL, id="disk-full"),
        pytest.param({}, {"disk": DiskFacts(900, writable=False, message="EROFS")}, Reason.DISK_FULL, id="read-only"),
        pytest.param({}, {"disk": Unknown("EIO")}, Reason.DISK_FULL, id="disk-unknown"),
    ],
)
def test_a_closed_host_launches_nothing_and_says_why(changes, facts, reason) -> None:
    result = planned(make.gpu_project(*jobs(2), **changes), **{"gpus": (make.gpu(0),), **facts})
    assert result.actions == ()
    assert {s.reason for s in result.states.values()} == {reason}
    assert result.unknown or reason is Reason.DISK_FULL


def test_a_disk_that_cannot_be_looked_at_is_named_as_unknown() -> None:
    assert "EIO" in planned(make.project(*jobs(1)), disk=Unknown("EIO")).unknown[0]


def test_the_process_launcher_needs_no_screen() -> None:
    project = make.project(*jobs(1), launcher=LauncherKind.PROCESS)
    assert make.launches(planned(project, sessions=Unknown("wrong SCREENDIR"))) == ["p/j0"]


def test_no_gpu_is_needed_where_none_is_asked_for() -> None:
    assert make.launches(planned(make.project(*jobs(1)), gpus=Unknown("no driver"))) == ["p/j0"]


class TestAfterAFailure:
    def due_again(self, reason: Reason) -> JobRecord:
        return make.record(make.over(1, reason, "p/j0", gpus=("GPU-1",), gpu_indices=(1,), retry_at=NOW - 1))

    def test_the_old_gpu_if_it_is_free(self) -> None:
        gpus = (make.gpu(0), make.gpu(1))
        result = planned(make.gpu_project(*jobs(1)), self.due_again(Reason.GPU_OUT_OF_MEMORY), gpus=gpus)
        assert given(result) == {"p/j0": (1,)}

    def test_else_another(self) -> None:
        gpus = (make.gpu(0), make.gpu(1, 60_000))
        result = planned(make.gpu_project(*jobs(1)), self.due_again(Reason.GPU_OUT_OF_MEMORY), gpus=gpus)
        assert given(result) == {"p/j0": (0,)}

    def test_rather_another_after_a_held_lock(self) -> None:
        gpus = (make.gpu(1), make.gpu(2))
        result = planned(make.gpu_project(*jobs(1)), self.due_again(Reason.LOCK_HELD), gpus=gpus)
        assert given(result) == {"p/j0": (2,)}


class TestBarrier:
    project = make.gpu_project(*jobs(4), waves=Waves.BARRIER)

    def wave(self, **changes: Any) -> list[JobRecord]:
        return [
            make.record(
                make.over(1, key=f"p/j{n}", gpus=(f"GPU-{n}",), gpu_indices=(n,), intended_at=NOW - 90, **changes)
            )
            for n in range(2)
        ]

    def test_one_still_there_holds_the_next_wave(self) -> None:
        first = make.attempt(1, "p/j0", gpus=("GPU-0",), gpu_indices=(0,))
        gpus = (make.gpu(0), make.gpu(1))
        result = planned(self.project, make.record(first), gpus=gpus, attempts={first.path: make.running()})
        assert make.launches(result) == []
        assert result.states["p/j1"].reason is Reason.WAVE_NOT_SETTLED

    def test_a_stale_screen_holds_it_too(self) -> None:
        first = make.over(1, key="p/j0", released=False)
        result = planned(
            self.project,
            make.record(first),
            gpus=(make.gpu(0), make.gpu(1)),
            attempts={first.path: make.ended()},
            sessions=(make.session(first),),
        )
        assert result.states["p/j1"].reason is Reason.WAVE_NOT_SETTLED
        assert [k.reason for k in make.kills(result)] == [Reason.STALE_SCREEN]

    def test_unreleased_memory_holds_it(self) -> None:
        result = planned(self.project, *self.wave(), gpus=(make.gpu(0), make.gpu(1, 900)))
        assert make.launches(result) == []
        assert "GPU 1: 900 MiB" in result.states["p/j2"].message

    def test_memory_of_someone_else_does_not(self) -> None:
        foreign = make.gpu(1, 900, GpuProcess(5, 900, user="alice"))
        result = planned(self.project, *self.wave(), gpus=(make.gpu(0), foreign))
        assert given(result) == {"p/j2": (0,)}

    def test_a_settled_wave_opens_the_next(self) -> None:
        result = planned(self.project, *self.wave(), gpus=(make.gpu(0), make.gpu(1)))
        assert given(result) == {"p/j2": (0,), "p/j3": (1,)}


def test_room_is_used_up() -> None:
    room = Room("h", Slots(2), Slots(inf), usable_gpus=(make.gpu(0),), gpu_count=1)
    one = make.job(gpus=1)
    assert room.refusal(one) is None
    assert [g.index for g in room.take(one)] == [0]
    refusal = room.refusal(one)
    assert refusal is not None
    assert refusal.reason is Reason.NO_FREE_GPU
    assert room.refusal(make.job(gpus=0)) is None
