"""The question of `exq doctor` to one host, and the answer as facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.host.observe import Asked, probe_request, view_of
from reconciler.host.reply import HostAgent, send
from reconciler.host.script import render_setup
from reconciler.host.setup import sets_up
from reconciler.model.doctor import MachineFacts, Patient
from reconciler.model.facts import HostView, Unknown
from reconciler.model.names import AttemptRef, session_name
from reconciler.model.needs import Needs, code_key
from reconciler.model.secrets import secret_values, without
from reconciler.model.spec import Job
from reconciler.parse.doctor import parse_machine

ANSWER_LIMIT_S = 120.0
"""The tools of a host have 10 s, and 40 s are for setting environments up."""
FEW_ATTEMPTS = 99


@dataclass(frozen=True, slots=True)
class Examined:
    """What a host answered; `machine` is Unknown wherever `view` is."""

    view: HostView | Unknown
    machine: MachineFacts | Unknown


def environment_key(job: Job) -> str:
    """Equal for jobs that set up alike. Of several sets of variables, as in a grid, the first job's stands for all."""
    return render_setup(replace(job, env={}))


def environments_of(jobs: Iterable[Job]) -> dict[str, Job]:
    """The first job of each environment."""
    found: dict[str, Job] = {}
    for job in jobs:
        if sets_up(job):
            found.setdefault(environment_key(job), job)
    return found


def examine(agent: HostAgent, patient: Patient, now: float) -> Asked:
    """Ask a host, without waiting where its agent can do that."""
    needs = needs_of(patient)
    return Asked(patient.host, needs, now, send(agent, request_of(patient, needs)))


def needs_of(patient: Patient) -> Needs:
    """What of it is a look like any other."""
    snapshots = {project.name: project.snapshot for project, _ in patient.projects if project.snapshot is not None}
    code = [(job.cwd, snapshots[job.project]) for job in patient.all_jobs() if job.project in snapshots]
    return Needs(
        code={code_key(ref, cwd): (cwd, ref) for cwd, ref in code},
        outputs={job.key: job for job in patient.all_jobs() if job.outputs},
        preconditions={job.key: job for job in patient.all_jobs() if job.preconditions},
        gpus=True,
        strays=False,
    )


def request_of(patient: Patient, needs: Needs) -> dict[str, Any]:
    """The agent's words for it."""
    jobs = patient.all_jobs()
    environments = environments_of(jobs)
    return {
        **probe_request(needs),
        "op": "doctor",
        "deadline_s": ANSWER_LIMIT_S,
        "folders": sorted({job.cwd for job in jobs}),
        "environments": {key: render_setup(job) for key, job in environments.items()},
        "session": max((session_name(AttemptRef(job.key, FEW_ATTEMPTS)) for job in jobs), key=len, default=""),
    }


def examined(asked: Asked, reply: dict[str, Any], patient: Patient, now: float) -> Examined:
    """The answer as facts, at `now`, without the values of variables whose names are secret."""
    jobs = {job.key: job for job in patient.all_jobs()}
    view = view_of(asked, reply, now, None, jobs, remote=not patient.local)
    machine = view if isinstance(view, Unknown) else parse_machine(reply)
    if isinstance(machine, Unknown):
        return Examined(view, machine)
    return Examined(view, replace(machine, environments=_by_job(machine.environments, jobs)))


def _by_job(found: Mapping[str, str | Unknown], jobs: Mapping[str, Job]) -> dict[str, str | Unknown]:
    unasked = Unknown("the host has not said")
    by_job: dict[str, str | Unknown] = {}
    for key, job in jobs.items():
        if sets_up(job):
            said = found.get(environment_key(job), unasked)
            by_job[key] = without(said, secret_values(job.env)) if isinstance(said, str) else said
    return by_job
