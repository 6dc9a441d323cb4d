"""Open attempts: what became of each, and what has to be done about it."""

from __future__ import annotations

from reconciler.model.enums import ActionKind, JobStatus, Reason, SuccessRule
from reconciler.model.facts import AttemptFacts, HostView, Unknown
from reconciler.model.ledger import AttemptRecord, Verdict
from reconciler.model.names import ANALYSIS_ID
from reconciler.model.plan import JobState, Settle
from reconciler.model.spec import Job, Project
from reconciler.planner.adopt import take_over
from reconciler.planner.backoff import INFRA_REASONS, counted_attempts, retry_at
from reconciler.planner.draft import Draft
from reconciler.planner.limits import REVOKE_RETRY_S
from reconciler.planner.outcome import Ended, Finding, Live, Lost, Unseen, read_attempt
from reconciler.planner.reap import reap_live
from reconciler.planner.release import occupy, release


def review_attempts(draft: Draft) -> None:
    """Go through all open attempts, in a fixed order."""
    for path in sorted(draft.ledger.open_attempts):
        attempt = draft.ledger.open_attempts[path]
        view = draft.view(attempt.host)
        if isinstance(view, Unknown):
            _on_unknown_host(draft, attempt, view)
        else:
            _review(draft, attempt, view)


def _on_unknown_host(draft: Draft, attempt: AttemptRecord, view: Unknown) -> None:
    """It keeps all it has until the host answers, or until the user says `exq forget-host`."""
    if not view.quiet:
        _unseen(draft, attempt, Unseen(Reason.HOST_UNKNOWN, f"{attempt.host}: {view.message}"))
        return
    occupy(draft, attempt)
    if attempt.verdict is None:
        _state(draft, attempt, JobStatus.RUNNING, Reason.RUNNING, "running when its host was last looked at")


def _review(draft: Draft, attempt: AttemptRecord, view: HostView) -> None:
    if attempt.verdict is not None:
        release(draft, attempt, view, attempt.ended_at or attempt.verdict.at)
        return
    facts = view.attempts.get(attempt.path)
    if isinstance(facts, AttemptFacts) and facts.another:
        take_over(draft, attempt)
        return
    job = draft.desired.index.get(attempt.job)
    project = draft.project_of(attempt.job)
    success = project.success if project else SuccessRule.EXIT_AND_OUTPUT
    finding = read_attempt(attempt, view, job, success, draft.now)
    if isinstance(finding, Unseen):
        _unseen(draft, attempt, finding)
    elif isinstance(finding, Live):
        _live(draft, attempt, view, job, finding)
    else:
        _over(draft, attempt, view, job, project, finding)


def _unseen(draft: Draft, attempt: AttemptRecord, finding: Unseen) -> None:
    draft.note_unknown(f"{attempt.path}: {finding.message}; it is left alone")
    occupy(draft, attempt)
    if attempt.verdict is None:
        _state(draft, attempt, JobStatus.RUNNING, finding.reason, finding.message)


def _live(draft: Draft, attempt: AttemptRecord, view: HostView, job: Job | None, finding: Live) -> None:
    occupy(draft, attempt)
    draft.wake(finding.again_at)
    reason, message = finding.reason, finding.message
    if job is None:
        reason, message = Reason.ORPHAN, "no spec asks for it any more; it is left alone"
    elif job.generation != attempt.generation:
        message += "; its command changed in the specs since it was launched, it is left alone"
    kill = reap_live(draft, attempt, view, job)
    if kill is not None:
        draft.actions.append(kill)
    if kill is not None or attempt.kill_at is not None:
        why = kill.reason if kill is not None else attempt.kill_reason
        reason, message = Reason.STOPPING, f"being ended ({why})"
    _state(draft, attempt, JobStatus.RUNNING, reason, message)


def _over(
    draft: Draft,
    attempt: AttemptRecord,
    view: HostView,
    job: Job | None,
    project: Project | None,
    finding: Finding,
) -> None:
    if isinstance(finding, Lost):
        ended = Ended(JobStatus.FAILED_OTHER, Reason.LAUNCH_LOST, finding.message, draft.now)
    else:
        assert isinstance(finding, Ended)
        ended = finding
    action = _settle(draft, attempt, view, job, project, ended, revoke=isinstance(finding, Lost))
    draft.actions.append(action)
    if action.revoke:
        occupy(draft, attempt)
        draft.wake(draft.now + REVOKE_RETRY_S)
    else:
        release(draft, attempt, view, ended.at)
    _state_after(draft, attempt, action)


def _settle(
    draft: Draft,
    attempt: AttemptRecord,
    view: HostView,
    job: Job | None,
    project: Project | None,
    ended: Ended,
    *,
    revoke: bool,
) -> Settle:
    verdict = Verdict(ended.status, ended.reason, ended.message, ended.at)
    again = None
    if ended.status is not JobStatus.COMPLETED and job is not None and project is not None:
        again = _retry_at(draft, attempt, verdict, job, project)
    elif ended.reason in INFRA_REASONS:
        again = ended.at  # no spec asks for it now; when one does again, it is due
    kind = ActionKind.COMPLETE if ended.status is JobStatus.COMPLETED else ActionKind.FAIL
    if again is not None and job is not None:
        kind = ActionKind.REQUEUE
    facts = view.attempts.get(attempt.path)
    started = facts.started if isinstance(facts, AttemptFacts) else None
    return Settle(
        kind=kind,
        job=attempt.job,
        attempt=attempt.number,
        reason=ended.reason,
        message=ended.message,
        host=attempt.host,
        gpus=attempt.gpus,
        gpu_indices=attempt.gpu_indices,
        verdict=verdict,
        retry_at=again,
        revoke=revoke,
        generation=attempt.generation,
        started_at=started.at if started else attempt.started_at,
        ended_at=ended.at,
        exit_code=ended.exit_code,
        pid=started.payload.pid if started else attempt.pid,
    )


def _retry_at(draft: Draft, attempt: AttemptRecord, verdict: Verdict, job: Job, project: Project) -> float | None:
    record = draft.ledger.jobs.get(attempt.job)
    if record is not None and record.stopped_by is not None:
        return None
    retry_asked = record is not None and attempt.number <= record.retry_after
    if retry_asked or attempt.generation not in (job.generation, ""):
        return verdict.at  # whatever came of this one, what is asked for now has not been tried
    earlier = [a for a in counted_attempts(record, job.generation) if a.number < attempt.number]
    return retry_at(attempt.path, verdict, earlier, project.oom_retry, project.failure_retry)


def _state_after(draft: Draft, attempt: AttemptRecord, action: Settle) -> None:
    assert action.verdict is not None
    status = action.verdict.status
    if action.kind is ActionKind.FAIL:
        status = JobStatus.STUCK
    message = action.message
    if action.reason in INFRA_REASONS and action.retry_at is not None:
        status = JobStatus.PENDING
    _state(draft, attempt, status, action.reason, message, action.retry_at)
    draft.wake(action.retry_at)
    asked_for = action.reason is Reason.STOPPED_BY_USER
    if action.kind is ActionKind.FAIL and attempt.job in draft.desired.index and not asked_for:
        draft.alerts.append(f"{attempt.job} is stuck: {message}")


def _state(
    draft: Draft,
    attempt: AttemptRecord,
    status: JobStatus,
    reason: Reason,
    message: str,
    until: float | None = None,
) -> None:
    job = draft.desired.index.get(attempt.job)
    if job is not None:
        drift = job.generation != attempt.generation
        draft.put(job, status, reason, message, until=until, attempt=attempt.number, drift=drift)
        return
    project, job_id = attempt.job.split("/", 1)
    if job_id == ANALYSIS_ID:
        return
    draft.states[attempt.job] = JobState(attempt.job, project, "", status, reason, message, until, attempt.number)
