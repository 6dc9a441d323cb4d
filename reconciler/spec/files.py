"""A folder of specs into the desired state: broken, half-written and unreadable files leave the others alone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from reconciler.model.spec import Desired, Job, Project, SpecError, SpecFile
from reconciler.spec.load import Loaded, load_text
from reconciler.spec.reading import Stamp, Unreadable, read_spec, stamp_of
from reconciler.spec.revision import Revision, git_folder, operation_in_progress
from reconciler.trust import folder_distrust

SETTLE_S = 0.3
"""A file that changed less than this ago may still be being written."""
RACY_S = 2.0
"""A file that changed less than this before it was read is read again: its stamp may be too coarse to tell."""
RESERVED = frozenset({"exq.yaml", "exq.yml"})


class LastGood(Protocol):
    """The last text of each file that loaded, by absolute path."""

    def get(self, path: str) -> str | None:
        """The text, or None when there is none."""

    def put(self, path: str, text: str) -> None:
        """Keep a text that loaded."""


class Passed(Protocol):
    """Remembers the texts that the schema was satisfied with, by digest. A `set` will do."""

    def __contains__(self, digest: object, /) -> bool:
        """Whether a text passed before."""

    def add(self, digest: str, /) -> None:
        """Remember that it passed."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one file came to. `digest` is that of the file, `used` that of the text its project comes from."""

    stamp: Stamp | None
    read_at: float
    digest: str
    used: str
    project: Project | None
    file: SpecFile
    errors: tuple[SpecError, ...]


def load_file(path: Path) -> Loaded:
    """The project of a single file, and everything that is wrong with it."""
    try:
        text = read_spec(path)
    except Unreadable as error:
        return None, (SpecError(str(path), 0, 0, str(error)),)
    return load_text(text, str(path), base_of_file(path))


def load_specs(
    folder: Path, last_good: LastGood, *, settle: bool, now: float | None = None, passed: Passed | None = None
) -> Desired:
    """The desired state of a folder, once. `SpecFolder` does the same for a loop."""
    return SpecFolder(folder, last_good, passed).load(settle=settle, now=time.time() if now is None else now)


def base_of_folder(folder: Path) -> str:
    """Where the relative `cwd` of specs in a folder begins: the folder that holds it."""
    return os.path.dirname(os.path.abspath(folder))


def base_of_file(path: Path) -> str:
    """The same for a single file: above `specs`, or beside a file that is in no such folder."""
    folder = os.path.dirname(os.path.abspath(path))
    return os.path.dirname(folder) if os.path.basename(folder) == "specs" else folder


class SpecFolder:
    """A folder of specs that is looked at again and again; what did not change is not read again.

    `passed` holds the digests of texts that the schema was satisfied with: a caller that keeps it saves that check.
    """

    def __init__(self, folder: Path, last_good: LastGood, passed: Passed | None = None) -> None:
        self.folder = folder
        self._base = base_of_folder(folder)
        self._last_good = last_good
        self._passed: Passed = set() if passed is None else passed
        self._taken: dict[str, _Taken] = {}
        self._revision = Revision(folder)
        self._desired: Desired | None = None

    def load(self, *, settle: bool, now: float) -> Desired:
        """The desired state at the time `now` (seconds since the epoch).

        `settle`: a file that changed just now, or while git is at work, is taken as it was before.
        The very same object comes back while nothing changes."""
        try:
            names = _spec_names(self.folder)
        except OSError as error:
            return self._without_folder(_unlisted(error))
        shared = folder_distrust(self.folder)
        if shared:
            return self._without_folder(f"nothing new is taken from the specs folder: {shared}")
        git = git_folder(self.folder)
        busy = operation_in_progress(git) if settle else None
        taken = {name: self._take(name, settle, busy, now) for name in names}
        taken.update(self._vanished(taken, settle, busy, now))
        self._taken = {name: taken[name] for name in sorted(taken)}
        files = _one_project_each(list(self._taken.values()))
        version = _digest("\0".join(f"{file.file.path}\0{file.used}" for file in files))
        errors = [error for file in files for error in file.errors]
        if busy and any(file.file.unsettled for file in files):
            words = f"{busy} in this repository, so changed specs are taken as they were before"
            errors.insert(0, SpecError(str(self.folder), 0, 0, words, warning=True))
        if not files:
            words = (
                "there is no spec in this folder: write one, such as `experiments.yaml` with `jobs:` or `grid:` in it"
            )
            errors.append(SpecError(str(self.folder), 0, 0, words))
        return self._kept(_desired(version, self._revision.read(git, version, now), files, errors))

    def _kept(self, desired: Desired) -> Desired:
        """The object of the last look where this one came to the same."""
        last = self._desired
        if (
            last is not None
            and (last.version, last.revision, last.files) == (desired.version, desired.revision, desired.files)
            and last.errors == desired.errors
            and all(last.projects.get(name) is project for name, project in desired.projects.items())
        ):
            return last
        self._desired = replace(desired, index=_index(desired))
        return self._desired

    def _without_folder(self, words: str) -> Desired:
        """A folder that cannot be listed or trusted asks for nothing new; what it asked for before still stands."""
        found = SpecError(str(self.folder), 0, 0, words)
        last = self._desired or Desired(version=_digest(""), revision="none", projects={})
        self._desired = last if last.errors == (found,) else replace(last, errors=(found,))
        return self._desired

    def _take(self, name: str, settle: bool, busy: str | None, now: float) -> _Taken:
        path = self.folder / name
        before = self._taken.get(name)
        stamp = stamp_of(path)
        if before and stamp and before.stamp == stamp and before.read_at - stamp.mtime_ns / 1e9 > RACY_S:
            return before
        try:
            text = read_spec(path)
        except Unreadable as error:
            return self._broken(path, stamp, now, _digest(str(error)), (SpecError(str(path), 0, 0, str(error)),))
        digest = _digest(text)
        if before and before.digest == digest:
            return replace(before, stamp=stamp, read_at=now, file=replace(before.file, unsettled=False))
        recent = stamp is not None and abs(now - stamp.mtime_ns / 1e9) < SETTLE_S
        if settle and (busy or recent) and self._last_good.get(os.path.abspath(path)) != text:
            return self._unsettled(path, before, now)
        return self._load(path, stamp, now, text, digest)

    def _load(self, path: Path, stamp: Stamp | None, now: float, text: str, digest: str) -> _Taken:
        key = _digest(f"{_schema_digest()}\0{digest}")
        project, errors = load_text(text, str(path), self._base, schema_checked=key in self._passed)
        if project is None:
            return self._broken(path, stamp, now, digest, errors)
        self._passed.add(key)
        if self._last_good.get(os.path.abspath(path)) != text:
            self._last_good.put(os.path.abspath(path), text)
        return _Taken(stamp, now, digest, digest, project, SpecFile(str(path), digest), errors)

    def _broken(
        self, path: Path, stamp: Stamp | None, now: float, digest: str, errors: tuple[SpecError, ...]
    ) -> _Taken:
        """A file that does not load: its errors stand, and so does what it asked for before."""
        used, project = self._good(path)
        file = SpecFile(str(path), digest, broken=True, last_good=project is not None)
        return _Taken(stamp, now, digest, used, project, file, errors)

    def _unsettled(self, path: Path, before: _Taken | None, now: float) -> _Taken:
        """A file that may be half-written: as it was before, to be looked at again."""
        if before:
            return replace(before, stamp=None, read_at=now, file=replace(before.file, unsettled=True))
        used, project = self._good(path)
        file = SpecFile(str(path), "", last_good=project is not None, unsettled=True)
        return _Taken(None, now, "", used, project, file, ())

    def _good(self, path: Path) -> tuple[str, Project | None]:
        """The last version of a file that loaded: its digest and its project."""
        text = self._last_good.get(os.path.abspath(path))
        if text is None:
            return "", None
        digest, before = _digest(text), self._taken.get(path.name)
        if before and before.used == digest:
            return digest, before.project
        project, _ = load_text(text, str(path), self._base, schema_checked=True)
        return (digest, project) if project else ("", None)

    def _vanished(self, taken: dict[str, _Taken], settle: bool, busy: str | None, now: float) -> dict[str, _Taken]:
        """Files that were there at the last look. Editors and git take a file away for a moment to replace it."""
        gone = {name: file for name, file in self._taken.items() if name not in taken and file.project}
        if not settle or not gone:
            return {}
        stamp = stamp_of(self.folder)
        recent = stamp is not None and abs(now - stamp.mtime_ns / 1e9) < SETTLE_S
        if not busy and not recent:
            return {}
        return {name: self._unsettled(self.folder / name, file, now) for name, file in gone.items()}


def _unlisted(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such folder: create it and write a spec into it, such as `experiments.yaml`"
    return f"the specs folder cannot be read: {error.strerror or error}"


def _spec_names(folder: Path) -> list[str]:
    return sorted(
        name
        for name in os.listdir(folder)
        if name.endswith((".yaml", ".yml")) and not name.startswith(".") and name not in RESERVED
    )


def _one_project_each(files: list[_Taken]) -> list[_Taken]:
    """Of two files with one project name the second is broken."""
    first: dict[str, str] = {}
    kept = []
    for file in files:
        name = file.project.name if file.project else None
        if name is None or name not in first:
            kept.append(file)
            first.update({name: file.file.path} if name else {})
            continue
        words = f"the project `{name}` is in {first[name]} already: give this one another name with `project:`"
        error = SpecError(file.file.path, 0, 0, words)
        broken = replace(file.file, broken=True, last_good=False)
        kept.append(replace(file, used="", project=None, file=broken, errors=(*file.errors, error)))
    return kept


def _desired(version: str, revision: str, files: list[_Taken], errors: list[SpecError]) -> Desired:
    return Desired(
        version=version,
        revision=revision,
        projects={file.project.name: file.project for file in files if file.project},
        files=tuple(file.file for file in files),
        errors=tuple(errors),
    )


def _index(desired: Desired) -> dict[str, Job]:
    return {job.key: job for project in desired.projects.values() for job in project.jobs()}


def _schema_digest() -> str:
    from reconciler.spec.schema import schema_text

    return _digest(schema_text())


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
