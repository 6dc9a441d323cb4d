"""Specs from commits of a git repository: the same promises as for a folder, and no half-updated work tree."""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from reconciler.model.source import SourceState
from reconciler.model.spec import Desired, SpecError, SpecFile
from reconciler.spec.exq_yaml import GitSource
from reconciler.spec.files import base_of_folder
from reconciler.spec.git_follow import Follower, Kept, Lost, Texts
from reconciler.spec.git_repository import SHORT
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
from reconciler.spec.reading import Unreadable
from reconciler.spec.revision import REVISION_FILE

PUSHED = (
    "these specs were brought here from another machine: in exq.yaml there, name a repository that is in reach from "
    "here with `url:`, or leave `source:` out"
)


def identity_of(source: GitSource) -> str:
    """What tells sources of one state folder apart. Another repository, ref or folder is another source."""
    words = "\0".join((source.url or source.folder, source.path, source.ref))
    return sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(slots=True)
class GitSpecs:
    """The specs of a git source, for the specs folder whose exq.yaml names it."""

    folder: Path
    source: GitSource
    follower: Follower
    _intake: Intake
    _key: str = field(default="")

    @staticmethod
    def open(folder: Path, source: GitSource, kept: Kept, last_good: LastGood, passed: Passed) -> GitSpecs:
        """The specs of this source; relative paths in them begin above `folder`, as for files in it."""
        intake = Intake(base_of_folder(folder), last_good, passed)
        advice = PUSHED if (folder / REVISION_FILE).is_file() else ""
        return GitSpecs(folder, source, Follower(source, kept, advice), intake, f"git:{identity_of(source)}")

    def load(self, *, settle: bool, now: float) -> Desired:
        """The desired state of the commit in force. The very same object comes back while nothing changes."""
        state, texts = self.follower.look(now)
        self._intake.taken = self._take_all(state, texts, now)
        files = one_project_each(list(self._intake.taken.values()))
        version = version_of(files)
        if state.commit is None:
            revision = "none"
        else:
            revision = self.follower.describe(state.commit)
            files = self._intake.with_revisions(files, revision, version)
            if not any(isinstance(text, Lost) for text in texts.values()):
                self._intake.note_revisions(files)
        errors = [error for file in files for error in file.errors]
        if not files:
            errors.append(SpecError(state.repository, 0, 0, _without_specs(state)))
        return self._intake.kept(desired_of(version, revision, files, errors, state))

    @property
    def is_own_folder(self) -> bool:
        """The files of the specs folder itself are what is committed there."""
        if self.source.url is not None:
            return False
        there = os.path.join(self.source.folder, self.source.path)
        return os.path.realpath(there) == os.path.realpath(self.folder)

    def texts(self) -> dict[str, str]:
        """By path, the texts that its projects come from."""
        return self._intake.texts()

    def accept(self, commit: str) -> None:
        """Take this commit of a rewritten history."""
        self.follower.accept(commit)

    def _take_all(self, state: SourceState, texts: Texts, now: float) -> dict[str, TakenFile]:
        return {name: self._take(self._named(name, state), name, text, now) for name, text in sorted(texts.items())}

    def _take(self, named: Named, name: str, text: str | Unreadable, now: float) -> TakenFile:
        if isinstance(text, Lost) and (kept := self._as_it_was(named, name, now)) is not None:
            return kept
        if isinstance(text, Unreadable):
            mistake = SpecError(named.path, 0, 0, str(text))
            return self._intake.broken(named, None, now, digest_of(str(text)), (mistake,))
        before, digest = self._intake.taken.get(name), digest_of(text)
        if before is not None and before.name == named and before.digest == digest:
            return replace(before, read_at=now)
        return self._intake.load(named, None, now, text, digest)

    def _as_it_was(self, named: Named, name: str, now: float) -> TakenFile | None:
        """A file of a commit that is out of reach: what was taken of it stands. None where nothing is kept of it."""
        before = self._intake.taken.get(name)
        if before is not None and before.name == named:
            return replace(before, read_at=now)
        used, project = self._intake.good(named)
        if project is None:
            return None
        return TakenFile(named, None, now, used, used, project, SpecFile(named.path, used), ())

    def _named(self, name: str, state: SourceState) -> Named:
        """A file is called as in its repository; one that the specs folder itself has, as there."""
        if self.is_own_folder:
            return Named(str(self.folder / name), f"{self._key}/{name}")
        return Named(f"{state.path}/{name}" if state.path else name, f"{self._key}/{name}")


def _without_specs(state: SourceState) -> str:
    where = f"the folder `{state.path}`" if state.path else "the top"
    if state.commit is not None:
        return f"there is no spec in {where} of commit {state.commit[:SHORT]}: write one there, and commit it"
    if state.rewritten:
        return f"no commit of it is in force: {state.problem}; {state.advice}"
    return f"no commit was taken from it yet: {state.problem}" + (f"; {state.advice}" if state.advice else "")
