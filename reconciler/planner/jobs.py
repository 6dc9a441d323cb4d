"""Jobs without a live attempt: completed, stuck, waiting for a retry, or a candidate for launch."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import HostView, OutputFacts, PreconditionFacts, Unknown
from reconciler.model.ledger import AttemptRecord, JobRecord, Verdict
from reconciler.model.plan import Settle
from reconciler.model.spec import Job, Project
from reconciler.planner.backoff import INFRA_REASONS, counted_attempts
from reconciler.planner.draft import Draft
from reconciler.planner.limits import INFRA_DELAY_MAX_S, RELEASE_POLL_S, RETRY_JITTER


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that may start when there is room. `reason` says what makes it due."""

    job: Job
    record: JobRecord | None
    reason: Reason
    message: str


def review_job(draft: Draft, project: Project, job: Job, hosts: tuple[str, ...]) -> Candidate | None:
    """Say where a job without an open attempt stands; return it if it may start as far as its own record goes.

    `hosts` are those of its phase."""
    record = draft.ledger.jobs.get(job.key)
    if record is not None and record.completed is not None:
        _completed(draft, job, record, record.completed)
        return None
    if not job.cmd:
        draft.put(job, JobStatus.STUCK, Reason.NO_COMMAND, "no command: add cmd, or default_cmd for the project")
        return None
    if record is not None and record.stopped_by is not None:
        message = f"stopped by {record.stopped_by}; exq retry lifts that"
        draft.put(job, JobStatus.STUCK, Reason.STOPPED_BY_USER, message)
        return None
    if record is None or not record.attempts:
        return _never_tried(draft, job, record, hosts)
    return _tried(draft, project, job, record)


def _completed(draft: Draft, job: Job, record: JobRecord, verdict: Verdict) -> None:
    drift = record.generation != job.generation
    message = verdict.message
    if drift:
        message += "; its command changed in the specs since it ran, it is left as it is"
    last = record.last
    draft.put(job, JobStatus.COMPLETED, verdict.reason, message, attempt=last.number if last else 0, drift=drift)


def _never_tried(draft: Draft, job: Job, record: JobRecord | None, hosts: tuple[str, ...]) -> Candidate | None:
    there = draft.finished_on.get(job.key, ()) if job.outputs else ()
    host = next((host for host in hosts if host in there), None)
    if host is not None:
        view = draft.observed.hosts[host]
        outputs = view.outputs[job.key] if isinstance(view, HostView) else None
        assert isinstance(outputs, OutputFacts)
        message = f"its outputs were there before any attempt: {', '.join(outputs.paths[:2]) or job.outputs[0]}"
        verdict = Verdict(JobStatus.COMPLETED, Reason.OUTPUT_EXISTS, message, draft.now)
        draft.actions.append(_complete_without_attempt(job, verdict, host))
        draft.put(job, JobStatus.COMPLETED, Reason.OUTPUT_EXISTS, message)
        return None
    return Candidate(job, record, Reason.NEW_IN_SPEC, "new in spec")


def _complete_without_attempt(job: Job, verdict: Verdict, host: str) -> Settle:
    return Settle(
        kind=ActionKind.COMPLETE,
        job=job.key,
        attempt=0,
        reason=verdict.reason,
        message=verdict.message,
        host=host,
        verdict=verdict,
        generation=job.generation,
    )


def _tried(draft: Draft, project: Project, job: Job, record: JobRecord) -> Candidate | None:
    counted = counted_attempts(record, job.generation)
    if not counted:
        last = record.last
        assert last is not None
        if last.number <= record.retry_after:
            return Candidate(job, record, Reason.RETRY_REQUESTED, f"retry requested after attempt {last.number}")
        return Candidate(job, record, Reason.COMMAND_CHANGED, f"its command changed after attempt {last.number}")
    last = counted[-1]
    verdict = last.verdict
    if verdict is None:
        # Open, yet not among the open attempts: the ledger contradicts itself. Waiting is the safe side.
        draft.put(job, JobStatus.RUNNING, Reason.ATTEMPT_UNKNOWN, "its attempt is not tracked", attempt=last.number)
        return None
    if last.retry_at is None and verdict.status is JobStatus.COMPLETED:
        draft.put(job, JobStatus.COMPLETED, verdict.reason, verdict.message, attempt=last.number)
        return None
    if last.retry_at is None:
        draft.put(job, JobStatus.STUCK, verdict.reason, _stuck_message(record, counted), attempt=last.number)
        return None
    return _due(draft, project, job, record, last, verdict)


def _due(
    draft: Draft, project: Project, job: Job, record: JobRecord, last: AttemptRecord, verdict: Verdict
) -> Candidate | None:
    assert last.retry_at is not None
    wait_s = last.retry_at - draft.now
    longest_s = _longest_delay_s(project, verdict)
    # A clock set back must not turn two minutes into a day: no wait is longer than the policy allows.
    if wait_s > longest_s:
        draft.wake(last.retry_at - longest_s)  # if it has not started until then, it waits again
    elif wait_s > 0:
        draft.wake(last.retry_at)
        status = JobStatus.PENDING if verdict.reason in INFRA_REASONS else verdict.status
        message = f"{verdict.message} (attempt {last.number}); it is tried again after a delay"
        draft.put(job, status, verdict.reason, message, until=last.retry_at, attempt=last.number)
        return None
    return Candidate(job, record, Reason.REQUEUED, f"again after {verdict.reason} in attempt {last.number}")


def _longest_delay_s(project: Project, verdict: Verdict) -> float:
    if verdict.reason in INFRA_REASONS:
        longest_s = INFRA_DELAY_MAX_S
    elif verdict.status is JobStatus.FAILED_OOM:
        longest_s = project.oom_retry.delay_s
    else:
        longest_s = project.failure_retry.delay_s
    return longest_s * (1 + RETRY_JITTER) + 1.0


def _stuck_message(record: JobRecord, counted: tuple[AttemptRecord, ...]) -> str:
    last = counted[-1]
    assert last.verdict is not None
    tries = sum(1 for a in counted if a.verdict is not None and a.verdict.reason not in INFRA_REASONS)
    if tries < 2:
        return last.verdict.message
    return f"{last.verdict.message}, after {tries} attempts{_since(record, counted[0])}"


def _since(record: JobRecord, first: AttemptRecord) -> str:
    """From when on attempts count, where there were others before."""
    before = [attempt for attempt in record.attempts if attempt.number < first.number]
    if not before:
        return ""
    retried = before[-1].number <= record.retry_after
    return " since the last retry" if retried else " since its command changed"


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a job cannot start on a host. `wanted`: only because it has not been looked at there."""

    reason: Reason
    message: str
    wanted: bool = False


def blocked_by(draft: Draft, job: Job, host: str) -> Blocked | None:
    """What on a host keeps a job of an open phase from starting: its outputs or preconditions.

    What was known to be missing stays so until it is looked at again; a launch needs facts of this very look."""
    if not job.outputs and not job.preconditions:
        return None
    view = draft.view(host)
    assert isinstance(view, HostView)
    outputs = view.outputs.get(job.key)
    if job.outputs and isinstance(outputs, Unknown):
        draft.note_unknown(f"{job.key}: {outputs.message}; it is not launched")
        return Blocked(Reason.OUTPUT_UNKNOWN, outputs.message)
    checks = view.preconditions.get(job.key, ())
    unmet = _unmet(draft, job, checks)
    if unmet is not None:
        return unmet
    if job.key not in view.asked:
        return Blocked(Reason.OUTPUT_UNKNOWN, "its outputs and preconditions are looked at next", wanted=True)
    if len(checks) < len(job.preconditions) or (job.outputs and outputs is None):
        draft.wake(draft.now + RELEASE_POLL_S)
        return Blocked(Reason.PRECONDITION_UNKNOWN, "not all of its outputs and preconditions were looked at")
    return None


def _unmet(draft: Draft, job: Job, checks: tuple[PreconditionFacts | Unknown, ...]) -> Blocked | None:
    unmet = [check.message for check in checks if isinstance(check, PreconditionFacts) and not check.met]
    if unmet:
        return Blocked(Reason.PRECONDITION_NOT_MET, "; ".join(unmet))
    for check in checks:
        if isinstance(check, Unknown):
            draft.note_unknown(f"{job.key}: {check.message}; it is not launched")
            return Blocked(Reason.PRECONDITION_UNKNOWN, check.message)
    return None
