"""One request to one host, and its answer as facts. What was not asked for keeps its last known value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.host.reply import HostAgent, Reply, send
from reconciler.model.facts import HostView, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.needs import Needs
from reconciler.model.secrets import secret_values, without
from reconciler.model.spec import Job
from reconciler.parse.host import parse_host

CLOCK_DOUBT_S = 1.0
"""Clocks that differ by less count as one: a reply does not tell when exactly it was made."""

_QUOTING = ("log_tail", "setup_error", "launch_error", "message", "unknown")
"""Facts that quote what a program said."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A host that was asked for `needs` at `at`, by the loop's clock; the reply may be on its way."""

    host: str
    needs: Needs
    at: float
    reply: Reply
    waited: bool = False
    """A look has waited for it in vain: it comes when it comes."""


def ask(agent: HostAgent, host: str, needs: Needs, now: float) -> Asked:
    """Ask a host for `needs`, without waiting where its agent can do that."""
    return Asked(host, needs, now, send(agent, probe_request(needs)))


def view_of(
    asked: Asked,
    reply: dict[str, Any],
    now: float,
    previous: HostView | None,
    jobs: Mapping[str, Job] | None = None,
    *,
    remote: bool = False,
) -> HostView | Unknown:
    """The reply as a view, at `now`. Unknown when the host gave no answer at all.

    What was not asked for keeps its value of the `previous` view. A `remote` host has a clock of its own: its times
    are turned into the loop's. What `jobs` (by key) have in variables with secret names is taken out of what the host
    quotes from their programs: facts become messages, and those the audit trail."""
    needs = asked.needs
    if "error" in reply:
        since, again_at = (_time(reply.get(name)) for name in ("last_answer_at", "next_try_at"))
        return Unknown(str(reply["error"]), since=since, again_at=again_at)
    _hide_secrets(reply, needs, jobs or {})
    view = parse_host(reply, asked.host, _clock_ahead_s(reply, asked.at, now, previous) if remote else 0.0)
    if isinstance(view, Unknown):
        return view
    if remote:
        view = replace(view, round_trip_s=max(0.0, now - asked.at))
    if previous is None:
        return replace(view, asked=_asked(needs))
    return _with_last_known(view, needs, previous)


def _time(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _clock_ahead_s(reply: dict[str, Any], asked_at: float, now: float, previous: HostView | None) -> float:
    """How far the host's clock is ahead of the loop's; kept while it fits, so that times do not jitter."""
    there = reply.get("now")
    if not isinstance(there, int | float):
        return 0.0
    ahead_s = float(there) - (asked_at + now) / 2
    doubt_s = CLOCK_DOUBT_S + max(0.0, now - asked_at)
    before_s = previous.clock_ahead_s if previous is not None else 0.0
    return before_s if abs(ahead_s - before_s) <= doubt_s else ahead_s


def _hide_secrets(reply: dict[str, Any], needs: Needs, jobs: Mapping[str, Job]) -> None:
    """Whatever shape the reply has: judging that is the parsers' work."""
    attempts, preconditions = reply.get("attempts"), reply.get("preconditions")
    for path, facts in attempts.items() if isinstance(attempts, dict) else ():
        job = jobs.get(path.rpartition("/")[0])
        if job is not None:
            _hide(facts, secret_values(job.env))
    for key, answers in preconditions.items() if isinstance(preconditions, dict) else ():
        values = secret_values(needs.preconditions[key].env) if key in needs.preconditions else ()
        for answer in answers if values and isinstance(answers, list) else ():
            _hide(answer, values)


def _hide(facts: Any, values: tuple[str, ...]) -> None:
    for name in _QUOTING if values and isinstance(facts, dict) else ():
        if isinstance(facts.get(name), str):
            facts[name] = without(facts[name], values)


def _asked(needs: Needs) -> frozenset[str]:
    """The jobs that were looked at in full: outputs and preconditions, as far as they have them."""
    both = {**needs.outputs, **needs.preconditions}
    return frozenset(
        key
        for key, job in both.items()
        if (key in needs.outputs or not job.outputs) and (key in needs.preconditions or not job.preconditions)
    )


def probe_request(needs: Needs) -> dict[str, Any]:
    """The agent's words for what the planner wants to know."""
    return {
        "op": "probe",
        "attempts": [
            {"path": need.path, "tail": need.tail, "scan": need.scan, "meant": _meant(need.meant)}
            for need in needs.attempts
        ],
        "outputs": {key: {"cwd": job.cwd, "patterns": list(job.outputs)} for key, job in needs.outputs.items()},
        "preconditions": {key: _preconditions(job) for key, job in needs.preconditions.items()},
        "sessions": needs.sessions,
        "gpus": needs.gpus,
        "disk": needs.disk,
        "strays": needs.strays,
        **({"index": list(needs.index)} if needs.index else {}),
        **({"versions_of": needs.versions_of} if needs.versions_of else {}),
        **({"code": {key: list(wanted) for key, wanted in needs.code.items()}} if needs.code else {}),
        **({"snapshots": {key: list(wanted) for key, wanted in needs.snapshots.items()}} if needs.snapshots else {}),
    }


def _meant(record: AttemptRecord | None) -> dict[str, object] | None:
    """What `intent.json` says of who meant to start an attempt, as far as it tells launches apart."""
    if record is None:
        return None
    return {"intended_at": record.intended_at, "daemon": record.daemon, "generation": record.generation}


def _preconditions(job: Job) -> dict[str, Any]:
    checks = [[str(condition.kind), condition.subject] for condition in job.preconditions]
    return {"cwd": job.cwd, "env": dict(job.env), "checks": checks}


def _with_last_known(view: HostView, needs: Needs, previous: HostView) -> HostView:
    sessions = view.sessions
    if not needs.sessions:
        # Old listings say nothing about now, but a failed one still forbids what depends on it.
        sessions = previous.sessions if isinstance(previous.sessions, Unknown) else None
    return replace(
        view,
        asked=_asked(needs),
        sessions=sessions,
        gpus=view.gpus if needs.gpus else previous.gpus,
        attempts={**_kept(previous.attempts, needs), **view.attempts},
        outputs={**previous.outputs, **view.outputs},
        preconditions={**previous.preconditions, **view.preconditions},
        index=view.index if needs.index else previous.index,
    )


def _kept(attempts: Mapping[str, Any], needs: Needs) -> Mapping[str, Any]:
    """Old attempt facts serve a short look, which asks for live attempts only; a full look asks for all."""
    return {} if needs.strays else attempts
