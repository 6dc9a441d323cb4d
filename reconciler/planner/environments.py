"""Environments that could not be set up on a host: what holds back the jobs that share one, and when it is tried again.

The attempts themselves tell. One that could not be set up holds back all jobs that would be set up alike there; after
a delay one of them is started to see, and once one has got past its setup, all may. Nothing is remembered besides the
attempts, so another controller, or a ledger that was rebuilt, comes to the same answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from reconciler.model.enums import Reason
from reconciler.model.facts import AttemptFacts, HostView
from reconciler.model.ledger import AttemptRecord, Verdict
from reconciler.model.plan import Settle
from reconciler.model.setup import Setup, broken_part, setups_of
from reconciler.model.spec import Job
from reconciler.planner.backoff import counted_attempts
from reconciler.planner.draft import Draft, Refusal
from reconciler.planner.limits import CLOCK_DOUBT_S, ENVIRONMENT_RETRY_MAX_S, ENVIRONMENT_RETRY_S, SETUP_MAX_S

Spot = tuple[str, Setup]
"""A host, and what is set up there."""

_NOTHING_SEEN = frozenset(
    {
        Reason.ENVIRONMENT_BROKEN,
        Reason.LAUNCH_LOST,
        Reason.LOCK_HELD,
        Reason.HOST_REBOOTED,
        Reason.HOST_FORGOTTEN,
        Reason.PAYLOAD_VANISHED,
        Reason.STOPPED_BY_USER,
    }
)
"""Ends of attempts that may not have got past their setup."""


@dataclass(slots=True)
class Failure:
    """What could not be set up: by whom it was tried, and how it stands."""

    job: str
    number: int
    message: str
    launched_at: float
    ended_at: float
    tries: list[tuple[float, float]] = field(default_factory=list)
    """When it was tried in vain, and when that was known."""
    worked_at: float = float("-inf")
    """When the newest attempt was launched that got past its setup."""
    trial: str | None = None
    """The job that is being started to see."""
    again_at: float = 0.0
    """When it may be tried again."""
    is_ahead: bool = False
    """It is of a time that is still to come: the clock was set back since."""

    @property
    def first_at(self) -> float:
        """When it was first tried in vain."""
        return min(launched_at for launched_at, _ in self.tries)

    @property
    def stands(self) -> bool:
        """Nothing that was launched with it or later has got past its setup."""
        return self.launched_at > self.worked_at


def setups_in_vain(draft: Draft, job: Job, hosts: Iterable[str], *, asked_for: bool) -> dict[str, Refusal | None]:
    """The hosts that a job could not be set up on, each with why it has to wait; None: it may be tried again.

    `asked_for`: a person has just asked for that."""
    failures = failures_of(draft)
    found: dict[str, Refusal | None] = {}
    for host in hosts if failures else ():
        here = [failures[spot] for spot in _spots(job, host) if spot in failures]
        if here:
            refusals = (_refusal(draft, job, failure, asked_for=asked_for) for failure in here)
            found[host] = next((refusal for refusal in refusals if refusal is not None), None)
    return found


def _refusal(draft: Draft, job: Job, failure: Failure, *, asked_for: bool) -> Refusal | None:
    if failure.trial is not None:
        message = f"{failure.message}; {failure.trial} is started to see whether it is mended"
        return Refusal(Reason.ENVIRONMENT_BROKEN, message, by_a_person=True)
    wait_s = failure.again_at - draft.now
    if asked_for or wait_s <= 0:
        return None
    if wait_s > ENVIRONMENT_RETRY_MAX_S:  # a clock that was set back must not make the wait longer
        draft.wake(failure.again_at - ENVIRONMENT_RETRY_MAX_S)  # if it has not started until then, it waits again
        return None
    draft.wake(failure.again_at)
    attempt = f"attempt {failure.number}" + ("" if failure.job == job.key else f" of {failure.job}")
    return Refusal(Reason.ENVIRONMENT_BROKEN, f"{failure.message} ({attempt})", failure.again_at, by_a_person=True)


def note_launch(draft: Draft, job: Job, host: str) -> None:
    """The job is started there. Where its setup has failed, the others wait to see what comes of it."""
    failures = failures_of(draft)
    for spot in _spots(job, host) if failures else ():
        if spot in failures:
            failures[spot].trial = job.key


def is_trial(draft: Draft, job: str) -> bool:
    """It is started to see whether an environment is mended."""
    return any(failure.trial == job for failure in failures_of(draft).values())


def failures_of(draft: Draft) -> dict[Spot, Failure]:
    """All that could not be set up and still stands, by host and part; found once for each plan."""
    if draft.failures is None:
        draft.failures = _failures(draft)
    return draft.failures


def _failures(draft: Draft) -> dict[Spot, Failure]:
    ends = {action.path: action.verdict for action in draft.actions if isinstance(action, Settle) and action.verdict}
    if not draft.ledger.set_up_in_vain and not any(map(_is_broken, ends.values())):
        return {}
    found: dict[Spot, Failure] = {}
    ahead: dict[Spot, Failure] = {}
    for job, attempt, verdict in _failed(draft, ends):
        # of a time that is still to come: the clock was set back since, and until then nothing is reckoned from it
        counts_at = attempt.intended_at - CLOCK_DOUBT_S
        among = found if counts_at <= draft.now else ahead
        if among is ahead:
            draft.wake(counts_at)
        _note(among, (attempt.host, broken_part(job, verdict.message)), job, attempt, verdict)
    for failure in ahead.values():
        failure.is_ahead = True
    found = {**ahead, **found}
    _see_what_works(draft, ends, found)
    standing = {spot: failure for spot, failure in found.items() if failure.stands}
    for (host, _), failure in standing.items():
        failure.again_at = failure.ended_at + _delay_s(failure)
        draft.alert(f"{failure.job} could not be set up on {host}: {failure.message}")
    return standing


def _note(found: dict[Spot, Failure], spot: Spot, job: Job, attempt: AttemptRecord, verdict: Verdict) -> None:
    known = found.get(spot)
    if known is None or attempt.intended_at > known.launched_at:
        tries = known.tries if known is not None else []
        known = Failure(job.key, attempt.number, verdict.message, attempt.intended_at, verdict.at, tries)
        found[spot] = known
    known.tries.append((attempt.intended_at, verdict.at))
    known.ended_at = max(known.ended_at, verdict.at)


def _delay_s(failure: Failure) -> float:
    """Longer each time. Attempts that were under way together count as one time."""
    rounds, known_at = 0, float("-inf")
    for launched_at, ended_at in sorted(failure.tries):
        if launched_at > failure.worked_at and launched_at >= known_at:
            rounds += 1
            known_at = ended_at
    return min(ENVIRONMENT_RETRY_MAX_S, ENVIRONMENT_RETRY_S * 2.0 ** min(rounds - 1, 30))


def _failed(draft: Draft, ends: dict[str, Verdict]) -> Iterator[tuple[Job, AttemptRecord, Verdict]]:
    """Attempts of jobs as they are asked for now that could not be set up, and that no retry has put aside."""
    ending = (path.rpartition("/")[0] for path, verdict in ends.items() if _is_broken(verdict))
    for key in sorted({*draft.ledger.set_up_in_vain, *ending}):
        for job, attempt, verdict in _counted(draft, key, ends):
            if verdict is not None and _is_broken(verdict):
                yield job, attempt, verdict


def _is_broken(verdict: Verdict) -> bool:
    return verdict.reason is Reason.ENVIRONMENT_BROKEN


def _counted(draft: Draft, key: str, ends: dict[str, Verdict]) -> Iterator[tuple[Job, AttemptRecord, Verdict | None]]:
    """The attempts of a job as it is asked for now, each with how it ended."""
    record, job = draft.ledger.jobs.get(key), draft.desired.index.get(key)
    if record is not None and record.attempts and job is not None:
        for attempt in counted_attempts(record, job.generation):
            yield job, attempt, attempt.verdict or ends.get(attempt.path)


def _see_what_works(draft: Draft, ends: dict[str, Verdict], found: dict[Spot, Failure]) -> None:
    """For each failure, whether something has got past that setup since, or is being tried.

    All attempts may tell. Those that cannot are passed over quickly, and one that tells enough ends the search."""
    standing = dict(found)
    for key in draft.ledger.jobs if standing else ():
        for job, attempt, verdict in _counted(draft, key, ends):
            if all(attempt.host != host or attempt.intended_at < f.first_at for (host, _), f in standing.items()):
                continue
            for spot in _spots(job, attempt.host):
                if spot in standing:
                    _tell(draft, standing[spot], job, attempt, verdict)
        standing = {spot: failure for spot, failure in standing.items() if failure.stands}
        if not standing:
            return


def _tell(draft: Draft, failure: Failure, job: Job, attempt: AttemptRecord, verdict: Verdict | None) -> None:
    if attempt.intended_at > draft.now and not failure.is_ahead:
        draft.wake(attempt.intended_at)  # it began before the clock was set back, so it is older than it seems
        return
    if _got_past(draft, attempt, verdict):
        failure.worked_at = max(failure.worked_at, attempt.intended_at)
    elif verdict is None:
        tells_at = attempt.intended_at + SETUP_MAX_S
        draft.wake(tells_at if tells_at > draft.now else None)
        if attempt.intended_at > failure.launched_at:
            failure.trial = min(failure.trial or job.key, job.key)


def _got_past(draft: Draft, attempt: AttemptRecord, verdict: Verdict | None) -> bool:
    """Its command ran, as far as can be said: it ended of something else, or has been running for long enough."""
    if verdict is not None:
        return verdict.reason not in _NOTHING_SEEN
    view = draft.view(attempt.host)
    facts = view.attempts.get(attempt.path) if isinstance(view, HostView) else None
    if not isinstance(facts, AttemptFacts) or facts.started is None or not facts.payload_alive:
        return False
    return draft.now - attempt.intended_at >= SETUP_MAX_S


def _spots(job: Job, host: str) -> Iterable[Spot]:
    return ((host, part) for part in setups_of(job))
