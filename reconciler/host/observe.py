"""One request to one host, and its answer as facts. What was not asked for keeps its last known value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from reconciler.model.facts import HostView, Unknown
from reconciler.model.needs import Needs
from reconciler.model.secrets import secret_values, without
from reconciler.model.spec import Job
from reconciler.parse.host import parse_host

_QUOTING = ("log_tail", "setup_error", "launch_error", "message", "unknown")
"""Facts that quote what a program said."""


class HostAgent(Protocol):
    """Whatever answers requests on a host: the agent itself here, later one behind a connection."""

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request. Never raises; a failure is `{"error": ..., "kind": ...}`."""


def observe(
    agent: HostAgent,
    host: str,
    needs: Needs,
    previous: HostView | Unknown | None,
    jobs: Mapping[str, Job] | None = None,
) -> HostView | Unknown:
    """Ask a host for `needs`. Unknown when it gives no answer at all.

    What `jobs` (by key) have in variables with secret names is taken out of what the host quotes from their programs:
    facts become messages, and those the audit trail."""
    reply = agent.handle(probe_request(needs))
    if "error" in reply:
        return Unknown(str(reply["error"]))
    _hide_secrets(reply, needs, jobs or {})
    view = parse_host(reply, host)
    if isinstance(view, Unknown):
        return view
    view = replace(view, asked=_asked(needs))
    return _with_last_known(view, needs, previous) if isinstance(previous, HostView) else view


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
        "attempts": [{"path": need.path, "tail": need.tail, "scan": need.scan} for need in needs.attempts],
        "outputs": {key: {"cwd": job.cwd, "patterns": list(job.outputs)} for key, job in needs.outputs.items()},
        "preconditions": {key: _preconditions(job) for key, job in needs.preconditions.items()},
        "sessions": needs.sessions,
        "gpus": needs.gpus,
        "disk": needs.disk,
        "strays": needs.strays,
    }


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
        sessions=sessions,
        gpus=view.gpus if needs.gpus else previous.gpus,
        attempts={**_kept(previous.attempts, needs), **view.attempts},
        outputs={**previous.outputs, **view.outputs},
        preconditions={**previous.preconditions, **view.preconditions},
    )


def _kept(attempts: Mapping[str, Any], needs: Needs) -> Mapping[str, Any]:
    """Old attempt facts serve a short look, which asks for live attempts only; a full look asks for all."""
    return {} if needs.strays else attempts
