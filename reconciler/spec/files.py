"""A folder of specs into the desired state: broken, half-written and unreadable files leave the others alone."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from operator import is_
from pathlib import Path
from typing import Protocol

from reconciler.model.spec import Desired, SpecError
from reconciler.spec.intake import (
    Intake,
    LastGood,
    Named,
    Passed,
    TakenFile,
    desired_of,
    digest_of,
    one_project_each,
    version_of,
)
from reconciler.spec.load import Loaded, load_text
from reconciler.spec.reading import Unreadable, is_spec_name, read_spec, stamp_of
from reconciler.spec.revision import Revision, git_folder, operation_in_progress
from reconciler.trust import folder_distrust

SETTLE_S = 0.3
"""A file that changed less than this ago may still be being written."""
RACY_S = 2.0
"""A file that changed less than this before it was read is read again: its stamp may be too coarse to tell."""


class Specs(Protocol):
    """Where the desired state comes from: a folder, or commits of a git repository."""

    @property
    def folder(self) -> Path:
        """The specs folder."""

    def load(self, *, settle: bool, now: float) -> Desired:
        """The desired state at the time `now` (seconds since the epoch)."""

    def texts(self) -> dict[str, str]:
        """By path, the texts that its projects come from."""


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
        self._intake = Intake(base_of_folder(folder), last_good, set() if passed is None else passed)
        self._revision = Revision(folder)
        self._read: tuple[object, ...] = ()
        """What the last desired state is of: a git operation, then the files. Empty where it is of no folder."""
        self._files: list[TakenFile] = []
        self._version = ""

    def load(self, *, settle: bool, now: float) -> Desired:
        """The desired state at the time `now` (seconds since the epoch).

        While git is at work, what changed is taken as it was before, so that who looks sees what the loop sees.
        `settle`: so is a file that changed just now; and what was not there before waits for git, too.
        The very same object comes back while nothing changes."""
        target, desired = _link_target(self.folder), self._load(settle, now)
        while (switched := _link_target(self.folder)) != target:  # what was read may be half of each of two sets
            target, desired = switched, self._load(settle, now)
        return desired

    def _load(self, settle: bool, now: float) -> Desired:
        try:
            names = sorted(name for name in os.listdir(self.folder) if is_spec_name(name))
        except OSError as error:
            return self._without_folder(_unlisted(error))
        shared = folder_distrust(self.folder)
        if shared:
            return self._without_folder(f"nothing new is taken from the specs folder: {shared}")
        git = git_folder(self.folder)
        busy = operation_in_progress(git)
        taken = {name: self._take(name, settle, busy, now) for name in names}
        taken.update(self._vanished(taken, settle, busy, now))
        self._intake.taken = {name: taken[name] for name in sorted(taken)}
        return self._desired(git, busy, now)

    def _desired(self, git: Path | None, busy: str | None, now: float) -> Desired:
        """Of the files that were taken. Where they are those of the last look, and all good, nothing is made anew."""
        read, last = (busy, *self._intake.taken.values()), self._intake.desired
        if len(read) != len(self._read) or not all(map(is_, read, self._read)):
            self._read, last = read, None
            self._files = one_project_each(list(self._intake.taken.values()))
            self._version = version_of(self._files)
        revision = self._revision.read(git, self._version, now)
        if last is not None and last.revision == revision and all(file.is_good for file in self._files):
            return last
        files = self._intake.with_revisions(self._files, revision, self._version)
        self._intake.note_revisions(files)
        return self._intake.kept(desired_of(self._version, revision, files, self._errors(files, busy)))

    def texts(self) -> dict[str, str]:
        """By path, the texts that the projects of the last load come from."""
        return self._intake.texts()

    def _errors(self, files: list[TakenFile], busy: str | None) -> list[SpecError]:
        errors = [error for file in files for error in file.errors]
        if busy and any(file.file.unsettled for file in files):
            words = f"{busy} in this repository, so changed specs are taken as they were before"
            errors.insert(0, SpecError(str(self.folder), 0, 0, words, warning=True))
        if not files:
            words = (
                "there is no spec in this folder: write one, such as `experiments.yaml` with `jobs:` or `grid:` in it"
            )
            errors.append(SpecError(str(self.folder), 0, 0, words))
        return errors

    def _without_folder(self, words: str) -> Desired:
        """A folder that cannot be listed or trusted asks for nothing new; what it asked for before still stands."""
        found = SpecError(str(self.folder), 0, 0, words)
        self._read = ()
        last = self._intake.desired or Desired(version=digest_of(""), revision="none", projects={})
        self._intake.desired = last if last.errors == (found,) else replace(last, errors=(found,))
        return self._intake.desired

    def _named(self, name: str) -> Named:
        path = self.folder / name
        return Named(str(path), os.path.abspath(path))

    def _take(self, name: str, settle: bool, busy: str | None, now: float) -> TakenFile:
        path, named = self.folder / name, self._named(name)
        before = self._intake.taken.get(name)
        stamp = stamp_of(path)
        if before and stamp and before.stamp == stamp and before.read_at - stamp.mtime_ns / 1e9 > RACY_S:
            return before
        try:
            text = read_spec(path)
        except Unreadable as error:
            mistake = SpecError(str(path), 0, 0, str(error))
            return self._intake.broken(named, stamp, now, digest_of(str(error)), (mistake,))
        digest = digest_of(text)
        if before and before.digest == digest:
            return replace(before, stamp=stamp, read_at=now, file=replace(before.file, unsettled=False))
        recent = stamp is not None and abs(now - stamp.mtime_ns / 1e9) < SETTLE_S
        good = self._intake.last_good.get(named.key)
        waits = bool(busy or recent) if settle else bool(busy) and good is not None
        if waits and good != text:
            return self._intake.unsettled(named, before, now)
        return self._intake.load(named, stamp, now, text, digest)

    def _vanished(
        self, taken: dict[str, TakenFile], settle: bool, busy: str | None, now: float
    ) -> dict[str, TakenFile]:
        """Files that were there at the last look. Editors and git take a file away for a moment to replace it."""
        gone = {name: file for name, file in self._intake.taken.items() if name not in taken and file.project}
        if not settle or not gone:
            return {}
        stamp = stamp_of(self.folder)
        recent = stamp is not None and abs(now - stamp.mtime_ns / 1e9) < SETTLE_S
        if not busy and not recent:
            return {}
        return {name: self._intake.unsettled(self._named(name), file, now) for name, file in gone.items()}


def _link_target(folder: Path) -> str:
    """Where a specs folder that is a link leads: a push puts another one in its place. Empty for any other folder."""
    try:
        return os.readlink(folder)
    except OSError:
        return ""


def _unlisted(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such folder: create it and write a spec into it, such as `experiments.yaml`"
    return f"the specs folder cannot be read: {error.strerror or error}"
