"""The ledger, made again from the attempt folders: they are the truth, it is their index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from reconciler.model.enums import JobStatus, Reason, RequestKind
from reconciler.model.ledger import AttemptRecord, JobRecord, Request
from reconciler.store import requests
from reconciler.store.atomic import mapped
from reconciler.store.paths import StatePaths
from reconciler.store.records import ATTEMPT, VERDICT, RecordDamaged, parse_json

UNKNOWN_HOST = "local"
"""Where an attempt ran whose intent cannot be read: this folder is on this host."""

_NUMBER_MAX_DIGITS = 9

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the folders say. `notices` names what could not be read, one sentence each."""

    jobs: dict[str, JobRecord]
    paused: frozenset[str]
    accepted: frozenset[str]
    notices: tuple[str, ...]


def rebuild(paths: StatePaths) -> Rebuilt:
    """Read all attempt folders, then replay the requests that were carried out."""
    notices: list[str] = []
    jobs = rebuild_jobs(paths.attempts, notices)
    done = requests.accepted(paths)
    paused: set[str] = set()
    for request in done:
        _replay(request, jobs, paused)
    return Rebuilt(jobs, frozenset(paused), frozenset(request.id for request in done), tuple(notices))


def rebuild_jobs(attempts_root: Path, notices: list[str] | None = None) -> dict[str, JobRecord]:
    """Job records by key, from `<project>/<job>/<n>/` folders alone.

    A file that cannot be read is skipped and named in `notices`; its attempt is kept with what is left, so that
    its number is never used again. Nothing says whether an attempt's processes are gone: none counts as released,
    so that each is looked at once more. Raises StoreError when a folder cannot be read."""
    said: list[str] = [] if notices is None else notices
    jobs: dict[str, JobRecord] = {}
    for project in _folders(attempts_root):
        for job in _folders(project):
            key = f"{project.name}/{job.name}"
            if not _is_text(key):
                said.append(f"{job!r} was skipped: its name is not valid text")
                continue
            record = _job(key, job, said)
            if record is not None:
                jobs[key] = record
    return jobs


def rebuild_job(attempts_root: Path, key: str, notices: list[str] | None = None) -> JobRecord | None:
    """The record of the one job `project/id` from its attempt folders; None where it has none. See `rebuild_jobs`."""
    return _job(key, attempts_root / key, [] if notices is None else notices)


def job_from_texts(
    key: str, host: str, records: Mapping[str, Mapping[str, Sequence[object]]], clock_ahead_s: float = 0.0
) -> JobRecord | None:
    """The same from another host's records: by attempt number and file name, each its text and time there."""
    said: list[str] = []
    sources = []
    for number in sorted((name for name in records if _is_number(name)), key=int):
        files = {
            name: _Json.parsed(Path(key, number, name), str(entry[0]), _seconds(entry[1]) - clock_ahead_s, said)
            for name, entry in records[number].items()
        }
        sources.append(_Files(int(number), Path(key, number), 0.0, files, said))
    found = _job_from(key, sources)
    if found is None:
        return None
    # another controller may know this machine by another name
    attempts = tuple(replace(attempt, host=host) for attempt in found.attempts)
    return replace(found, attempts=attempts, completed_on=host if found.completed is not None else None)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a time")
    return float(value)


def _job(key: str, root: Path, said: list[str]) -> JobRecord | None:
    numbered = (folder for folder in _folders(root) if _is_number(folder.name))
    ordered = sorted(numbered, key=lambda folder: int(folder.name))
    return _job_from(key, [_files_of(folder, said) for folder in ordered])


def _job_from(key: str, sources: Sequence[_Files]) -> JobRecord | None:
    record = JobRecord(key)
    for source in sources:
        attempt, generation = _attempt(key, source)
        record = replace(record, attempts=(*record.attempts, attempt), pin=attempt.pin or record.pin)
        if attempt.verdict is not None and attempt.verdict.status is JobStatus.COMPLETED:
            record = replace(record, completed=attempt.verdict, generation=generation, completed_on=attempt.host)
    return record if record.attempts else None


def _attempt(key: str, files: _Files) -> tuple[AttemptRecord, str]:
    """The attempt in a folder, and the generation that its verdict is about."""
    attempt = _intended(key, files)
    started = files.json("started.json")
    ended = files.json("exit.json")
    attempt = replace(
        attempt,
        pid=started.integer("pid"),
        started_at=started.written_at,
        ended_at=ended.written_at,
        exit_code=None if ended.text("lock_held") else ended.integer("code"),
    )
    verdict = files.json("verdict.json")
    found = verdict.read(VERDICT.read)
    if found is None:
        return attempt, attempt.generation
    settled = replace(
        attempt,
        verdict=found,
        retry_at=verdict.time("retry_at"),
        started_at=_first(verdict.time("started_at"), attempt.started_at),
        ended_at=_first(verdict.time("ended_at"), attempt.ended_at),
        exit_code=_first(verdict.integer("exit_code"), attempt.exit_code),
    )
    return settled, verdict.text("generation") or attempt.generation


def _intended(key: str, files: _Files) -> AttemptRecord:
    intent = files.json("intent.json")
    number = files.number
    found = intent.read(lambda data: ATTEMPT.read({**data, "job": key, "number": number, **_NOT_INTENDED}))
    if found is not None:
        return found
    return AttemptRecord(key, number, "", UNKNOWN_HOST, "", None, (), (), files.made_at, "")


_NOT_INTENDED: dict[str, object] = {"launched": True, "verdict": None, "released": False}
"""What an intent cannot know. With an intent in its folder, a launch may have been carried out."""


def _replay(request: Request, jobs: dict[str, JobRecord], paused: set[str]) -> None:
    """Carry a request out again, as far as it still shows."""
    if request.kind is RequestKind.PAUSE:
        paused.add(request.target)
    elif request.kind is RequestKind.RESUME:
        paused.discard(request.target)
    elif "/" in request.target:
        record = jobs.get(request.target, JobRecord(request.target))
        if record.completed is not None and record.completed.at <= request.at:
            return
        if request.kind is RequestKind.STOP:
            jobs[request.target] = replace(record, stopped_by=request.by)
        else:
            ended = max((a.number for a in record.attempts if _was_over(a, request.at)), default=0)
            jobs[request.target] = replace(record, stopped_by=None, retry_after=max(ended, record.retry_after))


def _was_over(attempt: AttemptRecord, at: float) -> bool:
    """It had ended by then, or was being ended because a user had asked for that."""
    if attempt.verdict is None or attempt.intended_at > at:
        return False
    return attempt.verdict.at <= at or attempt.verdict.reason is Reason.STOPPED_BY_USER


@dataclass(frozen=True, slots=True)
class _Files:
    """The JSON files in one attempt folder."""

    number: int
    folder: Path
    made_at: float
    files: Mapping[str, _Json]
    said: list[str]

    def json(self, name: str) -> _Json:
        return self.files.get(name) or _Json(self.folder / name, None, None, self.said)


_NAMES = ("intent.json", "started.json", "exit.json", "verdict.json")


def _files_of(folder: Path, said: list[str]) -> _Files:
    made_at = folder.stat().st_mtime if folder.is_dir() else 0.0
    return _Files(int(folder.name), folder, made_at, {name: _Json.of(folder / name, said) for name in _NAMES}, said)


@dataclass(frozen=True, slots=True)
class _Json:
    """One JSON file of an attempt: an object, or nothing where it is missing or damaged."""

    path: Path
    data: dict[str, Any] | None
    written_at: float | None
    said: list[str]

    @classmethod
    def of(cls, path: Path, said: list[str]) -> _Json:
        try:
            with path.open("rb") as file:
                text = file.read().decode()
                written_at = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return cls(path, None, None, said)
        except (OSError, UnicodeDecodeError) as error:
            said.append(f"{path} was skipped: {error}")
            return cls(path, None, None, said)
        return cls.parsed(path, text, written_at, said)

    @classmethod
    def parsed(cls, path: Path, text: str, written_at: float, said: list[str]) -> _Json:
        try:
            data = parse_json(text)
        except RecordDamaged as error:
            said.append(f"{path} was skipped: {error}")
            return cls(path, None, None, said)
        if not isinstance(data, dict):
            said.append(f"{path} was skipped: not a JSON object")
            return cls(path, None, None, said)
        return cls(path, data, written_at, said)

    def read(self, reader: Callable[[dict[str, Any]], R]) -> R | None:
        """What `reader` makes of the object; None where there is none or it is damaged."""
        if self.data is None:
            return None
        try:
            return reader(self.data)
        except RecordDamaged as error:
            self.said.append(f"{self.path} was skipped: {error}")
            return None

    def integer(self, name: str) -> int | None:
        value = (self.data or {}).get(name)
        return value if type(value) is int else None

    def time(self, name: str) -> float | None:
        value: object = (self.data or {}).get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, name: str) -> str | None:
        value = (self.data or {}).get(name)
        return value if type(value) is str else None


def _first(stated: R | None, seen: R | None) -> R | None:
    return seen if stated is None else stated


def _folders(root: Path) -> Iterator[Path]:
    """The folders in `root`, by name. One that cannot be read is an error: its attempts are unknown, not absent."""
    with mapped("rebuild the ledger from", root):
        try:
            with os.scandir(root) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return
    for name in names:
        yield root / name


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= _NUMBER_MAX_DIGITS


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
