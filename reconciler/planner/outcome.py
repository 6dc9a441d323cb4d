"""What the facts say of one attempt: starting, running, ended (how), lost, or not known."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.enums import JobStatus, Reason, SuccessRule
from reconciler.model.facts import AttemptFacts, HostView, OutputFacts, Session, SessionState, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.setup import SETUP_FAILED_EXIT, SETUP_FAILED_LINE
from reconciler.model.spec import Job
from reconciler.planner.limits import LAUNCH_GRACE_S, LAUNCH_STUCK_S, OUTPUT_GRACE_S


@dataclass(frozen=True, slots=True)
class Live:
    """It runs, or is about to. `again_at`: when to look again if nothing else happens."""

    reason: Reason
    message: str
    again_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over. `status` is completed, failed_oom or failed_other."""

    status: JobStatus
    reason: Reason
    message: str
    at: float
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """No shim has run it. The loop has to claim it, so that none ever will."""

    message: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """The facts that would tell are missing: nothing is done."""

    reason: Reason
    message: str


Finding = Live | Ended | Lost | Unseen

ENDED_ON_PURPOSE = frozenset(
    {Reason.STOPPED_BY_USER, Reason.HUNG_TAIL, Reason.GPU_OUT_OF_MEMORY, Reason.HOST_OUT_OF_MEMORY}
)
"""Kill reasons that explain the end of an attempt better than its exit code."""

SHUTDOWN_SIGNALS = frozenset({1, 9, 15})
"""SIGHUP, SIGKILL, SIGTERM: how a host that goes down ends what runs on it."""


def read_attempt(attempt: AttemptRecord, view: HostView, job: Job | None, success: SuccessRule, now: float) -> Finding:
    """Judge an attempt that has no verdict yet. `job` is None when the specs no longer name it."""
    facts = view.attempts.get(attempt.path)
    if facts is None:
        return Unseen(Reason.ATTEMPT_UNKNOWN, "its attempt folder was not looked at")
    if isinstance(facts, Unknown):
        return Unseen(Reason.ATTEMPT_UNKNOWN, facts.message)
    if facts.exited is not None:
        return _exited(attempt, facts, view, job, success, now)
    if facts.payload_alive:
        return _running(attempt, view)
    if facts.shim_alive:  # the shim holds the locks too, so its own life says nothing of the rest of the tree
        what = "starting" if facts.started is None else "its exit is being recorded"
        return Live(Reason.STARTING if facts.started is None else Reason.RUNNING, what, now + 1.0)
    if facts.tree_alive:
        pids = ", ".join(str(pid) for pid in facts.tree_pids) or "not visible"
        gone = "main process" if facts.claimed else "attempt folder"
        return Live(Reason.STRAGGLERS, f"its {gone} is gone, processes of it still run (pid {pids})")
    if facts.started is not None:
        return _vanished(attempt, facts, view, job)
    if facts.claimed and not facts.revoked:
        message = facts.setup_error or "its shim ended before the payload was started"
        return Ended(JobStatus.FAILED_OTHER, Reason.LAUNCH_LOST, message, now)
    return _unclaimed(attempt, facts, view, job, now)


def _running(attempt: AttemptRecord, view: HostView) -> Live:
    if attempt.session and isinstance(view.sessions, tuple) and not live_sessions_of(attempt, view.sessions):
        return Live(Reason.SCREEN_GONE, "running; its screen is gone, the log goes on")
    return Live(Reason.RUNNING, "running")


def _unclaimed(attempt: AttemptRecord, facts: AttemptFacts, view: HostView, job: Job | None, now: float) -> Finding:
    if facts.launch_error is not None:
        return Lost(f"the launch failed: {facts.launch_error}")
    # behind a connection the answer to a launch may have been lost, or late: a folder tells that it was begun
    begun = attempt.launched or (facts.exists and view.round_trip_s is not None)
    if facts.revoked or not begun:
        return Lost("the launch did not take place")
    if not facts.exists and not facts.scanned:
        return Live(Reason.STRAGGLERS, "its attempt folder is gone, its processes are looked for", now)
    if not facts.exists:
        return _without_folder(attempt, view, job, now)
    if attempt.session:
        if isinstance(view.sessions, Unknown):
            return Unseen(Reason.SCREEN_UNKNOWN, view.sessions.message)
        if view.sessions is None:
            return Live(Reason.STARTING, "starting", now + 1.0)
        if live_sessions_of(attempt, view.sessions) and 0 <= now - attempt.intended_at < LAUNCH_STUCK_S:
            return Live(Reason.STARTING, "its screen is there, its shim has not started yet", now + 1.0)
    until = attempt.intended_at + LAUNCH_GRACE_S
    if attempt.intended_at <= now < until:
        return Live(Reason.STARTING, "starting", until)
    return Lost(f"no sign of it {LAUNCH_GRACE_S:.0f} s after its launch")


def _without_folder(attempt: AttemptRecord, view: HostView, job: Job | None, now: float) -> Finding:
    """Someone removed it, or the power failed before it was on the disk."""
    finding = _without_exit(attempt, view, job, now, "its attempt folder was removed, and with it how it ended")
    # a launch in the future tells of a clock that was set back, maybe over a reboot
    rebooted = view.booted_at is not None and not view.booted_at <= attempt.intended_at <= now
    if not rebooted or not isinstance(finding, Ended) or finding.status is JobStatus.COMPLETED:
        return finding
    message = "the host was rebooted soon after its launch, its attempt folder is lost"
    return Ended(JobStatus.FAILED_OTHER, Reason.HOST_REBOOTED, message, now)


def _vanished(attempt: AttemptRecord, facts: AttemptFacts, view: HostView, job: Job | None) -> Finding:
    """Gone without an exit record: the host or the shim died."""
    assert facts.started is not None
    ended_at = facts.log_at or facts.started.at
    setup_error = _setup_error(facts, None)
    if setup_error is not None:  # nothing of the user's code ran, so nothing else can have ended it
        return Ended(JobStatus.FAILED_OTHER, Reason.ENVIRONMENT_BROKEN, setup_error, ended_at)
    finding = _without_exit(attempt, view, job, ended_at, "its processes are gone and no exit code was recorded")
    if not isinstance(finding, Ended) or finding.status is JobStatus.COMPLETED:
        return finding
    if facts.started.payload.boot_id != view.boot_id:
        return Ended(JobStatus.FAILED_OTHER, Reason.HOST_REBOOTED, "the host was rebooted while it ran", ended_at)
    if attempt.kill_reason in ENDED_ON_PURPOSE:
        return _killed(attempt, facts, job, ended_at, None)
    from reconciler.planner.failure import is_out_of_memory  # its patterns take long to compile

    memory = is_out_of_memory(facts.log_tail)
    return (
        Ended(JobStatus.FAILED_OOM, memory, f"{finding.message}; its log ends out of memory", ended_at)
        if memory
        else finding
    )


def _without_exit(attempt: AttemptRecord, view: HostView, job: Job | None, at: float, message: str) -> Finding:
    """Over, and nothing tells how: its outputs decide."""
    outputs = view.outputs.get(attempt.job)
    wants = job is not None and bool(job.outputs)  # if not, what is known of outputs is of an earlier spec
    if wants and not isinstance(outputs, OutputFacts):
        return Unseen(Reason.OUTPUT_UNKNOWN, outputs.message if outputs else "its outputs were not looked at")
    if wants and isinstance(outputs, OutputFacts) and fresh(attempt, outputs):
        return Ended(JobStatus.COMPLETED, Reason.OUTPUT_FOUND, "exit code unknown, its outputs are there", at)
    return Ended(JobStatus.FAILED_OTHER, Reason.PAYLOAD_VANISHED, message, at)


def _exited(
    attempt: AttemptRecord, facts: AttemptFacts, view: HostView, job: Job | None, success: SuccessRule, now: float
) -> Finding:
    exited = facts.exited
    assert exited is not None
    if exited.lock_held is not None and facts.started is None:
        return _lock_held(exited.lock_held, exited.at)
    code = exited.code
    outputs = view.outputs.get(attempt.job)
    wants = job is not None and bool(job.outputs)
    hung = attempt.kill_reason is Reason.HUNG_TAIL
    outputs_count = code == 0 or hung or (success is SuccessRule.OUTPUT and attempt.kill_reason is None)
    if wants and outputs_count:
        if not isinstance(outputs, OutputFacts):
            return Unseen(Reason.OUTPUT_UNKNOWN, outputs.message if outputs else "its outputs were not looked at")
        if fresh(attempt, outputs):
            return _completed(attempt, code, exited.at)
    if attempt.kill_reason in ENDED_ON_PURPOSE:
        return _killed(attempt, facts, job, exited.at, code)
    if code == 0 and not wants:
        return _completed(attempt, code, exited.at)
    if code != 0:
        rebooted = facts.started is not None and facts.started.payload.boot_id != view.boot_id
        return _failed(facts, exited.at, code, rebooted=rebooted and attempt.kill_reason is None)
    if exited.at <= now < exited.at + OUTPUT_GRACE_S:
        return Live(Reason.RUNNING, "ended with exit code 0, its outputs are awaited", exited.at + OUTPUT_GRACE_S)
    return Ended(JobStatus.FAILED_OTHER, Reason.OUTPUT_MISSING, _missing(job, outputs), exited.at, code)


def _completed(attempt: AttemptRecord, code: int | None, at: float) -> Ended:
    if attempt.kill_reason is Reason.HUNG_TAIL:
        message = "its outputs were complete; it hung afterwards and was ended"
        return Ended(JobStatus.COMPLETED, Reason.HUNG_TAIL, message, at, code)
    if code != 0:
        return Ended(JobStatus.COMPLETED, Reason.OUTPUT_FOUND, f"its outputs are there (exit {code})", at, code)
    return Ended(JobStatus.COMPLETED, Reason.SUCCEEDED, "exit 0", at, code)


def _failed(facts: AttemptFacts, at: float, code: int, *, rebooted: bool) -> Ended:
    """`rebooted`: by the time anybody looked."""
    from reconciler.planner.failure import classify_failure, status_of  # its patterns take long to compile

    setup_error = _setup_error(facts, code)
    if setup_error is not None:
        return Ended(JobStatus.FAILED_OTHER, Reason.ENVIRONMENT_BROKEN, setup_error, at, code)
    assert facts.exited is not None
    reason, message = classify_failure(facts.exited, facts.log_tail)
    if reason is Reason.KILLED_BY_SIGNAL and rebooted and facts.exited.signal in SHUTDOWN_SIGNALS:
        reason, message = Reason.HOST_REBOOTED, f"the host went down while it ran (exit {code})"
    return Ended(status_of(reason), reason, message, at, code)


def _setup_error(facts: AttemptFacts, code: int | None) -> str | None:
    """Why its script did not come to the command; None where it did. A file server may show that file too late."""
    if facts.setup_error is not None:
        return facts.setup_error or "its environment could not be set up, and why cannot be read"
    last = facts.log_tail.rstrip().rpartition("\n")[2]
    told = code == SETUP_FAILED_EXIT and last.startswith(SETUP_FAILED_LINE)
    return last.removeprefix(SETUP_FAILED_LINE) if told else None


def _killed(attempt: AttemptRecord, facts: AttemptFacts, job: Job | None, at: float, code: int | None) -> Ended:
    from reconciler.planner.failure import status_of  # its patterns take long to compile

    reason = attempt.kill_reason
    assert reason is not None
    if reason is Reason.HUNG_TAIL and job is None:
        # no spec says now where its outputs are; that they were all there is why it was ended
        return _completed(attempt, code, at)
    messages = {
        Reason.STOPPED_BY_USER: "stopped at a user's request",
        Reason.HUNG_TAIL: "it hung after its outputs were complete, and they are gone now",
    }
    message = messages.get(reason, "it hung after running out of memory and was ended")
    return Ended(status_of(reason), reason, message, at, code)


def _lock_held(lock: str, at: float) -> Ended:
    if lock == "job":
        message = "an earlier attempt of this job still has processes running"
    else:
        message = f"another job holds {lock.replace('gpu:', 'GPU ')}"
    return Ended(JobStatus.FAILED_OTHER, Reason.LOCK_HELD, message, at)


def _missing(job: Job | None, outputs: OutputFacts | Unknown | None) -> str:
    assert job is not None
    if not isinstance(outputs, OutputFacts) or outputs.complete:
        return "exit 0, but its outputs are leftovers from before this attempt"
    missing = [p for p, print_ in zip(job.outputs, outputs.fingerprints, strict=False) if not print_]
    return f"exit 0, but no file matches {', '.join(missing)} in {job.cwd}"


def fresh(attempt: AttemptRecord, outputs: OutputFacts) -> bool:
    """The outputs are complete, and none of them is what was there before the attempt."""
    if not outputs.complete:
        return False
    before = attempt.outputs_before
    return all(print_ != (before[i] if i < len(before) else "") for i, print_ in enumerate(outputs.fingerprints))


def sessions_of(attempt: AttemptRecord, sessions: tuple[Session, ...]) -> tuple[Session, ...]:
    """The sessions with exactly the attempt's name (there may be two), and what dead ones left behind."""
    return tuple(s for s in sessions if s.name == attempt.session)


def live_sessions_of(attempt: AttemptRecord, sessions: tuple[Session, ...]) -> tuple[Session, ...]:
    """Those whose screen still runs."""
    return tuple(s for s in sessions_of(attempt, sessions) if s.state is not SessionState.DEAD)
