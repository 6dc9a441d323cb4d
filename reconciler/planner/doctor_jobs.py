"""Judges for `exq doctor` which jobs could not start on a host, and why, one line for each reason."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence

from reconciler.model.doctor import Check, CheckStatus, MachineFacts, Patient
from reconciler.model.facts import HostView, OutputFacts, PreconditionFacts, Unknown
from reconciler.model.spec import Job
from reconciler.planner.doctor import not_known, quoted_path, there
from reconciler.planner.doctor_commits import commit_checks

OK, WARNING, ERROR = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.ERROR


def job_checks(patient: Patient, view: HostView, facts: MachineFacts) -> Iterator[Check]:
    """Working folders, environments and preconditions of the jobs that are still to run and may run there."""
    if not patient.all_jobs():
        yield Check(patient.host, "jobs", OK, "no job waits to run here")
        return
    yield from _folders(patient, facts)
    yield from commit_checks(patient, view, facts)
    yield from _environments(patient, facts)
    yield from _preconditions(patient, view)


def _folders(patient: Patient, facts: MachineFacts) -> Iterator[Check]:
    name = "cwd"
    jobs = patient.all_jobs()
    wrong = _grouped(jobs, lambda job: facts.folders.get(job.cwd, "") or None)
    for problem, keys in wrong.items():
        cwd = next(job.cwd for job in jobs if job.key == keys[0])
        yield Check(patient.host, name, ERROR, problem, there(patient, f"mkdir -p {quoted_path(cwd)}"), keys)
    unsaid = [job.cwd for job in jobs if job.cwd not in facts.folders]
    if unsaid:
        yield not_known(patient, name, Unknown(f"the host says nothing of {unsaid[0]}"))
    elif not wrong:
        folders = sorted({job.cwd for job in jobs})
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        yield Check(patient.host, name, OK, f"{folders[0]}{more}")


def _environments(patient: Patient, facts: MachineFacts) -> Iterator[Check]:
    name = "environment"
    # where the folder is missing, the environment was not even tried
    jobs = [job for job in patient.all_jobs() if job.key in facts.environments and not facts.folders.get(job.cwd)]
    problems = _grouped(jobs, lambda job: _text(facts.environments[job.key]) or None)
    unknown = _grouped(jobs, lambda job: _unknown(facts.environments[job.key]))
    for message, keys in unknown.items():
        yield Check(patient.host, name, WARNING, f"not known: {message}", "", keys)
    for message, keys in problems.items():
        job = next(job for job in jobs if job.key == keys[0])
        yield Check(patient.host, name, ERROR, message, _environment_mend(patient, job, message), keys)
    good = sorted({_environment_name(job) for job in jobs if facts.environments[job.key] == ""})
    if good:
        yield Check(patient.host, name, OK, f"{', '.join(good)} can be set up")


def _environment_name(job: Job) -> str:
    """`torch, uv run`"""
    return ", ".join(filter(None, (job.conda or job.venv or ("conda" if job.conda_hook else None), job.runner)))


def _environment_mend(patient: Patient, job: Job, message: str) -> str:
    if "conda was not found" in message:
        return f"set `conda_hook` in {patient.project_of(job).source}"
    if job.conda is not None and "activated" in message:
        return there(patient, f"conda create --name {shlex.quote(job.conda)}")
    if job.venv is not None and "virtual environment" in message:
        folder = job.venv if job.venv.startswith(("/", "~")) else f"{job.cwd.rstrip('/')}/{job.venv}"
        again = "" if "is not there" in message and "python" not in message else "--clear "
        return there(patient, f"python3 -m venv {again}{quoted_path(folder)}")
    return ""


def _text(found: str | Unknown) -> str:
    return "" if isinstance(found, Unknown) else found


def _unknown(found: str | Unknown) -> str | None:
    return found.message if isinstance(found, Unknown) else None


def _preconditions(patient: Patient, view: HostView) -> Iterator[Check]:
    name = "preconditions"
    open_jobs = [job for job in patient.jobs if job.preconditions and not _is_done(job, view)]
    unknown = _grouped(open_jobs, lambda job: _not_told(job, view))
    unmet = _grouped(open_jobs, lambda job: _unmet(job, view))
    for message, keys in unknown.items():
        yield Check(patient.host, name, WARNING, f"not known: {message}", "", keys)
    for message, keys in unmet.items():
        if all(key in patient.fetched for key in keys):
            yield Check(patient.host, name, OK, f"{message}; exq brings it there when they start", "", keys)
        else:
            yield Check(patient.host, name, ERROR, message, "", keys)
    met = len(open_jobs) - sum(map(len, unknown.values())) - sum(map(len, unmet.values()))
    if met:
        yield Check(patient.host, name, OK, f"all are met for {met:,} job{'' if met == 1 else 's'}")
    yield from _later(patient, view)


def _later(patient: Patient, view: HostView) -> Iterator[Check]:
    """What a phase before them may yet make is not missing."""
    unmet = tuple(job.key for job in patient.later if _unmet(job, view))
    if unmet:
        message = "not met yet, and not needed before the phases that these jobs wait for are complete"
        yield Check(patient.host, "preconditions", OK, message, "", unmet)


def _is_done(job: Job, view: HostView) -> bool:
    """Its outputs are there, so it is completed without being run."""
    outputs = view.outputs.get(job.key)
    return isinstance(outputs, OutputFacts) and outputs.complete


def _not_told(job: Job, view: HostView) -> str | None:
    """Why it is not known whether its preconditions hold, where none of them is known not to."""
    checks = view.preconditions.get(job.key)
    if checks is None:
        return "the host has not said"
    if _unmet(job, view):
        return None
    return next((check.message for check in checks if isinstance(check, Unknown)), None)


def _unmet(job: Job, view: HostView) -> str | None:
    """What it lacks, the first of it."""
    for check in view.preconditions.get(job.key, ()):
        if isinstance(check, PreconditionFacts) and not check.met:
            return check.message or "a precondition is not met"
    return None


def _grouped(jobs: Sequence[Job], message_of: Callable[[Job], str | None]) -> dict[str, tuple[str, ...]]:
    """The keys of the jobs that have a message, by message, in spec order."""
    groups: dict[str, list[str]] = {}
    for job in jobs:
        message = message_of(job)
        if message is not None:
            groups.setdefault(message, []).append(job.key)
    return {message: tuple(keys) for message, keys in groups.items()}
