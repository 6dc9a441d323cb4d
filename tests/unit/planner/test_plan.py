"""The whole decision: order, milestones, wake-up times, and a world at rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import DiskFacts, Unknown
from reconciler.model.ledger import JobRecord, ProjectRun
from reconciler.model.plan import Plan, Settle
from reconciler.model.spec import Desired, Placement
from reconciler.planner.plan import plan
from tests.unit import factories as make
from tests.unit.factories import NOW


def looked(desired: Desired, *records: JobRecord, ledger: dict[str, Any] | None = None, **view: Any) -> Plan:
    whole = make.ledger(*records, **ledger or {})
    return plan(desired, make.observed(make.seen(desired, **view)), whole, NOW)


ABC = make.desired(make.project(make.job("a"), make.job("b"), make.job("c")))
RUN = {"p": ProjectRun("p", 1, NOW - 500, "/home/me/experiment_queue/x")}


def test_jobs_start_in_spec_order_as_far_as_there_are_slots() -> None:
    result = looked(ABC)
    assert make.launches(result) == ["p/a", "p/b"]
    assert [(s.job, s.reason) for s in result.holds] == [("p/c", Reason.NO_FREE_SLOT)]
    assert list(result.states) == ["p/a", "p/b", "p/c"]


def test_one_plan_frees_a_slot_and_fills_it() -> None:
    one, two = make.attempt(1, "p/a"), make.attempt(1, "p/b")
    result = looked(
        ABC,
        make.record(one),
        make.record(two),
        attempts={one.path: make.ended(0), two.path: make.running()},
        sessions=(make.session(one), make.session(two, 901)),
    )
    assert [(a.kind, a.job) for a in result.actions[:1]] == [(ActionKind.COMPLETE, "p/a")]
    assert make.launches(result) == ["p/c"]
    assert result.states["p/a"].status is JobStatus.COMPLETED


def test_what_ends_comes_before_what_starts() -> None:
    one = make.attempt(1, "p/a")
    result = looked(ABC, make.record(one), attempts={one.path: make.ended(1)}, sessions=(make.session(one),))
    assert [a.kind for a in result.actions] == [
        ActionKind.FAIL,
        ActionKind.KILL,
        ActionKind.LAUNCH,
        ActionKind.LAUNCH,
    ]


def test_the_same_arguments_give_the_same_plan() -> None:
    view, ledger = make.observed(make.seen(ABC)), make.ledger()
    assert plan(ABC, view, ledger, NOW) == plan(ABC, view, ledger, NOW)


def test_the_plan_id_says_what_is_done_not_when() -> None:
    first = looked(ABC).plan_id
    later = plan(ABC, make.observed(make.seen(ABC)), make.ledger(), NOW + 60).plan_id
    assert first == later
    assert looked(ABC, make.completed("p/a")).plan_id != first


def test_an_unknown_host_changes_nothing() -> None:
    live = make.attempt(1, "p/a")
    ledger = make.ledger(make.record(live), make.record(make.over(1, key="p/b", released=False, retry_at=NOW - 1)))
    result = plan(ABC, make.blind("no answer"), ledger, NOW)
    assert (result.actions, result.released, result.settled) == ((), (), False)
    assert {s.reason for s in result.states.values()} == {Reason.HOST_UNKNOWN}
    assert "no answer" in result.unknown[0]


def test_a_host_that_was_not_looked_at_is_unknown() -> None:
    desired = make.desired(make.project(make.job(), placements=(Placement("far"),)))
    result = looked(desired)
    assert result.states["p/a"].reason is Reason.HOST_UNKNOWN


class TestRest:
    done = (make.completed("p/a"), make.completed("p/b"))

    def test_all_completed(self) -> None:
        result = looked(ABC, *self.done, make.completed("p/c"))
        assert (result.actions, result.settled, result.wake_at) == ((), True, None)

    def test_stuck_counts_as_settled(self) -> None:
        assert looked(ABC, *self.done, make.record(make.over(1, key="p/c"))).settled

    def test_behind_stuck_counts_too(self) -> None:
        phases = (make.phase("one", [make.job("a")]), make.phase("two", [make.job("b")], "one"))
        desired = make.desired(make.project(phases=phases))
        assert looked(desired, make.record(make.over(1, key="p/a"))).settled

    @pytest.mark.parametrize(
        "record",
        [
            pytest.param(make.record(make.over(1, Reason.LAUNCH_LOST, "p/c", retry_at=NOW + 60)), id="retry-delay"),
            pytest.param(make.record(make.over(1, key="p/c", released=False)), id="not-let-go"),
        ],
    )
    def test_not_before(self, record: JobRecord) -> None:
        result = looked(ABC, *self.done, record, attempts={"p/c/1": make.ended(1, tree_alive=True)})
        assert not result.settled
        assert result.wake_at is not None

    def test_the_end_of_the_last_attempt_is_followed_by_a_last_look(self) -> None:
        last = make.attempt(1, "p/c")
        result = looked(ABC, *self.done, make.record(last), attempts={last.path: make.ended(0)})
        assert (result.settled, result.released) == (False, ("p/c/1",))
        assert result.wake_at is not None
        assert NOW < result.wake_at <= NOW + 0.1


class TestMilestones:
    def test_a_run_begins_with_its_first_launch(self) -> None:
        assert [(m.project, m.settled) for m in looked(ABC).milestones] == [("p", False)]
        assert looked(ABC, ledger={"runs": RUN}).milestones == ()

    def last(self, facts: Any, **changes: Any) -> Plan:
        rest = [make.completed("p/a"), make.completed("p/b")]
        record = make.record(make.attempt(1, "p/c"), **changes.pop("record", {}))
        return looked(ABC, *rest, record, ledger={"runs": RUN}, attempts={"p/c/1": facts}, **changes)

    def test_it_is_over_with_the_last_verdict(self) -> None:
        assert [(m.project, m.settled) for m in self.last(make.ended(0)).milestones] == [("p", True)]

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"record": {"retry_after": 1}}, id="a-retry-was-asked-for"),
            pytest.param({"sessions": (make.session(make.attempt(1, "p/c")),)}, id="screen-still-there"),
        ],
    )
    def test_not_while_more_is_to_come(self, changes: dict[str, Any]) -> None:
        assert self.last(make.ended(1), **changes).milestones == ()

    def test_not_when_the_command_was_edited_meanwhile(self) -> None:
        edited = make.desired(make.project(make.job("c", generation="g2")))
        record = make.record(make.attempt(1, "p/c"))
        result = looked(edited, record, ledger={"runs": RUN}, attempts={"p/c/1": make.ended(1)})
        assert (result.milestones, result.alerts) == ((), ())
        assert make.the_action(result).kind is ActionKind.REQUEUE

    def test_a_settled_run_is_not_settled_again(self) -> None:
        over = {"p": replace(RUN["p"], settled_at=NOW - 1)}
        records = [make.completed(f"p/{j}") for j in "abc"]
        assert looked(ABC, *records, ledger={"runs": over}).milestones == ()


class TestVerdicts:
    def settle(self, facts: Any, *earlier: Any, now: float = NOW, **project: Any) -> Settle:
        desired = make.desired(make.project(make.job(), **project))
        number = len(earlier) + 1
        attempts = (*earlier, make.attempt(number))
        view = make.seen(desired, attempts={f"p/a/{number}": facts})
        result = plan(desired, make.observed(view), make.ledger(make.record(*attempts)), now)
        (settle,) = make.settles(result)
        self.state = result.states["p/a"]
        self.alerts = result.alerts
        self.wake_at = result.wake_at
        return settle

    def test_completed(self) -> None:
        settle = self.settle(make.ended(0))
        assert (settle.kind, settle.exit_code, settle.pid, settle.started_at) == (
            ActionKind.COMPLETE,
            0,
            4242,
            NOW - 100,
        )
        assert (settle.ended_at, settle.retry_at, settle.revoke) == (NOW - 5, None, False)

    OOM = make.ended(1, log_tail="torch.OutOfMemoryError: CUDA out of memory.\n")

    def test_out_of_memory_is_queued_again_after_the_delay(self) -> None:
        settle = self.settle(self.OOM)
        assert settle.kind is ActionKind.REQUEUE
        assert settle.retry_at is not None
        assert NOW - 5 + 120 <= settle.retry_at <= NOW - 5 + 132
        assert (self.state.status, self.state.until) == (JobStatus.FAILED_OOM, settle.retry_at)
        assert (self.alerts, self.wake_at) == ((), settle.retry_at)

    def test_until_its_tries_are_used_up(self) -> None:
        settle = self.settle(self.OOM, *[make.over(n, Reason.GPU_OUT_OF_MEMORY, retry_at=NOW) for n in (1, 2)])
        assert (settle.kind, settle.retry_at) == (ActionKind.FAIL, None)
        assert self.state.status is JobStatus.STUCK
        assert self.alerts[0].startswith("p/a is stuck: GPU out of memory")

    def test_a_lost_launch_is_revoked_and_looked_at_again_without_spinning(self) -> None:
        settle = self.settle(replace(make.vanished(started=None), claimed=False, exists=True))
        assert (settle.kind, settle.reason, settle.revoke) == (ActionKind.REQUEUE, Reason.LAUNCH_LOST, True)
        assert self.state.status is JobStatus.PENDING

    def test_a_revocation_that_does_not_succeed_does_not_spin(self) -> None:
        tries = [make.over(n, Reason.LAUNCH_LOST, retry_at=NOW) for n in range(1, 10)]
        self.settle(replace(make.vanished(started=None), claimed=False), *tries)
        assert self.wake_at == NOW + 1.0

    def test_a_reboot_is_no_failure_of_the_job(self) -> None:
        settle = self.settle(make.vanished(started=make.started(boot="boot-0")))
        assert (settle.kind, settle.reason) == (ActionKind.REQUEUE, Reason.HOST_REBOOTED)
        assert self.state.status is JobStatus.PENDING


class TestOrphans:
    desired = make.desired(make.project(make.job("b")))
    orphan = make.attempt(1, "p/gone")

    def test_a_running_one_is_left_alone_and_listed_last(self) -> None:
        result = looked(self.desired, make.record(self.orphan), attempts={self.orphan.path: make.running()})
        assert make.launches(result) == ["p/b"]
        assert list(result.states) == ["p/b", "p/gone"]
        state = result.states["p/gone"]
        assert (state.status, state.reason) == (JobStatus.RUNNING, Reason.ORPHAN)

    def test_it_counts_against_its_project(self) -> None:
        desired = make.desired(make.project(make.job("b"), max_parallel=1))
        result = looked(desired, make.record(self.orphan), attempts={self.orphan.path: make.running()})
        assert result.states["p/b"].reason is Reason.NO_FREE_SLOT

    def test_its_end_is_recorded_without_alarm(self) -> None:
        result = looked(self.desired, make.record(self.orphan), attempts={self.orphan.path: make.ended(1)})
        (settle,) = make.settles(result)
        assert (settle.kind, settle.retry_at, result.alerts) == (ActionKind.FAIL, None, ())

    def test_back_in_the_specs_it_is_an_ordinary_running_job(self) -> None:
        desired = make.desired(make.project(make.job("gone")))
        result = looked(desired, make.record(self.orphan), attempts={self.orphan.path: make.running()})
        assert result.actions == ()
        assert result.states["p/gone"].reason is Reason.SCREEN_GONE

    def test_the_analysis_of_a_project_is_none(self) -> None:
        analysis = make.attempt(1, "p/@analyze", session=None)
        result = looked(self.desired, make.record(analysis), attempts={analysis.path: make.running()})
        assert list(result.states) == ["p/b"]
        assert not result.settled


class TestStrays:
    def stray(self, path: str, *records: JobRecord, **view: Any) -> Plan:
        return looked(ABC, *records, strays=(path,), **view)

    def test_a_live_attempt_of_ours_is_adopted_and_never_doubled(self) -> None:
        result = self.stray("p/a/3")
        (adopt,) = [a for a in result.actions if a.kind is ActionKind.ADOPT]
        assert (adopt.job, adopt.attempt, adopt.reason) == ("p/a", 3, Reason.ADOPTED)
        assert result.states["p/a"].status is JobStatus.RUNNING

    def test_nothing_starts_beside_it_before_it_is_known_what_it_uses(self) -> None:
        result = self.stray("p/a/3")
        assert make.launches(result) == []
        assert result.states["p/b"].reason is Reason.ATTEMPT_UNKNOWN
        assert result.wake_at == NOW

    def test_one_in_the_ledger_is_no_stray(self) -> None:
        live = make.attempt(1, "p/a")
        result = self.stray("p/a/1", make.record(live), attempts={live.path: make.running()})
        assert all(a.kind is not ActionKind.ADOPT for a in result.actions)

    def test_processes_that_outlive_a_released_attempt_do_not_reopen_its_job(self) -> None:
        done = make.over(1, key="p/a")
        result = self.stray("p/a/1", replace(make.completed("p/a"), attempts=(done,)))
        assert result.actions[0].reason is Reason.STRAGGLERS
        assert result.states["p/a"].status is JobStatus.COMPLETED

    def test_nor_may_their_job_start_again_beside_them(self) -> None:
        result = self.stray("p/a/1", make.record(make.over(1, key="p/a", retry_at=NOW - 1)))
        assert make.launches(result) == []

    @pytest.mark.parametrize("path", ["", "p", "p/a", "p/a/x", "a/b/c/1", "p/a/0", "p/a/-1"])
    def test_a_marker_that_names_no_attempt_is_left_alone(self, path: str) -> None:
        result = self.stray(path)
        assert make.launches(result) == ["p/a", "p/b"]
        assert "left alone" in result.unknown[0]


def test_drift_of_a_running_job_is_reported_and_not_acted_on() -> None:
    live = make.attempt(1, "p/a", generation="g0")
    result = looked(ABC, make.record(live), attempts={live.path: make.running()})
    assert result.states["p/a"].drift
    assert "its command changed" in result.states["p/a"].message
    assert make.kills(result) == []


def test_a_retry_that_is_asked_while_another_attempt_is_unseen_starts_nothing() -> None:
    live = make.attempt(1, "p/a")
    result = looked(ABC, make.record(live, retry_after=1), attempts={live.path: Unknown("EIO")})
    assert "p/a" not in make.launches(result)
    assert result.states["p/a"].reason is Reason.ATTEMPT_UNKNOWN


def test_a_full_disk_is_one_alert() -> None:
    result = looked(ABC, disk=DiskFacts(0))
    assert result.alerts == ("disk full: jobs are held until there is room",)
    assert result.wake_at == NOW + 5.0


def test_every_state_says_why() -> None:
    assert all(state.message for state in looked(ABC).states.values())
