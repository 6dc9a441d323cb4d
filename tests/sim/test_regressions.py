"""Bugs that the simulation found, each as the smallest thing that shows it (docs/track-record.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.host import enact
from reconciler.loop.done import Done
from reconciler.loop.run import FAILED_RETRY_S, _wait_s
from reconciler.model.enums import JobStatus, Reason, SuccessRule
from reconciler.model.facts import AttemptFacts, DiskFacts, OutputFacts, Session, SessionState
from reconciler.model.plan import Settle
from reconciler.model.snapshot import Snapshot
from reconciler.parse.host import parse_host
from reconciler.parse.screen import parse_sessions
from reconciler.planner.limits import KILL_GRACE_S, SESSION_GRACE_S
from reconciler.planner.outcome import Ended, read_attempt
from reconciler.planner.plan import plan
from reconciler.planner.same import same_facts
from tests.sim.campaign import Case, run_case
from tests.sim.drafts import Draft
from tests.sim.explore import attempt, fault_free
from tests.sim.faults import Fault
from tests.sim.run import Run
from tests.sim.scenarios import ALL
from tests.sim.user_acts import Lab
from tests.unit import factories as make

OOM_LOG = (
    "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)


def faults_at(scenario: str, group: str, part: str, kind: str) -> list[Fault]:
    """That kind of fault at every operation of a group whose name holds `part`."""
    record = fault_free(scenario).record
    found = [Fault(n, kind) for n, (of, name) in enumerate(record, 1) if of == group and part in name]
    assert found
    return found


def assert_harmless(scenario: str, faults: list[Fault]) -> None:
    for fault in faults:
        assert attempt(scenario, [fault])[1] == [], f"{scenario} {fault}"


# 1: a power failure right after a launch made a job stuck


def test_a_launch_that_a_power_failure_swallowed_is_repeated() -> None:
    for step in ("claim", "lock", "start the payload", "started.json"):
        assert_harmless("plain", faults_at("plain", "shim", step, "power"))


@pytest.mark.parametrize(
    ("booted_at", "reason"),
    [(make.NOW - 50, Reason.HOST_REBOOTED), (make.NOW - 900, Reason.PAYLOAD_VANISHED), (None, Reason.PAYLOAD_VANISHED)],
)
def test_a_reboot_explains_a_missing_attempt_folder(booted_at: float | None, reason: Reason) -> None:
    assert_without_folder(make.NOW - 101, booted_at, reason)


def test_a_clock_that_was_set_back_over_a_reboot_does_not_hide_it() -> None:
    assert_without_folder(make.NOW + 86_400, make.NOW - 900, Reason.HOST_REBOOTED)


def assert_without_folder(intended_at: float, booted_at: float | None, reason: Reason) -> None:
    record = make.attempt(intended_at=intended_at)
    view = make.view(
        booted_at=booted_at,
        attempts={record.path: AttemptFacts(exists=False)},
        outputs={record.job: OutputFacts(("",))},
    )
    found = read_attempt(record, view, make.job("a"), SuccessRule.EXIT_AND_OUTPUT, make.NOW)
    assert isinstance(found, Ended)
    assert found.reason is reason


def test_the_time_of_the_boot_is_read_and_is_no_news() -> None:
    view = parse_host({"now": 5_000.5, "boot_id": "b", "booted_at": 100.25}, "local")
    assert getattr(view, "booted_at", None) == 100.25
    before, after = make.view(booted_at=100.0), make.view(booted_at=100.2)
    assert same_facts(make.observed(before), make.observed(after))


# 2: a loop that ended, or a disk that was full, between a verdict's commit and its file left both for ever


def test_a_verdict_reaches_its_folder_whatever_happens_in_between() -> None:
    for kind in ("crash-before", "crash-after", "fail"):
        assert_harmless("plain", faults_at("plain", "handle", "settle", kind))
    for kind in ("crash-before", "fail"):
        assert_harmless("plain", faults_at("plain", "write", "verdict.json", kind))


# 3: the screen of another state folder with a job of the same name was quit as stale


def test_screens_of_another_state_folder_are_left_alone() -> None:
    assert fault_free("names").violations == []


def test_sessions_of_others_are_left_out() -> None:
    text = "There are screens on:\n\t5.exq.p.a.1\t(Detached)\n\t6.exq.p.a.1\t(Detached)\n2 Sockets in /run/s.\n"
    raw: dict[str, Any] = {"text": text, "exit": 0, "timed_out": False, "dir": "/run/s", "dir_ok": True}
    ours = (Session(5, "exq.p.a.1", SessionState.DETACHED),)
    assert parse_sessions({**raw, "others": ["6.exq.p.a.1"]}) == ours
    both = parse_sessions(raw)
    assert isinstance(both, tuple)
    assert len(both) == 2


# 4: an attempt that ran out of memory and whose shim was killed counted as an unknown failure


def test_a_log_that_ends_out_of_memory_tells_how_an_attempt_without_exit_record_ended() -> None:
    record = make.attempt()
    view = make.view(attempts={record.path: make.vanished(log_tail=OOM_LOG)}, outputs={record.job: OutputFacts(("",))})
    found = read_attempt(record, view, make.job("a"), SuccessRule.EXIT_AND_OUTPUT, make.NOW)
    assert isinstance(found, Ended)
    assert (found.status, found.reason) == (JobStatus.FAILED_OOM, Reason.GPU_OUT_OF_MEMORY)
    assert_harmless("oom", faults_at("oom", "shim", "exit.json oom/a", "kill-shim"))


# 5: a job whose host was rebooted while its spec was away stayed stuck when the spec came back


def test_a_reboot_while_the_spec_is_away_does_not_make_a_job_stuck() -> None:
    record = make.attempt()
    rebooted = make.vanished(started=make.started(boot="another boot"))
    spec = make.desired()
    view = make.seen(spec, attempts={record.path: rebooted})
    result = plan(spec, make.observed(view), make.ledger(make.record(record)), make.NOW)
    action = make.the_action(result)
    assert isinstance(action, Settle)
    assert (str(action.kind), action.reason) == ("fail", Reason.HOST_REBOOTED)
    assert action.retry_at is not None


def test_edits_and_a_power_failure_at_any_time_lose_no_job() -> None:
    assert_harmless("edits", faults_at("edits", "write", ".room", "power")[:40])


# 6: with a full disk, or with an adoption that failed, the loop span without a pause


@pytest.mark.parametrize(("ok", "at_least_s"), [(False, FAILED_RETRY_S), (True, 0.0)])
def test_a_plan_of_which_nothing_could_be_done_is_not_tried_at_once(ok: bool, at_least_s: float) -> None:
    spec = make.desired(make.project(make.job("a")))
    result = plan(spec, make.observed(make.seen(spec)), make.ledger(), make.NOW)
    assert result.actions
    snapshot = Snapshot(
        make.NOW, spec, make.observed(make.seen(spec)), make.ledger(), replace(result, wake_at=make.NOW - 5)
    )
    done = tuple(Done(action, ok=ok) for action in result.actions)
    assert _wait_s(snapshot, done, make.NOW) == at_least_s
    assert _wait_s(snapshot, (), make.NOW) == FAILED_RETRY_S
    assert _wait_s(snapshot, done, make.NOW, stalled=True) == FAILED_RETRY_S


def test_a_full_disk_is_waited_for() -> None:
    result, wrong = run_case(Case("tiny", 0, acts=((1.03, "full"), (38.89, "retry"))))
    assert wrong == []
    assert result.ticks < 200


def test_a_full_disk_is_waited_for_when_all_is_done_but_letting_go() -> None:
    result, wrong = run_case(Case("names", 0, acts=((4.28, "full"), (37.26, "resume"))))
    assert wrong == []
    assert result.ticks < 300


# 7: a plan was kept past the moment at which what an attempt had left running was to be ended


@pytest.mark.parametrize(
    ("facts", "sessions", "changes", "at"),
    [
        (make.ended(tree_alive=True, tree_pids=(9,)), (), {}, make.NOW - 1 + 20),
        (make.ended(), (Session(9, "exq.p.a.1", SessionState.DETACHED),), {}, make.NOW - 1 + SESSION_GRACE_S),
        (
            make.ended(tree_alive=True, tree_pids=(9,)),
            (),
            {"kill_at": make.NOW - 3, "kill_last_at": make.NOW - 3},
            make.NOW - 3 + KILL_GRACE_S,
        ),
    ],
)
def test_a_plan_ends_when_something_left_over_is_due(
    facts: AttemptFacts, sessions: tuple[Session, ...], changes: dict[str, Any], at: float
) -> None:
    spec = make.desired(make.project(make.job("a"), linger_s=20.0))
    record = make.over(ended_at=make.NOW - 1, released=False, **changes)
    view = make.seen(spec, attempts={record.path: facts}, sessions=sessions, disk=DiskFacts(1 << 20))
    result = plan(spec, make.observed(view), make.ledger(make.record(record)), make.NOW)
    assert result.actions == ()
    assert result.wake_at is not None
    assert result.wake_at <= at


# 8: an answer that could not be read counted as success


@pytest.mark.parametrize("reply", [{}, {"garbage": 1}])
def test_a_garbled_answer_is_no_success(reply: dict[str, Any]) -> None:
    class Garbled:
        def handle(self, request: dict[str, Any]) -> dict[str, Any]:
            return reply

    settled = make.over()
    assert not enact.repeat_verdict(Garbled(), settled).outcome().ok
    assert not enact.start(Garbled(), make.attempt(), "true").outcome().ok
    assert not enact.write_file(Garbled(), "/x", "").ok
    assert not enact.revoke(Garbled(), "p/a/1").outcome().ok


# 9: with a request in the inbox, a job was wanted at one look, planned at the next, and wanted again at the one after


def test_a_request_in_the_inbox_counts_for_what_is_looked_at() -> None:
    for fault in faults_at("requests", "write", ".room", "fail"):
        assert attempt("requests", [fault], audit_every=1)[1] == []


# 10: with its folder removed and its screen killed, an attempt that had run counted as a launch that failed


@pytest.mark.parametrize(
    "case",
    [
        Case(
            "stale",
            21870,
            (Fault(6, "crash-before"),),
            acts=((1.47, "full"), (20.67, "remove-folder"), (22.08, "stop"), (27.71, "kill-screen")),
        ),
        Case(
            "edits",
            10027678,
            (Fault(33, "power"),),
            acts=((11.05, "revert-specs"), (14.7, "remove-folder"), (24.2, "kill-screen")),
        ),
    ],
    ids=Case.line,
)
def test_a_removed_folder_is_no_failed_launch(case: Case) -> None:
    assert run_case(case)[1] == []


# 13: the power failed seconds after an attempt ran out of memory: its exit record was kept, the end of its log was not


def test_the_log_of_a_failure_is_kept_before_its_record() -> None:
    run = Run(ALL["oom"])
    run.go()
    disk = run.machine.disk
    ended = {path.rpartition("/")[0]: inode for path, inode in disk.entries.items() if path.endswith("/exit.json")}
    failed = [folder for folder, inode in ended.items() if b'"code":0' not in inode.data]
    assert failed
    for folder in failed:
        assert b"OutOfMemoryError" in disk.surely(f"{folder}/log")


def test_a_power_failure_after_an_out_of_memory_is_no_other_failure() -> None:
    for seed in range(40, 50):
        case = Case("oom", seed, lost_events=1.0)
        record = case.run(record=True).go().record
        last_step = record.index(("shim", "marker oom/a/1")) + 1
        assert run_case(replace(case, faults=(Fault(last_step, "power"),)))[1] == []


# 14: after the clock was set back, a job that was due, but paused, waited for its delay again: the plan outlasted that


def test_a_plan_ends_when_a_delay_counts_again() -> None:
    spec = make.desired(make.project(make.job("a")))
    retry_at = make.NOW + 5_000.0  # ten minutes, by the clock as it was
    record = make.record(make.over(reason=Reason.LAUNCH_LOST, retry_at=retry_at))
    paused = replace(make.ledger(record), paused=frozenset({record.key}))
    result = plan(spec, make.observed(make.seen(spec)), paused, make.NOW)
    assert result.states[record.key].reason is Reason.PAUSED
    assert result.wake_at is not None
    assert make.NOW < result.wake_at < retry_at
    at_last = plan(spec, make.observed(make.seen(spec)), paused, result.wake_at + 0.01)
    assert at_last.states[record.key].reason is Reason.LAUNCH_LOST


# 15: an attempt folder was removed by hand while its shim ended: the marker that it dropped stayed for ever


@pytest.mark.parametrize(
    "case",
    [
        Case("states", 0, acts=((2.03, "remove-folder"),)),
        Case("full", 0, acts=((11.1, "remove-folder"), (11.85, "room"))),
    ],
    ids=Case.line,
)
def test_no_marker_is_left_of_a_removed_folder(case: Case) -> None:
    for seed in range(20):
        assert run_case(replace(case, seed=seed))[1] == []


# 16: a job hung with all outputs written and was being ended when its spec was deleted: it was stuck when that was back


@pytest.mark.parametrize("facts", [make.ended(137), make.vanished()], ids=["recorded", "vanished"])
def test_a_hung_job_whose_spec_is_away_for_a_moment_is_completed(facts: AttemptFacts) -> None:
    record = make.attempt(kill_at=make.NOW - 30, kill_last_at=make.NOW - 15, kill_reason=Reason.HUNG_TAIL)
    view = make.view(attempts={record.path: facts})
    found = read_attempt(record, view, None, SuccessRule.EXIT_AND_OUTPUT, make.NOW)
    assert isinstance(found, Ended)
    assert (found.status, found.reason) == (JobStatus.COMPLETED, Reason.HUNG_TAIL)


# 17: what ran on the host could not be adopted, and an event came within a second: a short look took its job for free


def test_what_cannot_be_adopted_keeps_its_job() -> None:
    lab = Lab(0, 1, {"one.yaml": Draft("p", {"a": "ok 60 0"})})
    lab.wait(1.0)
    lab.happen("remove-folder")
    lab.happen("lose-ledger")
    lab.tick()
    assert lab.daemon.tick(full=False)
    lab.wait(40.0)
    assert lab.machine.violations == []
    assert [process.attempt for process in lab.payloads()] == ["p/a/1"]
    assert len(lab.machine.starts) == 1


# 18: a spec was edited so that a job has no output any more: what was known of the old one still decided how it ended


def test_outputs_that_are_no_longer_asked_for_decide_nothing() -> None:
    record = make.attempt()
    known = {record.job: make.outputs("1:2:3")}
    view = make.view(attempts={record.path: make.vanished()}, outputs=known)
    job = make.job("a", outputs=())
    found = read_attempt(record, view, job, SuccessRule.EXIT_AND_OUTPUT, make.NOW)
    assert found == read_attempt(record, replace(view, outputs={}), job, SuccessRule.EXIT_AND_OUTPUT, make.NOW)
    assert isinstance(found, Ended)
    assert found.reason is Reason.PAYLOAD_VANISHED
