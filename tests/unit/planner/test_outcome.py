"""The truth table of one attempt: what is observed of it decides what became of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import JobStatus, Reason, SuccessRule
from reconciler.model.facts import AttemptFacts, Exited, OutputFacts, SessionState, Unknown
from reconciler.model.spec import Job
from reconciler.planner.outcome import Ended, Finding, Live, Lost, Unseen, fresh, read_attempt, sessions_of
from tests.unit import factories as make
from tests.unit.factories import NOW

OUT = {"outputs": ("out.json",)}
THERE = make.outputs("print-2")
OLD = make.outputs("print-1")
NOT_THERE = make.outputs("")
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
BOTH, OUTPUT = SuccessRule.EXIT_AND_OUTPUT, SuccessRule.OUTPUT


def read(
    facts: AttemptFacts | Unknown | None,
    outputs: OutputFacts | Unknown | None = None,
    *,
    job: Job | None = None,
    orphan: bool = False,
    success: SuccessRule = BOTH,
    sessions: Any = (),
    boot: str = make.BOOT,
    **record: Any,
) -> Finding:
    attempt = make.attempt(**record)
    view = make.view(
        attempts={} if facts is None else {attempt.path: facts},
        outputs={} if outputs is None else {attempt.job: outputs},
        sessions=sessions,
        boot_id=boot,
    )
    spec = None if orphan else job or make.job(**OUT if outputs is not None else {})
    return read_attempt(attempt, view, spec, success, NOW)


def ended(finding: Finding) -> tuple[JobStatus, Reason]:
    assert isinstance(finding, Ended), finding
    return finding.status, finding.reason


DONE, FAILED, OOMED = JobStatus.COMPLETED, JobStatus.FAILED_OTHER, JobStatus.FAILED_OOM


@pytest.mark.parametrize(
    ("code", "outputs", "success", "killed", "status", "reason"),
    [
        # without output_check the exit code decides
        pytest.param(0, None, BOTH, None, DONE, Reason.SUCCEEDED, id="exit-0"),
        pytest.param(1, None, BOTH, None, FAILED, Reason.CODE_ERROR, id="exit-1"),
        pytest.param(0, None, OUTPUT, None, DONE, Reason.SUCCEEDED, id="exit-0-rule-output-but-none-asked"),
        pytest.param(137, None, BOTH, None, FAILED, Reason.KILLED_BY_SIGNAL, id="sigkill"),
        pytest.param(127, None, BOTH, None, FAILED, Reason.COMMAND_NOT_FOUND, id="exit-127"),
        # with one, both have to be right
        pytest.param(0, THERE, BOTH, None, DONE, Reason.SUCCEEDED, id="exit-0-output"),
        pytest.param(0, NOT_THERE, BOTH, None, FAILED, Reason.OUTPUT_MISSING, id="exit-0-no-output"),
        pytest.param(0, OLD, BOTH, None, FAILED, Reason.OUTPUT_MISSING, id="exit-0-leftover"),
        pytest.param(1, THERE, BOTH, None, FAILED, Reason.CODE_ERROR, id="exit-1-output"),
        pytest.param(1, NOT_THERE, BOTH, None, FAILED, Reason.CODE_ERROR, id="exit-1-no-output"),
        # the seed's rule: the output alone decides
        pytest.param(1, THERE, OUTPUT, None, DONE, Reason.OUTPUT_FOUND, id="rule-output-exit-1"),
        pytest.param(0, THERE, OUTPUT, None, DONE, Reason.SUCCEEDED, id="rule-output-exit-0"),
        pytest.param(1, OLD, OUTPUT, None, FAILED, Reason.CODE_ERROR, id="rule-output-leftover"),
        pytest.param(0, NOT_THERE, OUTPUT, None, FAILED, Reason.OUTPUT_MISSING, id="rule-output-none"),
        # what we did to it explains its end better than its exit code
        pytest.param(143, None, BOTH, Reason.STOPPED_BY_USER, FAILED, Reason.STOPPED_BY_USER, id="stopped"),
        pytest.param(0, None, BOTH, Reason.STOPPED_BY_USER, FAILED, Reason.STOPPED_BY_USER, id="stopped-exits-0"),
        pytest.param(0, THERE, BOTH, Reason.STOPPED_BY_USER, DONE, Reason.SUCCEEDED, id="stopped-but-was-done"),
        pytest.param(143, THERE, OUTPUT, Reason.STOPPED_BY_USER, FAILED, Reason.STOPPED_BY_USER, id="stopped-partial"),
        pytest.param(143, THERE, BOTH, Reason.HUNG_TAIL, DONE, Reason.HUNG_TAIL, id="hung-tail"),
        pytest.param(143, NOT_THERE, BOTH, Reason.HUNG_TAIL, FAILED, Reason.HUNG_TAIL, id="hung-tail-output-gone"),
        pytest.param(
            143, NOT_THERE, BOTH, Reason.GPU_OUT_OF_MEMORY, OOMED, Reason.GPU_OUT_OF_MEMORY, id="hung-after-oom"
        ),
    ],
)
def test_an_exit_record_and_the_outputs_decide(code, outputs, success, killed, status, reason) -> None:
    finding = read(make.ended(code), outputs, success=success, outputs_before=("print-1",), kill_reason=killed)
    assert ended(finding) == (status, reason)
    assert isinstance(finding, Ended)
    assert (finding.exit_code, finding.at) == (code, NOW - 5)


def test_oom_in_the_log_of_a_failed_attempt() -> None:
    assert ended(read(make.ended(1, log_tail=OOM))) == (OOMED, Reason.GPU_OUT_OF_MEMORY)


def test_oom_in_the_log_of_a_completed_attempt_is_its_own_business() -> None:
    assert ended(read(make.ended(0, log_tail=OOM))) == (DONE, Reason.SUCCEEDED)


def test_a_broken_environment_is_named() -> None:
    finding = read(make.ended(96, setup_error="conda: no environment dllm"))
    assert ended(finding) == (FAILED, Reason.ENVIRONMENT_BROKEN)
    assert isinstance(finding, Ended)
    assert "dllm" in finding.message


@pytest.mark.parametrize(
    ("code", "log", "expected"),
    [
        (96, "conda says no\nexq: no environment x\n", (Reason.ENVIRONMENT_BROKEN, "no environment x")),
        (96, "exq: no environment x\nand then\n", (Reason.CODE_ERROR, "exit 96: and then")),
        (1, "exq: no environment x\n", (Reason.CODE_ERROR, "exit 1: exq: no environment x")),
    ],
)
def test_a_broken_environment_is_told_by_the_log_too(code: int, log: str, expected: tuple[Reason, str]) -> None:
    finding = read(make.ended(code, log_tail=log))
    assert isinstance(finding, Ended) and (finding.reason, finding.message) == expected


def test_a_broken_environment_without_words_has_some() -> None:
    finding = read(make.ended(96, setup_error=""))
    assert isinstance(finding, Ended) and finding.message


def test_a_broken_environment_is_named_also_where_the_shim_died_before_it_could_record_the_exit() -> None:
    finding = read(make.vanished(setup_error="no environment dllm"), Unknown("timed out"))
    assert ended(finding) == (FAILED, Reason.ENVIRONMENT_BROKEN)


@pytest.mark.parametrize(
    ("lock", "words"), [("job", "an earlier attempt"), ("gpu:GPU-3", "another job holds GPU GPU-3")], ids=["job", "gpu"]
)
def test_a_shim_that_met_a_lock(lock, words) -> None:
    finding = read(replace(make.vanished(started=None), exited=Exited(75, NOW - 1, lock_held=lock)))
    assert ended(finding) == (FAILED, Reason.LOCK_HELD)
    assert isinstance(finding, Ended)
    assert words in finding.message


def test_exit_0_waits_a_moment_for_an_output_that_is_late() -> None:
    young = read(make.ended(0, at=NOW - 0.5), NOT_THERE)
    assert isinstance(young, Live)
    assert young.again_at == NOW + 1.5
    assert ended(read(make.ended(0, at=NOW - 2.0), NOT_THERE)) == (FAILED, Reason.OUTPUT_MISSING)


def test_exit_0_from_the_future_does_not_wait_for_the_clock() -> None:
    assert ended(read(make.ended(0, at=NOW + 3600), NOT_THERE)) == (FAILED, Reason.OUTPUT_MISSING)


@pytest.mark.parametrize(
    ("code", "success", "unseen"),
    [
        pytest.param(0, BOTH, True, id="exit-0"),
        pytest.param(1, OUTPUT, True, id="exit-1-rule-output"),
        pytest.param(1, BOTH, False, id="exit-1-fails-whatever-the-outputs"),
    ],
)
def test_unknown_outputs_hold_up_only_what_they_decide(code, success, unseen) -> None:
    finding = read(make.ended(code), Unknown("stale file handle"), success=success)
    if unseen:
        assert finding == Unseen(Reason.OUTPUT_UNKNOWN, "stale file handle")
    else:
        assert ended(finding) == (FAILED, Reason.CODE_ERROR)


def test_outputs_that_were_not_looked_at_are_unknown() -> None:
    finding = read(make.ended(0), job=make.job(**OUT))
    assert isinstance(finding, Unseen)
    assert finding.reason is Reason.OUTPUT_UNKNOWN


@pytest.mark.parametrize(
    ("facts", "sessions", "reason"),
    [
        pytest.param(make.running(), (make.session(make.attempt()),), Reason.RUNNING, id="running"),
        pytest.param(make.running(), (), Reason.SCREEN_GONE, id="screen-gone"),
        pytest.param(
            make.running(),
            (make.session(make.attempt(), state=SessionState.DEAD),),
            Reason.SCREEN_GONE,
            id="screen-dead",
        ),
        pytest.param(make.running(), None, Reason.RUNNING, id="screens-not-looked-at"),
        pytest.param(make.running(), Unknown("?"), Reason.RUNNING, id="screens-unknown"),
        pytest.param(make.running(payload_alive=False, shim_alive=False), (), Reason.STRAGGLERS, id="stragglers"),
        pytest.param(make.running(payload_alive=False), (), Reason.RUNNING, id="shim-holds-the-locks-too"),
        pytest.param(make.running(payload_alive=False, tree_alive=False), (), Reason.RUNNING, id="shim-writes-exit"),
        pytest.param(make.running(payload_alive=False, tree_alive=False, started=None), (), Reason.STARTING, id="shim"),
    ],
)
def test_signs_of_life(facts, sessions, reason) -> None:
    finding = read(facts, sessions=sessions)
    assert isinstance(finding, Live)
    assert finding.reason is reason


def test_early_outputs_end_nothing() -> None:
    assert isinstance(read(make.running(), THERE), Live)


@pytest.mark.parametrize(
    ("code", "boot", "facts", "killed", "status", "reason"),
    [
        pytest.param(143, "boot-2", {}, None, FAILED, Reason.HOST_REBOOTED, id="sigterm"),
        pytest.param(137, "boot-2", {}, None, FAILED, Reason.HOST_REBOOTED, id="sigkill"),
        pytest.param(129, "boot-2", {}, None, FAILED, Reason.HOST_REBOOTED, id="sighup"),
        pytest.param(143, "boot-1", {}, None, FAILED, Reason.KILLED_BY_SIGNAL, id="no-reboot"),
        pytest.param(139, "boot-2", {}, None, FAILED, Reason.KILLED_BY_SIGNAL, id="segfault"),
        pytest.param(1, "boot-2", {}, None, FAILED, Reason.CODE_ERROR, id="its-own-failure"),
        pytest.param(143, "boot-2", {"log_tail": OOM}, None, OOMED, Reason.GPU_OUT_OF_MEMORY, id="out-of-memory"),
        pytest.param(143, "boot-2", {"started": None}, None, FAILED, Reason.KILLED_BY_SIGNAL, id="never-started"),
        pytest.param(143, "boot-2", {}, Reason.STOPPED_BY_USER, FAILED, Reason.STOPPED_BY_USER, id="stopped"),
    ],
)
def test_a_host_that_goes_down_ends_what_runs_on_it(code, boot, facts, killed, status, reason) -> None:
    finding = read(make.ended(code, **facts), boot=boot, kill_reason=killed)
    assert ended(finding) == (status, reason)


@pytest.mark.parametrize(
    ("outputs", "boot", "killed", "status", "reason"),
    [
        pytest.param(None, "boot-1", None, FAILED, Reason.PAYLOAD_VANISHED, id="no-outputs-asked"),
        pytest.param(NOT_THERE, "boot-1", None, FAILED, Reason.PAYLOAD_VANISHED, id="no-output"),
        pytest.param(THERE, "boot-1", None, DONE, Reason.OUTPUT_FOUND, id="output"),
        pytest.param(OLD, "boot-1", None, FAILED, Reason.PAYLOAD_VANISHED, id="leftover"),
        pytest.param(None, "boot-2", None, FAILED, Reason.HOST_REBOOTED, id="rebooted"),
        pytest.param(NOT_THERE, "boot-2", None, FAILED, Reason.HOST_REBOOTED, id="rebooted-no-output"),
        pytest.param(THERE, "boot-2", None, DONE, Reason.OUTPUT_FOUND, id="rebooted-output"),
        pytest.param(None, "boot-1", Reason.STOPPED_BY_USER, FAILED, Reason.STOPPED_BY_USER, id="stopped-by-force"),
        pytest.param(THERE, "boot-1", Reason.HUNG_TAIL, DONE, Reason.OUTPUT_FOUND, id="hung-tail"),
    ],
)
def test_gone_without_an_exit_record_the_outputs_decide(outputs, boot, killed, status, reason) -> None:
    finding = read(make.vanished(), outputs, boot=boot, kill_reason=killed, outputs_before=("print-1",))
    assert ended(finding) == (status, reason)


def test_gone_without_an_exit_record_and_outputs_unknown() -> None:
    assert isinstance(read(make.vanished(), Unknown("timed out")), Unseen)


def test_a_vanished_attempt_ended_when_its_log_did() -> None:
    finding = read(make.vanished(log_at=NOW - 30))
    assert isinstance(finding, Ended)
    assert finding.at == NOW - 30


EMPTY = AttemptFacts(exists=True)


@pytest.mark.parametrize(
    ("facts", "sessions", "record", "expected"),
    [
        pytest.param(EMPTY, (), {"launched": False, "intended_at": NOW}, Lost, id="launch-never-confirmed"),
        pytest.param(AttemptFacts(exists=False), (), {"launched": False}, Lost, id="no-folder"),
        pytest.param(AttemptFacts(exists=False), (), {}, Ended, id="folder-removed"),
        pytest.param(AttemptFacts(exists=False, scanned=False), (), {}, Live, id="folder-removed-who-knows"),
        pytest.param(replace(EMPTY, revoked=True), (), {}, Lost, id="revoked"),
        pytest.param(replace(EMPTY, launch_error="no such user"), (), {"intended_at": NOW}, Lost, id="launch-failed"),
        pytest.param(EMPTY, (), {"intended_at": NOW - 9.9}, Live, id="within-grace"),
        pytest.param(EMPTY, (), {"intended_at": NOW - 10.0}, Lost, id="grace-over"),
        pytest.param(EMPTY, (), {"intended_at": NOW + 60.0}, Lost, id="clock-set-back"),
        pytest.param(EMPTY, (make.session(make.attempt()),), {"intended_at": NOW - 60}, Live, id="screen-without-shim"),
        pytest.param(
            EMPTY, (make.session(make.attempt()),), {"intended_at": NOW - 120}, Lost, id="screen-without-shim-too-long"
        ),
        pytest.param(
            EMPTY,
            (make.session(make.attempt(), state=SessionState.DEAD),),
            {"intended_at": NOW - 60},
            Lost,
            id="dead-screen",
        ),
        pytest.param(EMPTY, Unknown("?"), {"intended_at": NOW - 60}, Unseen, id="screens-unknown"),
        pytest.param(EMPTY, Unknown("?"), {"intended_at": NOW - 60, "session": None}, Lost, id="no-screen-of-its-own"),
        pytest.param(EMPTY, None, {"intended_at": NOW - 60}, Live, id="screens-not-looked-at"),
        pytest.param(replace(EMPTY, claimed=True), (), {}, Ended, id="claimed-shim-gone"),
        pytest.param(None, (), {}, Unseen, id="not-looked-at"),
        pytest.param(Unknown("EIO"), (), {}, Unseen, id="unknown"),
    ],
)
def test_an_attempt_that_no_shim_has_started(facts, sessions, record, expected) -> None:
    assert isinstance(read(facts, sessions=sessions, **record), expected)


def test_a_claim_without_a_payload_is_a_lost_launch() -> None:
    assert ended(read(replace(EMPTY, claimed=True))) == (FAILED, Reason.LAUNCH_LOST)


@pytest.mark.parametrize(("code", "status"), [(0, DONE), (2, FAILED)])
def test_of_an_orphan_the_exit_code_decides(code, status) -> None:
    finding = read(make.ended(code), NOT_THERE, orphan=True)
    assert isinstance(finding, Ended)
    assert finding.status is status


@pytest.mark.parametrize(
    ("before", "now", "is_fresh"),
    [
        pytest.param((), ("x",), True, id="new"),
        pytest.param(("",), ("x",), True, id="was-not-there"),
        pytest.param(("w",), ("x",), True, id="written-anew"),
        pytest.param(("x",), ("x",), False, id="leftover"),
        pytest.param(("x", ""), ("x", "y"), False, id="one-leftover"),
        pytest.param(("", ""), ("x", ""), False, id="one-missing"),
        pytest.param((), (), False, id="none-asked"),
    ],
)
def test_fresh(before, now, is_fresh) -> None:
    assert fresh(make.attempt(outputs_before=before), make.outputs(*now)) is is_fresh


def test_sessions_match_by_whole_name() -> None:
    one, eleven = make.attempt(1), make.attempt(11)
    listed = (make.session(one, 1), make.session(eleven, 2), make.session(one, 3))
    assert [s.pid for s in sessions_of(one, listed)] == [1, 3]


def test_the_message_names_the_missing_output() -> None:
    finding = read(make.ended(0), NOT_THERE)
    assert isinstance(finding, Ended)
    assert finding.message == "exit 0, but no file matches out.json in /work"
