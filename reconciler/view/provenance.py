"""`exq history JOB --full`: what each attempt of a job ran with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from reconciler.model.enums import JobStatus
from reconciler.model.ledger import AttemptRecord
from reconciler.model.plan import JobState
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST
from reconciler.planner.pins import pinned
from reconciler.view.style import Style, wrap
from reconciler.view.times import clock, compact, iso_utc, stamp
from reconciler.view.words import count

_LABEL_WIDTH = 13
_SHA_CHARACTERS = 12
APPLY_COMMAND = 'git -C "$(git rev-parse --show-toplevel)" apply'
"""In a subfolder, `git apply` alone leaves out without a word what lies above it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One attempt: its records by file name, each with its time (seconds since the epoch, by its host).

    `record`: that of the ledger. `problem`: why there are no records, or only the copies in `collected`."""

    job: str
    number: int
    host: str
    folder: str
    records: Mapping[str, Mapping[str, Any]]
    times: Mapping[str, float]
    record: AttemptRecord | None = None
    problem: str = ""
    collected: str = ""

    def get(self, name: str) -> Mapping[str, Any]:
        """A record; empty where there is none."""
        return self.records.get(name, {})

    def part(self, name: str) -> Mapping[str, Any]:
        """A part of what was noted of it; empty where there is none."""
        found = self.get("provenance.json").get(name)
        return found if isinstance(found, dict) else {}


def provenance_json(job: str, attempts: Sequence[Ran]) -> dict[str, Any]:
    """Everything that is known (`exq.attempts/v1`)."""
    return {"schema": "exq.attempts/v1", "job": job, "attempts": [_attempt_json(ran) for ran in attempts]}


def _attempt_json(ran: Ran) -> dict[str, Any]:
    intent, listing = ran.get("intent.json"), ran.get("environment.json")
    record = ran.record
    verdict = ran.get("verdict.json")
    started, ended = _span(ran)
    environment: dict[str, Any] | None = None
    if ran.part("environment"):
        environment = {**ran.part("environment"), **{name: listing[name] for name in listing if name != "python"}}
    return {
        "attempt": ran.number,
        "host": ran.host,
        "status": verdict.get("status") or (str(record.verdict.status) if record and record.verdict else None),
        "reason": verdict.get("reason") or (str(record.verdict.reason) if record and record.verdict else None),
        "exit_code": _exit_code(ran),
        "started": iso_utc(started),
        "ended": iso_utc(ended),
        "revision": intent.get("revision") or (record.revision if record else None),
        "spec": intent.get("spec"),
        "spec_sha256": intent.get("spec_digest") or None,
        "generation": intent.get("generation") or (record.generation if record else None),
        "gpus": list(intent.get("gpus") or (record.gpus if record else ())),
        "cwd": intent.get("cwd"),
        "original_cwd": intent.get("original_cwd"),
        "env_names": intent.get("env_names"),
        "code": ran.part("code") or None,
        "environment": environment,
        "machine": ran.part("host") or None,
        "folder": ran.folder or None,
        "rerun": _by_hand(ran),
        "collected": ran.collected or None,
        "problem": ran.problem or None,
    }


def render_provenance(job: str, attempts: Sequence[Ran], style: Style) -> str:
    """The attempts, the newest last."""
    if not attempts:
        return f"{job} has no attempt yet.\n"
    parts = []
    before: Ran | None = None
    for ran in attempts:
        parts.append("\n".join([style.bold(_head(ran)), *_lines(ran, before, style)]))
        before = ran
    return "\n\n".join(parts) + "\n"


def _head(ran: Ran) -> str:
    where = "" if ran.host == LOCAL_HOST else f" on {ran.host}"
    verdict = ran.get("verdict.json")
    record = ran.record
    status = verdict.get("status") or (record.verdict.status if record and record.verdict else None)
    code = _exit_code(ran)
    ending = f"{status}{f', exit {code}' if code is not None else ''}" if status else "not over"
    return f"{ran.job}, attempt {ran.number}{where}: {ending}"


def _lines(ran: Ran, before: Ran | None, style: Style) -> list[str]:
    rows: list[tuple[str, str]] = []
    if ran.problem:
        copy = f"; this is from the copy in {ran.collected}" if ran.collected else ""
        rows.append(("unknown", f"{ran.problem}{copy}"))
    rows += _when(ran)
    rows += _spec(ran)
    rows += _code(ran)
    rows += _environment(ran, before)
    rows += _machine(ran)
    rows.append(("by hand", _by_hand(ran) or ""))
    return [line for label, text in rows if text for line in _row(label, text, style)]


def _row(label: str, text: str, style: Style) -> list[str]:
    first, *rest = wrap(text, style.text_width - _LABEL_WIDTH - 2)
    indent = " " * (_LABEL_WIDTH + 2)
    return [f"  {style.dim(label.ljust(_LABEL_WIDTH))}{first}", *(indent + line for line in rest)]


def _span(ran: Ran) -> tuple[float | None, float | None]:
    record = ran.record
    started = ran.times.get("started.json") or (record.started_at if record else None)
    ended = ran.times.get("exit.json") or (record.ended_at if record else None)
    return started, ended


def _exit_code(ran: Ran) -> int | None:
    code = ran.get("exit.json").get("code")
    return code if isinstance(code, int) else ran.record.exit_code if ran.record else None


def _when(ran: Ran) -> list[tuple[str, str]]:
    started, ended = _span(ran)
    if started is None:
        return [("ran", "not started")] if not ran.problem else []
    if ended is None:
        return [("ran", f"from {stamp(started)}")]
    return [("ran", f"{stamp(started)} to {clock(ended, started)} ({compact(ended - started)})")]


def _spec(ran: Ran) -> list[tuple[str, str]]:
    intent, record = ran.get("intent.json"), ran.record
    revision = intent.get("revision") or (record.revision if record else "")
    digest = str(intent.get("spec_digest") or "")
    file = f"{intent['spec']} at " if intent.get("spec") else ""
    sha = f", sha256 {digest[:_SHA_CHARACTERS]}" if digest else ""
    names = intent.get("env_names") or []
    rows = [("spec", f"{file}{revision}{sha}" if revision else "")]
    rows.append(("generation", str(intent.get("generation") or (record.generation if record else ""))))
    return [*rows, ("variables", f"{', '.join(map(str, names))} (values are in job.sh alone)" if names else "")]


def _code(ran: Ran) -> list[tuple[str, str]]:
    code, intent = ran.part("code"), ran.get("intent.json")
    if not code:
        return [("code", "not noted")] if ran.get("intent.json") else []
    if code.get("problem"):
        return [("code", f"not known: {code['problem']}")]
    branch = f" ({code['branch']})" if code.get("branch") else ""
    place = intent.get("original_cwd") or code.get("root")
    commit = code.get("commit") or "no commit yet"
    kind = "snapshot of commit" if code.get("snapshot") else "commit"
    rows = [("code", f"{kind} {commit}{branch} of {place}")]
    if code.get("remote"):
        rows.append(("", f"from {code['remote']}"))
    if code.get("dirty"):
        rows.append(("", f"with changes: {_some(_changes(code), code.get('changes_count'))}"))
        rows.append(("", _patch(ran, code)))
    untracked = [
        f"{path}{f' ({size:,} bytes)' if size is not None else ''}" for path, size in code.get("untracked", [])
    ]
    if untracked:
        rows.append(("", f"not in git: {_some(untracked, code.get('untracked_count'))}"))
    changed = code.get("changed_after_start")
    if changed:
        rows.append(("", f"changed after it was started, so it may have run an earlier text: {_some(changed, None)}"))
    return rows


def _changes(code: Mapping[str, Any]) -> list[str]:
    return [f"{str(kind).strip()} {path}" for kind, path in code.get("changes", [])]


def _some(items: Sequence[str], total: object, most: int = 8) -> str:
    shown = items[:most]
    left = (total if isinstance(total, int) else len(items)) - len(shown)
    return f"{', '.join(shown)}, and {left} more" if left > 0 else ", ".join(shown)


def _patch(ran: Ran, code: Mapping[str, Any]) -> str:
    patch = code.get("patch") or {}
    if patch.get("left_out"):
        return f"its patch was not kept: {patch['left_out']}"
    shows = f"exq history {ran.job} --full --patch --attempt {ran.number}"
    return f"patch of {patch.get('bytes', 0):,} bytes: {shows} | {APPLY_COMMAND}"


def _environment(ran: Ran, before: Ran | None) -> list[tuple[str, str]]:
    facts, listing = ran.part("environment"), ran.get("environment.json")
    if not facts:
        return []
    if facts.get("problem"):
        python = f"{facts['python']}, " if facts.get("python") else ""
        return [("python", f"{python}not known: {facts['problem']}"), *_kinds(facts)]
    program = facts.get("executable") or facts.get("python")
    rows = [("python", f"{facts.get('version')}, {program}"), *_kinds(facts)]
    packages = [str(each) for each in listing.get("packages") or []]
    same = before is not None and before.part("environment").get("sha256") == facts.get("sha256")
    if same and before is not None:
        return [*rows, ("packages", f"{count(len(packages), 'package')}, those of attempt {before.number}")]
    sources = listing.get("sources") or {}
    named = [f"{each} ({sources[name]})" if (name := each.partition("==")[0]) in sources else each for each in packages]
    rows.append(("packages", ", ".join(named) or "none"))
    conda = [str(each) for each in listing.get("conda") or []]
    return [*rows, ("conda has", ", ".join(conda))]


def _kinds(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    conda = facts.get("conda") or {}
    return [
        ("conda", f"{conda.get('name') or ''} ({conda.get('prefix')})".strip() if conda else ""),
        ("venv", str(facts.get("venv") or "")),
        ("runner", str(facts.get("runner") or "")),
    ]


def _machine(ran: Ran) -> list[tuple[str, str]]:
    host, intent = ran.part("host"), ran.get("intent.json")
    driver = f", NVIDIA driver {host['nvidia_driver']}" if host.get("nvidia_driver") else ""
    rows = (
        [("host", f"{host.get('hostname')}, Linux {host.get('kernel')} {host.get('machine')}{driver}")] if host else []
    )
    indices, uuids = intent.get("gpu_indices") or [], intent.get("gpus") or []
    gpus = [f"{index}: {uuid}" for index, uuid in zip(indices, uuids, strict=False)]
    return [*rows, ("GPUs", ", ".join(gpus))]


def _by_hand(ran: Ran) -> str | None:
    """What runs it again, with the variables and the folder that it had."""
    if not ran.folder:
        return None
    script = quote(f"{ran.folder}/job.sh")
    return f"bash {script}" if ran.host == LOCAL_HOST else f"ssh {quote(ran.host)} bash {quote(script)}"


def commit_words(snapshot: Snapshot, state: JobState) -> list[str]:
    """Which commit a job that waits will run from, where that is not said already."""
    job, project = snapshot.desired.index.get(state.job), snapshot.desired.projects.get(state.project)
    if job is None or project is None or state.status in (JobStatus.COMPLETED, JobStatus.RUNNING, JobStatus.STUCK):
        return []
    commit = pinned(project, job, snapshot.ledger.jobs.get(state.job))
    runs = "will run"
    if commit is None:
        commit, runs = snapshot.plan.pins.get(state.job, "").partition(" ")[0], "would run"
    commit = commit[:_SHA_CHARACTERS]
    return [f"it {runs} from commit {commit}"] if commit and commit not in state.message else []
