"""Asks all hosts for `exq doctor` side by side, and tells what each answered as soon as it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from shlex import quote
from typing import TYPE_CHECKING

from reconciler.cli.doctor_own import correction
from reconciler.cli.look import own_name
from reconciler.host.agent import Agent
from reconciler.host.doctor import ANSWER_LIMIT_S, examine, examined
from reconciler.host.ssh.by_hand import ssh_words
from reconciler.loop.world import World, open_world
from reconciler.model.connection import Condition
from reconciler.model.doctor import Check, CheckStatus, Patient
from reconciler.model.facts import Unknown
from reconciler.model.spec import LOCAL_HOST
from reconciler.planner.doctor import machine_checks, not_known, silent
from reconciler.planner.doctor_gpus import gpu_checks
from reconciler.planner.doctor_jobs import job_checks
from reconciler.planner.needs import Waiting, waiting_jobs
from reconciler.spec.effective import unusable
from reconciler.store.errors import StoreError

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.model.ledger import Ledger
    from reconciler.model.spec import Desired, Job

CONNECTING_S = 60.0
PATIENCE_S = CONNECTING_S + ANSWER_LIMIT_S
"""A connection gives up earlier by itself; what is silent for longer than this hangs in the kernel."""
_NO_STATE = Path("/nonexistent/exq")


@contextmanager
def doctors_world(context: Context) -> Iterator[tuple[World, Check | None]]:
    """The world as the loop has it; where its state cannot be used, one without what is known of jobs, and why."""
    try:
        world, problem = open_world(context.specs, context.state, writable=False, env=context.env), None
    except StoreError as error:
        mend = f"chmod 700 {quote(str(context.state))}" if "chmod" in str(error) else ""
        problem = Check(None, "ledger", CheckStatus.ERROR, str(error), mend)
        world = open_world(context.specs, _NO_STATE, writable=False, env=context.env)
        settings = context.settings()
        tools = {"screen": settings.screen, "nvidia_smi": settings.nvidia_smi}
        world.agents[LOCAL_HOST] = Agent(str(context.state), tools)
    with world:
        yield world, problem


def patients(world: World, desired: Desired, named: Sequence[str]) -> list[Patient]:
    """The hosts to be looked at: those named, else this machine and all of the specs and of open attempts."""
    ledger = world.ledger.ledger()
    waiting = waiting_jobs(desired, ledger)
    hosts = dict.fromkeys(own_name(world, host) for host in named or world.hosts(desired))
    return [_patient(world, host, desired, ledger, waiting) for host in hosts]


def _patient(world: World, host: str, desired: Desired, ledger: Ledger, waiting: Mapping[str, Waiting]) -> Patient:
    jobs: dict[bool, list[Job]] = {True: [], False: []}
    projects, fetched = [], set[str]()
    for project in desired.projects.values():
        for placement in project.placements:
            if own_name(world, placement.host) != host:
                continue
            projects.append((project, placement))
            for job, is_open in waiting[project.name]:
                phase = project.phase(job.phase)
                if job.cmd and placement.host in project.hosts_of(phase):
                    jobs[is_open].append(job)
                    fetched.update({job.key} if phase.fetch and not project.shared_fs else ())
    held = {uuid for each in ledger.open_attempts.values() if own_name(world, each.host) == host for uuid in each.gpus}
    is_local = world.is_local(host)
    later = tuple(jobs[False])
    known = frozenset(fetched), frozenset(held)
    return Patient(host, is_local, tuple(projects), tuple(jobs[True]), later, *known, ssh=ssh_words())


def answers(world: World, asked: Sequence[Patient]) -> Iterator[tuple[Patient, list[Check]]]:
    """Each host with its lines, in the order of their answers. One that is silent is told last, as an error."""
    arrived: Queue[tuple[Patient, list[Check]]] = Queue()
    for patient in asked:
        # the agent of this machine answers in the thread that asks, and its tools may hang
        name = f"exq-doctor-{patient.host}"
        threading.Thread(target=_ask, args=(world, patient, arrived), name=name, daemon=True).start()
    left = {patient.host: patient for patient in asked}
    until = time.monotonic() + PATIENCE_S
    while left:
        try:
            patient, checks = arrived.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            break
        del left[patient.host]
        yield patient, checks
    for patient in left.values():
        yield patient, [silent(patient, f"{patient.host} gave no answer within {PATIENCE_S:g} s", None)]


def _ask(world: World, patient: Patient, arrived: Queue[tuple[Patient, list[Check]]]) -> None:
    try:
        checks = _checks(world, patient)
    except Exception as error:  # one host must not take the answers of the others along
        message = f"the check failed ({type(error).__name__}: {error})"
        checks = [silent(patient, message, None)]
    arrived.put((patient, checks))


def _checks(world: World, patient: Patient) -> list[Check]:
    agent = world.agent_for(patient.host)
    asked = examine(agent, patient, world.clock())
    reply = asked.reply.wait() or {}
    found = examined(asked, reply, patient, world.clock())
    if isinstance(found.view, Unknown):
        condition = getattr(agent, "condition", None)
        told = condition() if condition is not None else None
        return [silent(patient, found.view.message, told.trouble if isinstance(told, Condition) else None)]
    if isinstance(found.machine, Unknown):
        return [not_known(patient, "agent", found.machine)]
    return [
        *(_by_settings(world, patient, each) for each in machine_checks(patient, found.view, found.machine)),
        *gpu_checks(patient, found.view, found.machine),
        *job_checks(patient, found.view, found.machine),
    ]


def _by_settings(world: World, patient: Patient, check: Check) -> Check:
    """Where another screen was chosen than is there, installing one helps nothing."""
    wrong = unusable(world.settings).get(check.name) if patient.local and check.name == "screen" else None
    if wrong is None:
        return check
    origin = world.settings.origins[check.name]
    message = check.message.replace("GNU screen is not installed", f"{wrong} (`screen` in {origin})")
    return replace(check, message=message, mend=correction(check.name, origin))
