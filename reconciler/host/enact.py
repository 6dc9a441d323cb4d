"""One action, one effect on a host. What it did is learned by observing, not from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.host.reply import HostAgent, Reply, call, send
from reconciler.host.script import render_job_script
from reconciler.model.enums import PreconditionKind
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import Kill, Launch, Settle
from reconciler.model.spec import Job, Project


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an effect. `kind` of a failure is the agent's: disk_full, refused or failed."""

    ok: bool
    message: str = ""
    kind: str = ""

    @property
    def may_be_done(self) -> bool:
        """It was sent, and what came of it is not known."""
        return self.kind == "lost"

    @property
    def unanswered(self) -> bool:
        """The host did not say: it may have been done."""
        return self.kind in ("lost", "unreachable")


class Effect:
    """An effect that was asked for; its outcome may be on its way."""

    def __init__(self, reply: Reply, judge: Callable[[dict[str, Any]], Outcome]) -> None:
        self._reply = reply
        self._judge = judge

    def outcome(self, patience_s: float | None = None) -> Outcome:
        """What came of it, as the host says. One that does not say it in time leaves it in doubt."""
        answer = self._reply.wait(patience_s)
        if answer is None:
            return Outcome(ok=False, message="the host has not answered yet; it is looked at again", kind="lost")
        return self._judge(answer)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an attempt comes from, beside what the planner knows.

    `spec_digest`: that of the spec file, empty where its jobs come from an older text. `tree`: where the work tree of
    its commit has its folder; empty without `snapshot`."""

    spec_digest: str = ""
    tree: str = ""


_NOWHERE = Origin()


def launch(
    agent: HostAgent, state: str, action: Launch, job: Job, project: Project, origin: Origin = _NOWHERE
) -> Effect:
    """Write the attempt folder and start it. Safe to repeat: the claim lets one shim run it, once."""
    record = action.record
    assert record is not None
    if (record.pin or project.snapshot is not None) and not origin.tree:
        # in its own folder it would run code that may be edited any moment
        message = "the work tree of the commit that it is to run from is not known; exq looks again"
        return Effect(Reply({"error": message, "kind": "refused"}), lambda reply: _outcome(reply, "launched"))
    placed = replace(job, cwd=origin.tree) if origin.tree else job
    script = render_job_script(placed, project, record, f"{state}/attempts/{record.path}", state)
    commit = record.pin.partition(" ")[0]
    told = {"cwd": placed.cwd, "spec": project.source, "spec_digest": origin.spec_digest, "env_names": sorted(job.env)}
    fields: dict[str, Any] = {"provenance": True} if project.provenance else {}
    if origin.tree:
        told |= {"commit": commit, "original_cwd": job.cwd}
        inputs = [p.subject for p in job.preconditions if p.kind is not PreconditionKind.COMMAND]
        fields["snapshot"] = {"cwd": job.cwd, "commit": commit, "outputs": list(job.outputs), "inputs": inputs}
    return start(agent, record, script, told=told, fields=fields)


def start(
    agent: HostAgent,
    record: AttemptRecord,
    script: str,
    *,
    again: bool = False,
    told: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Effect:
    """Start an attempt that runs `script`. `again`: it may have been begun with another intent, before a crash.

    `told`: more for its intent. `fields`: more for the request."""
    project, job = record.job.split("/", 1)
    request = {
        "op": "launch",
        "path": record.path,
        "job_sh": script,
        "intent": {**intent_of(record), **(told or {})},
        "launcher": record.launcher,
        "session": record.session,
        "gpus": list(record.gpus),
        "project": project,
        "job": job,
        "number": record.number,
        **({"again": True} if again else {}),
        **(fields or {}),
    }
    return Effect(send(agent, request), lambda reply: _outcome(reply, "launched"))


def intent_of(record: AttemptRecord) -> dict[str, Any]:
    """`intent.json`: what the loop meant to start."""
    names = ["job", "number", "generation", "host", "launcher", "session", "gpus", "gpu_indices"]
    names += ["intended_at", "revision", "outputs_before", "daemon", *(["pin"] if record.pin else [])]
    return {name: getattr(record, name) for name in names}


def revoke(agent: HostAgent, path: str) -> Effect:
    """Claim an attempt so that no shim can run it. Not ok when a shim was first: then it is live after all."""
    return Effect(send(agent, {"op": "revoke", "path": path}), _revoked)


def _revoked(reply: dict[str, Any]) -> Outcome:
    if reply.get("revoked"):
        return Outcome(ok=True)
    return Outcome(ok=False, message=str(reply.get("error", "its shim has claimed it after all")), kind="refused")


def record_verdict(agent: HostAgent, action: Settle) -> Effect:
    """Write the verdict beside the attempt's other files, so that the ledger can be rebuilt from them."""
    return _settle(agent, action)


def repeat_verdict(agent: HostAgent, attempt: AttemptRecord) -> Effect:
    """The same for a verdict that the ledger holds already."""
    return _settle(agent, attempt)


def _settle(agent: HostAgent, of: Settle | AttemptRecord) -> Effect:
    verdict = of.verdict
    assert verdict is not None
    record = {
        "status": str(verdict.status),
        "reason": str(verdict.reason),
        "message": verdict.message,
        "at": verdict.at,
        "retry_at": of.retry_at,
        "generation": of.generation,
        "started_at": of.started_at,
        "ended_at": of.ended_at,
        "exit_code": of.exit_code,
    }
    request = {"op": "settle", "path": of.path, "verdict": record}
    return Effect(send(agent, request), lambda reply: _outcome(reply, "settled"))


def kill(agent: HostAgent, action: Kill) -> Effect:
    """Ask what is left of an attempt to end, or make it (`force`); quit exactly the named screens."""
    request = {"op": "kill", "path": action.path, "force": action.force, "sessions": list(action.sessions)}
    return Effect(send(agent, request), _killed)


def _killed(reply: dict[str, Any]) -> Outcome:
    signalled, quit_ = reply.get("signalled", []), reply.get("quit", [])
    return _outcome(reply, "signalled", f"signalled {len(signalled)} processes, quit {len(quit_)} screens")


def keep_snapshots(agent: HostAgent, make: Iterable[tuple[str, str]], drop: Iterable[tuple[str, str]] = ()) -> None:
    """Have work trees made (folder, commit) and others dropped (repository, commit). What comes of it is looked at."""
    send(agent, {"op": "snapshots", "make": [list(each) for each in make], "drop": [list(each) for each in drop]})


def write_file(agent: HostAgent, path: str, text: str, patience_s: float | None = None) -> Outcome:
    """Write a file on the host, whole or not at all."""
    return _outcome(call(agent, {"op": "write_file", "path": path, "text": text}, patience_s), "written")


def _outcome(reply: dict[str, Any], says: str, message: str = "") -> Outcome:
    """Success only where the answer `says` so: one that is garbled proves nothing."""
    if "error" in reply:
        return Outcome(ok=False, message=str(reply["error"]), kind=str(reply.get("kind", "failed")))
    if says not in reply:
        return Outcome(ok=False, message="the host's answer cannot be read; exq looks again", kind="failed")
    return Outcome(ok=True, message=message)
