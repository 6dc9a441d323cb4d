"""The chain of reasons behind a job's state, a sentence a link. What each reason adds is in one small function."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import PreconditionFacts, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST
from reconciler.planner.backoff import counted_attempts
from reconciler.view import look
from reconciler.view.estimate import job_left_words, typical_s
from reconciler.view.hosts import heard_words
from reconciler.view.provenance import commit_words
from reconciler.view.times import clock, short_clock, spoken
from reconciler.view.transfers import brought_words, inputs_words
from reconciler.view.why_room import HOSTS_NAMED, JOBS_NAMED, room_words, running_names
from reconciler.view.words import COMMIT_REASONS, UNKNOWN_REASONS, count, gpu_list, host_once, on_place, sentence, some

ALL_NAMED = 4
"""A phase with at most this many jobs is told job by job, the completed ones too."""

Links = list[str]


def chain_of(snapshot: Snapshot, state: JobState) -> Links:
    """From what is nearest to what comes after it."""
    links = _by_reason(state)(snapshot, state)
    held = look.ended_but_held(snapshot, state.job)
    links += [words for words in held if words.partition(", ")[2] not in state.message]
    links += commit_words(snapshot, state)
    if state.drift and "changed" not in state.message:
        links.append("its command changed in the specs since it ran; it is left alone")
    if look.is_orphan(snapshot, state):
        links.append("no spec asks for it any more; it is left alone")
    return links


def _by_reason(state: JobState) -> Callable[[Snapshot, JobState], Links]:
    if state.status is JobStatus.COMPLETED:
        return _completed
    if state.status is JobStatus.RUNNING:
        return _running
    if state.status is JobStatus.STUCK:
        return _plain if state.reason in COMMIT_REASONS else _stuck
    if state.until is not None:
        return _delayed
    if state.reason in UNKNOWN_REASONS:
        return _unknown
    return _WAITING.get(state.reason, _plain)


def _plain(snapshot: Snapshot, state: JobState) -> Links:
    return [sentence(state.message, state.reason)]


def _phase_closed(snapshot: Snapshot, state: JobState) -> Links:
    phases = {phase.phase: phase for phase in snapshot.plan.phases if phase.project == state.project}
    mine = phases.get(state.phase)
    links: Links = []
    for name in mine.depends_on if mine else ():
        need = phases.get(name)
        if need is not None and look.done(need) < look.total(need):
            links += _need(snapshot, need, phases)
    return [*(links or [sentence(state.message, state.reason)]), *_then_room(snapshot, state)]


def _need(snapshot: Snapshot, need: PhaseState, phases: dict[str, PhaseState]) -> Links:
    """The jobs of a needed phase, and one level further what that phase itself waits for."""
    jobs = look.jobs_of(snapshot, need.project, need.phase)
    typical = typical_s(snapshot, jobs)
    unfinished = [state for state in jobs if state.status is not JobStatus.COMPLETED]
    order = {JobStatus.STUCK: 0, JobStatus.RUNNING: 1}
    unfinished.sort(key=lambda state: order.get(state.status, 2))
    named = jobs if len(jobs) <= ALL_NAMED else unfinished[:JOBS_NAMED]
    words = [_job_words(snapshot, state, typical) for state in named]
    if len(jobs) > ALL_NAMED:
        words.insert(0, f"{look.done(need):,} of {look.total(need):,} completed")
        if len(unfinished) > len(named):
            words.append(f"and {len(unfinished) - len(named):,} more")
    links = [f"needs {need.phase}: {', '.join(words)}"]
    for name in () if need.open else need.depends_on:
        further = phases.get(name)
        if further is not None and look.done(further) < look.total(further):
            done = f"{look.done(further):,} of {look.total(further):,} completed"
            links.append(f"which needs {name}: {done}{_stuck_words(further)}")
    return links


def _stuck_words(phase: PhaseState) -> str:
    stuck = phase.counts.get(JobStatus.STUCK, 0)
    return f", {stuck:,} stuck" if stuck else ""


def _job_words(snapshot: Snapshot, state: JobState, typical: float | None) -> str:
    """One job in a list: `t_N512 running on GPU 3 since 11:58 (about 21 min left)`."""
    name = state.job.partition("/")[2]
    attempt = look.record_of(snapshot, state.job).last
    if state.status is JobStatus.COMPLETED:
        at = look.completed_at(snapshot, state.job)
        return f"{name} completed" + (f" {short_clock(at, snapshot.now)}" if at is not None else "")
    if state.status is JobStatus.RUNNING and attempt is not None:
        start = look.started_at(snapshot, attempt)
        left = job_left_words(snapshot, state, typical) if start is not None else ""
        since = f" since {short_clock(start, snapshot.now)}" if start is not None else ""
        remains = f" ({left})" if left else ""
        where = on_place(look.host_shown(snapshot, state.job, attempt.host), attempt.gpu_indices)
        return f"{name} running{where}{since}{remains}"
    until = f" until {clock(state.until, snapshot.now)}" if state.until and state.status is not JobStatus.STUCK else ""
    return f"{name} {state.status}{until} ({sentence(state.message, state.reason)})"


def _then_room(snapshot: Snapshot, state: JobState) -> Links:
    """What it takes once nothing else is in the way: a GPU, or a slot."""
    words = room_words(snapshot, state)
    return [f"then {words}"] if words else []


def _no_room(snapshot: Snapshot, state: JobState) -> Links:
    """No slot or GPU: who holds them, and how many jobs are due before it."""
    links = [sentence(state.message, state.reason)]
    if state.reason is Reason.NO_FREE_SLOT:
        links[0] += f": {running_names(snapshot, state.project)}" if ";" not in links[0] else ""
    elif "GPU" not in state.message:
        links.append(f"needs {room_words(snapshot, state)}")
    before = 0
    for other in look.jobs_of(snapshot, state.project):
        if other.job == state.job:
            break
        before += other.status is JobStatus.PENDING and other.reason is state.reason
    if before:
        come = "waits for the same comes" if before == 1 else "wait for the same come"
        links.append(f"{count(before, 'job')} that {come} first")
    return links


def _preconditions(snapshot: Snapshot, state: JobState) -> Links:
    job = snapshot.desired.index.get(state.job)
    by_link: dict[str, list[str]] = {}
    hosts = look.possible_hosts(snapshot, state.job)
    for host in hosts:
        view = look.view_of(snapshot, host)
        facts = view.preconditions.get(state.job, ()) if view else ()
        for condition, fact in zip(job.preconditions if job else (), facts, strict=False):
            words = _unmet_words(fact)
            if words:
                by_link.setdefault(f"{condition.kind} {condition.subject}: {words}", []).append(host)
    everywhere = [link for link, on in by_link.items() if len(on) == len(hosts)]
    somewhere = [f"{some(on, HOSTS_NAMED)}: {link}" for link, on in by_link.items() if len(on) < len(hosts)]
    links = [*everywhere, *somewhere] or [sentence(state.message, state.reason)]
    return [*links, *_then_room(snapshot, state)]


def _unmet_words(fact: PreconditionFacts | Unknown) -> str:
    """What is wrong with a precondition; empty where it holds."""
    if not isinstance(fact, PreconditionFacts):
        return f"not known ({fact.message})"
    return "" if fact.met else fact.message or "not met"


def _inputs(snapshot: Snapshot, state: JobState) -> Links:
    """Outputs that it needs are on another host."""
    return [*(inputs_words(snapshot, state) or [sentence(state.message, state.reason)]), *_then_room(snapshot, state)]


def _unknown(snapshot: Snapshot, state: JobState) -> Links:
    """What got no answer, as far as this job depends on it, and once."""
    hosts = look.possible_hosts(snapshot, state.job) or (look.host_of(snapshot, state.job),)
    subjects = ((words.partition(":")[0], words) for words in snapshot.plan.unknown)
    ours = (state.job, *hosts)
    noted = [host_once(words) for what, words in subjects if what in ours or what.startswith(f"{state.job}/")]
    message = sentence(state.message, state.reason)
    heard = [words for host in hosts for words in _heard(snapshot, host)]
    if any(message in words for words in noted) or len(noted) > 1:
        return [*noted, *heard]
    return [message, *noted, *heard, "nothing is done about it until that is known again"]


def _heard(snapshot: Snapshot, host: str | None) -> Links:
    """When a host that does not answer was last heard of."""
    heard = heard_words(snapshot, host) if host is not None and look.view_of(snapshot, host) is None else ""
    return [f"{host} was {heard}"] if heard else []


def _delayed(snapshot: Snapshot, state: JobState) -> Links:
    assert state.until is not None
    wait = spoken(max(0.0, state.until - snapshot.now))
    when = f"next try at {clock(state.until, snapshot.now)} (in {wait})"
    return [sentence(state.message, state.reason), f"{when}{_tries(snapshot, state)}", *_then_room(snapshot, state)]


def _tries(snapshot: Snapshot, state: JobState) -> str:
    """`; 2 of 3 attempts used`, by the policy for this kind of failure."""
    project = snapshot.desired.projects.get(state.project)
    job = snapshot.desired.index.get(state.job)
    if project is None or job is None:
        return ""
    policy = project.oom_retry if state.status is JobStatus.FAILED_OOM else project.failure_retry
    counted = counted_attempts(look.record_of(snapshot, state.job), job.generation)
    used = sum(attempt.verdict is not None and attempt.verdict.status is state.status for attempt in counted)
    return f"; {used} of {policy.max_attempts} attempts used" if used else ""


def _stuck(snapshot: Snapshot, state: JobState) -> Links:
    attempt = look.record_of(snapshot, state.job).last
    code = attempt.exit_code if attempt else None
    message = sentence(state.message, state.reason)
    links = [message if code is None or f"exit {code}" in message else f"{message} (exit code {code})"]
    if attempt is not None and state.reason is not Reason.STOPPED_BY_USER:
        links.append(f"its log: {_log_place(snapshot, attempt)}, or exq logs {look.short_name(snapshot, state.job)}")
    if state.until is not None:
        links.append(f"a running loop looks whether that is mended at {clock(state.until, snapshot.now)}")
    return links


def _log_place(snapshot: Snapshot, attempt: AttemptRecord) -> str:
    """Its file; of another machine, that one's name too."""
    view = look.view_of(snapshot, attempt.host)
    below = f"attempts/{attempt.path}/log"
    host = "" if attempt.host == LOCAL_HOST else f" on {attempt.host}"
    return f"{view.state}/{below}{host}" if view is not None and view.state else f"{below} in the state folder{host}"


def _running(snapshot: Snapshot, state: JobState) -> Links:
    attempt = look.record_of(snapshot, state.job).last
    links = [] if state.reason is Reason.RUNNING and not state.drift else [sentence(state.message, state.reason)]
    if attempt is None:
        return links
    start, pid = look.started_at(snapshot, attempt), look.payload_pid(snapshot, attempt)
    parts = [f"attempt {attempt.number} on {attempt.host}", gpu_list(attempt.gpu_indices)]
    parts += [f"pid {pid}" if pid else "", f"screen {attempt.session}" if attempt.session else "no screen"]
    links.append(", ".join(part for part in parts if part))
    if state.reason is Reason.HOST_UNKNOWN:
        links += [*_heard(snapshot, attempt.host), _kept_words(attempt.host)]
    if start is None:
        return links
    typical = typical_s(snapshot, look.jobs_of(snapshot, state.project, state.phase))
    left = job_left_words(snapshot, state, typical)
    age = f"since {clock(start, snapshot.now)} ({spoken(snapshot.now - start)})"
    return [*links, f"{age}, {left}" if left else age]


def _kept_words(host: str) -> str:
    return f"it may still run: it is left alone until {host} answers, or until it is given up (exq forget-host {host})"


def _completed(snapshot: Snapshot, state: JobState) -> Links:
    at = look.completed_at(snapshot, state.job)
    when = f"completed at {clock(at, snapshot.now)}: " if at is not None else ""
    return [f"{when}{sentence(state.message, state.reason)}", *brought_words(snapshot, state.job)]


_WAITING: dict[Reason, Callable[[Snapshot, JobState], Links]] = {
    Reason.PHASE_NOT_READY: _phase_closed,
    Reason.NEEDS_STUCK: _phase_closed,
    Reason.PRECONDITION_NOT_MET: _preconditions,
    Reason.NO_FREE_GPU: _no_room,
    Reason.NO_FREE_SLOT: _no_room,
    Reason.INPUTS_ELSEWHERE: _inputs,
}
