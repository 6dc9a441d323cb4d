"""Judges for `exq doctor` whether there is a commit for jobs with `snapshot`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.model.doctor import Check, CheckStatus, MachineFacts, Patient
from reconciler.model.facts import CodeFacts, HostView, Unknown
from reconciler.model.needs import code_key
from reconciler.model.spec import Job
from reconciler.planner.doctor import quoted_path, there

_NAME = "snapshot"


def commit_checks(patient: Patient, view: HostView, facts: MachineFacts) -> Iterator[Check]:
    """A line for each repository, and for each reason why there is no commit."""
    found: dict[CodeFacts | Unknown, list[Job]] = {}
    for job in patient.all_jobs():
        ref = _ref(patient, job)
        if ref is not None and not facts.folders.get(job.cwd):  # where the folder is missing, that is said already
            code = view.code.get(code_key(ref, job.cwd), Unknown("the host has not said"))
            found.setdefault(code, []).append(job)
    for code, jobs in found.items():
        yield _check(patient, code, jobs)


def _ref(patient: Patient, job: Job) -> str | None:
    """What the commit is called in the spec, empty for the newest one; None without `snapshot`."""
    return next((project.snapshot for project, _ in patient.projects if project.name == job.project), None)


def _check(patient: Patient, code: CodeFacts | Unknown, jobs: Sequence[Job]) -> Check:
    keys = tuple(job.key for job in jobs)
    if isinstance(code, Unknown):
        return Check(patient.host, _NAME, CheckStatus.WARNING, f"not known: {code.message}", "", keys)
    if code.problem:
        # the first host that answers chooses the commit for all; the others need not know its name
        here = [job for job in jobs if not _ref(patient, job) or _chooses(patient, job)]
        status = CheckStatus.ERROR if here else CheckStatus.WARNING
        message = f"there is no commit to run from: {code.problem}"
        return Check(patient.host, _NAME, status, message, _mend(patient, code.problem, jobs[0]), keys)
    if code.changes and any(not _ref(patient, job) for job in jobs):
        # only a warning: jobs whose commit was chosen before run from that
        message = f"{code.root} has changes that no commit has ({', '.join(code.changes)}): new jobs wait for one"
        mend = there(patient, f"git -C {quoted_path(code.root)} commit -a")
        return Check(patient.host, _NAME, CheckStatus.WARNING, message, mend, keys)
    return Check(patient.host, _NAME, CheckStatus.OK, f"new jobs run from commit {code.commit[:12]} of {code.root}")


def _chooses(patient: Patient, job: Job) -> bool:
    project = patient.project_of(job)
    first = project.hosts_of(project.phase(job.phase))[0]
    return any(placement.host == first for each, placement in patient.projects if each.name == project.name)


def _mend(patient: Patient, problem: str, job: Job) -> str:
    source = patient.project_of(job).source
    if "in no git repository" in problem:
        return f"{there(patient, f'git init {quoted_path(job.cwd)}')}, or leave `snapshot` out of {source}"
    if "is no commit in" in problem:
        return f"name a commit, branch or tag in `snapshot` of {source}"
    return ""
