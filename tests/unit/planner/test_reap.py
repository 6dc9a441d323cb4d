"""What is ended, when, and above all what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import AttemptFacts, GpuProcess, HostView, OutputFacts, SessionState, Unknown
from reconciler.model.ledger import AttemptRecord, JobRecord
from reconciler.model.plan import Plan
from reconciler.model.spec import Desired
from reconciler.planner.plan import plan
from tests.unit import factories as make
from tests.unit.factories import NOW

OOM = "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.\n"
LIVE = make.attempt(gpus=("GPU-0",), gpu_indices=(0,))
SILENT = NOW - 301.0
HUNG = make.running(log_at=SILENT)
DONE = make.outputs("new", newest_at=SILENT)


def spec(**job: Any) -> Desired:
    return make.desired(make.gpu_project(make.job(**{"outputs": ("out.json",), **job})))


def looked(
    facts: AttemptFacts | Unknown,
    outputs: OutputFacts | Unknown = DONE,
    *,
    attempt: AttemptRecord = LIVE,
    record: dict[str, Any] | None = None,
    desired: Desired | None = None,
    now: float = NOW,
    **view: Any,
) -> Plan:
    desired = desired or spec()
    host: HostView = make.seen(
        desired, **{"gpus": (make.gpu(0),), "attempts": {attempt.path: facts}, "outputs": {"p/a": outputs}, **view}
    )
    ledger = make.ledger(make.record(attempt, **record or {}))
    return plan(desired, make.observed(host), ledger, now)


class TestHungTail:
    def test_it_is_ended_after_linger(self) -> None:
        result = looked(HUNG)
        (kill,) = make.kills(result)
        assert (kill.reason, kill.force, kill.sessions) == (Reason.HUNG_TAIL, False, ())
        assert result.states["p/a"].reason is Reason.STOPPING

    @pytest.mark.parametrize(
        ("facts", "changes"),
        [
            pytest.param(make.running(log_at=NOW - 299), {}, id="log-speaks"),
            pytest.param(HUNG, {"outputs": make.outputs("new", newest_at=NOW - 299)}, id="output-is-still-written"),
            pytest.param(HUNG, {"outputs": make.outputs("")}, id="no-output"),
            pytest.param(HUNG, {"outputs": Unknown("EIO")}, id="outputs-unknown"),
            pytest.param(HUNG, {"gpus": (make.gpu(0, 9_000),)}, id="gpu-memory-in-use"),
            pytest.param(HUNG, {"gpus": (make.gpu(0, None),)}, id="gpu-memory-not-reported"),
            pytest.param(HUNG, {"gpus": Unknown("timed out")}, id="gpus-unknown"),
            pytest.param(HUNG, {"gpus": (make.gpu(1),)}, id="its-gpu-not-listed"),
            pytest.param(HUNG, {"gpus": ()}, id="no-gpu-listed"),
            pytest.param(HUNG, {"attempt": replace(LIVE, outputs_before=("new",))}, id="leftover-output"),
            pytest.param(HUNG, {"desired": spec(generation="g2")}, id="other-outputs-asked-by-now"),
            pytest.param(HUNG, {"desired": make.desired(make.gpu_project(make.job("b")))}, id="orphan"),
            pytest.param(Unknown("EIO"), {}, id="attempt-unknown"),
            pytest.param(HUNG, {"now": NOW - 7200}, id="clock-set-back"),
        ],
    )
    def test_it_is_left_alone(self, facts: AttemptFacts | Unknown, changes: dict[str, Any]) -> None:
        result = looked(facts, **changes)
        assert make.kills(result) == []
        assert result.states["p/a"].status is JobStatus.RUNNING

    def test_the_plan_wakes_when_linger_is_over(self) -> None:
        result = looked(make.running(log_at=NOW - 100), make.outputs("new", newest_at=NOW - 200))
        assert result.wake_at == NOW + 200.0


class TestHungAfterOutOfMemory:
    def test_it_is_ended_after_linger(self) -> None:
        result = looked(replace(HUNG, log_tail=OOM), make.outputs(""))
        assert [k.reason for k in make.kills(result)] == [Reason.GPU_OUT_OF_MEMORY]

    @pytest.mark.parametrize(
        "facts",
        [
            pytest.param(make.running(log_at=NOW - 10, log_tail=OOM), id="just-now"),
            pytest.param(replace(HUNG, log_tail=OOM + "epoch 3: loss 0.1\n"), id="went-on"),
            pytest.param(replace(HUNG, log_tail="epoch 3\n"), id="no-error"),
            pytest.param(replace(HUNG, log_tail=""), id="log-not-read"),
        ],
    )
    def test_it_is_left_alone(self, facts: AttemptFacts) -> None:
        assert make.kills(looked(facts, make.outputs(""))) == []


STOPPED = {"stopped_by": "ann"}


class TestStop:
    def test_a_running_job_is_asked_to_end(self) -> None:
        result = looked(make.running(), make.outputs(""), record=STOPPED)
        (kill,) = make.kills(result)
        assert (kill.reason, kill.force, kill.message) == (Reason.STOPPED_BY_USER, False, "stopped by ann")
        assert result.wake_at == NOW + 10.0

    def test_an_orphan_too(self) -> None:
        other = make.desired(make.project(make.job("b")))
        assert len(make.kills(looked(make.running(), record=STOPPED, desired=other))) == 1

    @pytest.mark.parametrize(
        ("asked_s_ago", "kill"),
        [
            pytest.param(9.9, None, id="within-grace"),
            pytest.param(10.0, True, id="grace-over"),
            pytest.param(-3600.0, False, id="clock-set-back-asks-once-more"),
        ],
    )
    def test_escalation(self, asked_s_ago: float, kill: bool | None) -> None:
        asked = replace(LIVE, kill_at=NOW - 20, kill_last_at=NOW - asked_s_ago, kill_reason=Reason.STOPPED_BY_USER)
        result = looked(make.running(), make.outputs(""), attempt=asked, record=STOPPED)
        assert [k.force for k in make.kills(result)] == ([] if kill is None else [kill])
        assert result.states["p/a"].reason is Reason.STOPPING

    def test_one_that_was_intended_and_never_sent_is_sent_gently(self) -> None:
        intended = replace(LIVE, kill_at=NOW - 60, kill_last_at=None, kill_reason=Reason.STOPPED_BY_USER)
        result = looked(make.running(), make.outputs(""), attempt=intended, record=STOPPED)
        assert [k.force for k in make.kills(result)] == [False]

    def test_a_retry_does_not_call_off_an_end_that_was_begun(self) -> None:
        asked = replace(LIVE, kill_at=NOW - 20, kill_last_at=NOW - 20, kill_reason=Reason.STOPPED_BY_USER)
        result = looked(make.running(), make.outputs(""), attempt=asked, record={"retry_after": 1})
        assert [k.force for k in make.kills(result)] == [True]

    @pytest.mark.parametrize("facts", [Unknown("EIO"), make.running(payload_alive=False, tree_alive=False)])
    def test_nothing_that_could_be_signalled(self, facts: AttemptFacts | Unknown) -> None:
        assert make.kills(looked(facts, make.outputs(""), record=STOPPED)) == []


def cleaned(facts: AttemptFacts, attempt: AttemptRecord, now: float = NOW, **view: Any) -> Plan:
    return looked(facts, make.outputs(""), attempt=attempt, now=now, **view)


def done(ended_s_ago: float = 5.0, **changes: Any) -> AttemptRecord:
    at = NOW - ended_s_ago
    ended = {"verdict": make.verdict(Reason.CODE_ERROR, at=at), "ended_at": at, "released": False}
    return make.over(**{**ended, **changes})


class TestStaleScreen:
    def test_it_is_quit_by_its_address(self) -> None:
        result = cleaned(make.ended(1), done(), sessions=(make.session(done(), pid=777),))
        (kill,) = make.kills(result)
        assert (kill.reason, kill.sessions) == (Reason.STALE_SCREEN, ("777.exq.p.a.1",))
        assert result.released == ()

    @pytest.mark.parametrize(
        ("ended_s_ago", "quit_"), [(1.9, False), (2.0, True), (-3600.0, True)], ids=["grace", "over", "clock-set-back"]
    )
    def test_a_moment_of_grace(self, ended_s_ago: float, quit_: bool) -> None:
        attempt = done(ended_s_ago)
        assert bool(make.kills(cleaned(make.ended(1), attempt, sessions=(make.session(attempt),)))) is quit_

    def test_what_a_dead_server_left_is_cleaned_up(self) -> None:
        left = make.session(done(), state=SessionState.DEAD)
        assert len(make.kills(cleaned(make.ended(1), done(), sessions=(left,)))) == 1

    def test_both_of_two_with_one_name(self) -> None:
        pair = (make.session(done(), 1), make.session(done(), 2))
        (kill,) = make.kills(cleaned(make.ended(1), done(), sessions=pair))
        assert kill.sessions == ("1.exq.p.a.1", "2.exq.p.a.1")

    def test_not_one_that_only_begins_with_the_name(self) -> None:
        other = make.session(make.attempt(11))
        result = cleaned(make.ended(1), done(), sessions=(other,))
        assert (make.kills(result), result.released) == ([], ("p/a/1",))

    @pytest.mark.parametrize("sessions", [Unknown("wrong SCREENDIR"), None], ids=["unknown", "not-looked-at"])
    def test_nothing_is_done_or_released_unseen(self, sessions: Unknown | None) -> None:
        result = cleaned(make.ended(1), done(), sessions=sessions)
        assert (make.kills(result), result.released) == ([], ())

    @pytest.mark.parametrize("sessions", [Unknown("wrong SCREENDIR"), None], ids=["unknown", "not-looked-at"])
    def test_an_attempt_without_a_screen_needs_no_listing(self, sessions: Unknown | None) -> None:
        result = cleaned(make.ended(1), done(session=None, launcher="process"), sessions=sessions)
        assert result.released == ("p/a/1",)

    def test_it_is_told_in_one_plan_with_the_verdict(self) -> None:
        result = cleaned(make.ended(1), LIVE, sessions=(make.session(LIVE),))
        assert [a.kind for a in result.actions] == [ActionKind.FAIL, ActionKind.KILL]


class TestStragglers:
    left = make.ended(1, tree_alive=True, tree_pids=(31, 32))

    @pytest.mark.parametrize(
        ("ended_s_ago", "ends"),
        [(299.0, False), (300.0, True), (-60.0, False), (-86_400.0, True)],
        ids=["within", "over", "clock-set-back-a-little", "clock-set-back-a-day"],
    )
    def test_they_may_linger(self, ended_s_ago: float, ends: bool) -> None:
        result = cleaned(self.left, done(ended_s_ago))
        assert [k.reason for k in make.kills(result)] == ([Reason.STRAGGLERS] if ends else [])
        assert result.released == ()

    def test_they_are_named(self) -> None:
        (kill,) = make.kills(cleaned(self.left, done(400)))
        assert "pid 31, 32" in kill.message

    def test_those_of_a_stopped_job_do_not_linger(self) -> None:
        attempt = done(5, kill_at=NOW - 20, kill_last_at=NOW - 10, kill_reason=Reason.STOPPED_BY_USER)
        assert [k.force for k in make.kills(cleaned(self.left, attempt))] == [True]

    def test_the_screen_stays_until_they_are_gone(self) -> None:
        (kill,) = make.kills(cleaned(self.left, done(400), sessions=(make.session(done()),)))
        assert kill.sessions == ()

    def test_their_attempt_keeps_slot_and_gpu(self) -> None:
        attempt = replace(done(), gpus=("GPU-0",), gpu_indices=(0,))
        desired = make.desired(make.gpu_project(make.job(), make.job("b")))
        result = cleaned(self.left, attempt, desired=desired)
        assert make.launches(result) == []
        words = "GPU 0: p/a has ended, pid 31, 32 of it are left (ended in 5 min)"
        assert words in result.states["p/b"].message

    def test_so_it_does_without_gpus(self) -> None:
        desired = make.desired(make.project(make.job(), make.job("b"), max_parallel=1))
        words = cleaned(self.left, done(290), desired=desired).states["p/b"].message
        assert words == (
            "the one slot is in use (max_parallel); p/a has ended, pid 31, 32 of it are left (ended in 10 s)"
        )

    def test_they_are_looked_at_less_and_less_often(self) -> None:
        waits = [(cleaned(self.left, done(age)).wake_at or 0) - NOW for age in (0.1, 8, 40, 200)]
        assert waits == [1.0, 2.0, 10.0, 15.0]


class TestGpuMemoryOfAnEndedAttempt:
    attempt = done(1.0, gpus=("GPU-0",), gpu_indices=(0,))
    project = make.desired(make.gpu_project(make.job("b")))

    def look(self, used_mib: int | None, age_s: float = 1.0) -> Plan:
        attempt = done(age_s, gpus=("GPU-0",), gpu_indices=(0,))
        return cleaned(make.ended(1), attempt, desired=self.project, gpus=(make.gpu(0, used_mib),))

    def test_it_is_waited_for_with_quick_looks(self) -> None:
        result = self.look(20_000)
        assert (result.released, make.launches(result)) == ((), [])
        assert result.wake_at == NOW + 0.25

    def test_once_free_the_gpu_is_used_at_once(self) -> None:
        result = self.look(3)
        assert (result.released, make.launches(result)) == (("p/a/1",), ["p/b"])

    def test_after_a_while_it_must_be_someone_elses(self) -> None:
        result = self.look(20_000, age_s=31.0)
        assert result.released == ("p/a/1",)
        assert result.wake_at == NOW + 15.0

    def test_where_no_figure_is_reported_none_is_waited_for(self) -> None:
        assert self.look(None).released == ("p/a/1",)

    @pytest.mark.parametrize(("attempt", "released"), [(None, ("p/a/1",)), ("p/a/1", ())])
    def test_a_process_of_someone_else_that_took_the_gpu_is_not_waited_for(
        self, attempt: str | None, released: tuple[str, ...]
    ) -> None:
        gpu = replace(make.gpu(0, 20_000), processes=(GpuProcess(4711, 19_000, "ann", "train", attempt),))
        over = done(1.0, gpus=("GPU-0",), gpu_indices=(0,))
        assert cleaned(make.ended(1), over, desired=self.project, gpus=(gpu,)).released == released


def test_a_shim_that_still_writes_is_waited_for() -> None:
    result = cleaned(make.ended(1, shim_alive=True), done())
    assert (make.kills(result), result.released) == ([], ())


def test_stopping_before_anything_started_starts_nothing() -> None:
    desired = make.desired(make.project(make.job()))
    result = plan(desired, make.observed(make.seen(desired)), make.ledger(JobRecord("p/a", stopped_by="ann")), NOW)
    assert result.actions == ()
    assert result.states["p/a"].reason is Reason.STOPPED_BY_USER
