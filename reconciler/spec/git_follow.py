"""Which commit of a source is in force: the newest one that was made from the last, and why not a newer one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Protocol

from reconciler.model.source import Fetched, SourceState, Taken
from reconciler.spec.exq_yaml import GitSource
from reconciler.spec.git_mirror import FETCHED, Mirror
from reconciler.spec.git_remote import Remote
from reconciler.spec.git_repository import SHORT, GitProblem, NoRepository, NoSuchName, NotInCommit, Repository
from reconciler.spec.git_run import GitSilent
from reconciler.spec.git_stamps import GitFolders, Stamps, stamps_of
from reconciler.spec.reading import Unreadable
from reconciler.spec.revision import git_folder, operation_in_progress

ASK_AGAIN_S = 60.0
"""How long an answer of git is believed while no file says that it is another one now, and how long a git that gave
none is left alone."""
ACCEPT = "exq source --accept takes it"

Texts = Mapping[str, "str | Unreadable"]


class Lost(Unreadable):
    """The commit in force cannot be read any more, which is no mistake of the file."""


class Kept(Protocol):
    """What is kept of a source over restarts."""

    problem: str
    writable: bool
    doubt: str
    """Why it is not known which commit was last taken; empty when that is known."""

    @property
    def mirror(self) -> Path:
        """Where a remote repository is fetched into."""

    def taken(self) -> Taken | None:
        """The commit that was last taken; None when none was, or there is a `doubt`."""

    def keep_taken(self, taken: Taken) -> None:
        """Keep it."""

    def fetched(self) -> Fetched | None:
        """How the last fetch went."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the specs are. `outside` is what that was found by."""

    outside: Stamps
    repository: Repository
    top: str
    path: str
    folders: GitFolders
    bare: bool


@dataclass(frozen=True, slots=True)
class _Meant:
    """What the ref means, as of `asked_at`, while the stamps are these."""

    stamps: Stamps | None
    asked_at: float
    shown: str
    commit: str


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why the newest commit is not taken over the one before, as of `asked_at`."""

    newest: str
    taken: Taken | None
    asked_at: float
    state: SourceState


@dataclass(slots=True)
class Follower:
    """Follows one ref of one repository. Nothing in it is changed, but in the mirror of a remote one.

    `lost_advice`: what to do where the repository, or the folder in it, is not there."""

    source: GitSource
    kept: Kept
    lost_advice: str = ""
    _taken: Taken | None = None
    _texts: tuple[str, Texts] | None = None
    _place: _Place | None = None
    _meant: _Meant | None = None
    _refused: _Refused | None = None
    _silent: tuple[float, GitSilent] | None = None
    _top: str = ""
    _described: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._taken = self.kept.taken()

    @property
    def mirror(self) -> Mirror | None:
        """What a remote repository is fetched into; None for one on this machine."""
        if self.source.url is None:
            return None
        return Mirror(self.kept.mirror, Remote(self.source.url), self.source.ref, self.source.place_of("ref"))

    def accept(self, commit: str) -> None:
        """Take this commit, and what is made from it, though it was not made from what was taken last."""
        if self.kept.doubt:
            self._taken = Taken("", 0.0, accepted=commit)
            self.kept.doubt = ""
        elif self._taken is None or commit == self._taken.commit:
            return
        else:
            self._taken = replace(self._taken, accepted=commit)
        self.kept.keep_taken(self._taken)

    def look(self, now: float) -> tuple[SourceState, Texts]:
        """Take what is to be taken; how things stand then, and the specs of the commit in force."""
        if self.kept.doubt:
            self._taken = self.kept.taken()
        fetched = self.kept.fetched() if self.source.url is not None else None
        state = self._blank(fetched)
        try:
            self._check_silence(now)
            place = self._find()
            self._top = place.top
            state = replace(state, repository=place.top, path=place.path)
            meant = self._meaning(place, now)
            state = replace(state, ref=meant.shown, newest=meant.commit)
            state = self._take(state, place, now) if meant.commit != state.commit else replace(state, behind=0)
            self._silent = None
        except GitProblem as problem:
            self._place = self._meant = None  # it may be another one that is meant
            self._silent = (now, problem) if isinstance(problem, GitSilent) else None
            state = replace(state, problem=problem.message, advice=self._advice(problem))
        if fetched is not None and fetched.problem and not state.rewritten:
            behind = state.behind or None
            state = replace(state, behind=behind, problem=fetched.problem, advice=fetched.advice)
        if self.kept.problem and not state.problem:
            state = replace(state, problem=self.kept.problem)
        return state, self._texts_of(state.commit)

    def describe(self, commit: str) -> str:
        """The commit for people."""
        if commit not in self._described:
            if self._silent is not None:
                return commit[:SHORT]
            try:
                self._described = {commit: self._find().repository.describe(commit)}
            except GitProblem:
                return commit[:SHORT]
        return self._described[commit]

    def _blank(self, fetched: Fetched | None) -> SourceState:
        taken = self._taken
        return SourceState(
            repository=self._top or self.source.repository,
            ref=self.source.ref,
            path=self.source.path,
            commit=taken.commit if taken is not None and taken.commit else None,
            taken_at=taken.at if taken is not None and taken.commit else None,
            remote=self.source.url is not None,
            interval_s=self.source.interval_s if self.source.url is not None else None,
            fetched_at=fetched.succeeded_at if fetched is not None else None,
        )

    def _take(self, state: SourceState, place: _Place, now: float) -> SourceState:
        """A newer commit: take it, or say why not."""
        last = self._refused
        same = last is not None and (last.newest, last.taken) == (state.newest, self._taken) and not self.kept.doubt
        if last is not None and same and 0 <= now - last.asked_at < ASK_AGAIN_S:
            why = last.state
            state = replace(state, behind=why.behind, rewritten=why.rewritten)
            return replace(state, problem=why.problem, advice=why.advice)
        found = self._taken_or_refused(state, place, now)
        self._refused = _Refused(found.newest or "", self._taken, now, found) if found.problem else None
        return found

    def _taken_or_refused(self, state: SourceState, place: _Place, now: float) -> SourceState:
        """Take it, unless history was rewritten or it has no such folder."""
        newest, taken, repository = state.newest, self._taken, place.repository
        assert newest is not None
        if self.kept.doubt:
            return replace(state, rewritten=True, problem=self.kept.doubt, advice=ACCEPT)
        behind = repository.missing(taken.commit, newest) if taken is not None and taken.commit else None
        if taken is not None and not self._descends(repository, taken, newest):
            problem = _not_descending(state, taken, newest)
            return replace(state, behind=behind, rewritten=True, problem=problem, advice=ACCEPT)
        try:
            self._texts = newest, repository.texts(newest, state.path)
            if self.mirror is not None and self.kept.writable:
                self.mirror.protect(newest)
        except GitSilent:
            raise
        except GitProblem as problem:
            return replace(state, behind=behind, problem=problem.message, advice=self._advice(problem))
        self._taken = Taken(newest, now, tuple(self._texts[1]))
        self.kept.keep_taken(self._taken)
        return replace(state, commit=newest, taken_at=now if self.kept.writable else None, behind=0)

    def _descends(self, repository: Repository, taken: Taken, newest: str) -> bool:
        bases = [base for base in (taken.commit, taken.accepted) if base]
        return any(repository.has(base) and repository.is_ancestor(base, newest) for base in bases)

    def _advice(self, problem: GitProblem) -> str:
        local = self.source.url is None
        if self.lost_advice and local and isinstance(problem, NoRepository | NotInCommit):
            return self.lost_advice
        if isinstance(problem, NotInCommit):
            correct = f"correct `path` in {self.source.place_of('path')}"
            return f"{correct}, or commit that folder" if local else correct
        if isinstance(problem, NoSuchName):
            correct = f"correct `ref` in {self.source.place_of('ref')}"
            return f"{correct}: {problem.advice}" if problem.advice else correct
        return problem.advice

    def _texts_of(self, commit: str | None) -> Texts:
        """The specs of a commit; where they cannot be read any more, why, for each file that it had."""
        if commit is None:
            return {}
        if self._texts is None or self._texts[0] != commit:
            try:
                if self._silent is not None:
                    raise self._silent[1]
                place = self._find()
                self._texts = commit, place.repository.texts(commit, place.path)
            except GitProblem as problem:
                words = f"commit {commit[:SHORT]} cannot be read any more: {problem}"
                return {name: Lost(words) for name in (self._taken.names if self._taken is not None else ())}
        return self._texts[1]

    def _check_silence(self, now: float) -> None:
        """Raise what git was silent about, a while ago: a loop must not wait for that in each of its looks."""
        if self._silent is not None and 0 <= now - self._silent[0] < ASK_AGAIN_S:
            raise self._silent[1]

    def _meaning(self, place: _Place, now: float) -> _Meant:
        """What the ref means. Raises `GitProblem` where it should not be believed at the moment."""
        repository, ref = place.repository, FETCHED if self.source.url is not None else self.source.ref
        if ref == "HEAD":
            busy = operation_in_progress(place.folders.own, brief=False)
            if busy:
                raise GitProblem(f"{busy} in {repository.folder}", f"git -C {quote(str(repository.folder))} status")
        known, stamps = self._meant, stamps_of(place.folders, ref)
        same = known is not None and stamps is not None and stamps == known.stamps
        if known is not None and same and 0 <= now - known.asked_at < ASK_AGAIN_S:
            return known
        shown = self.source.ref
        if ref == "HEAD":
            branch = repository.branch()
            if branch is None and not place.bare:
                folder = quote(str(repository.folder))
                advice = f"git -C {folder} switch BRANCH, or name a branch with `ref:` in exq.yaml"
                raise GitProblem(f"HEAD of {repository.folder} is on no branch (detached)", advice)
            shown = branch or "HEAD"
        self._meant = _Meant(stamps, now, shown, repository.resolve(ref))
        return self._meant

    def _find(self) -> _Place:
        """The repository, and the folder of the specs in it. Raises `GitProblem`."""
        if self.mirror is not None:
            if not self.mirror.is_there:
                raise GitProblem("it has not been fetched yet", "exq source --fetch")
            folder = self.kept.mirror
            repository, folders = Repository(folder, private=True), GitFolders(folder, folder)
            return _Place((), repository, self.source.repository, self.source.path, folders, True)
        folder = Path(self.source.folder)
        if "url" in self.source.places and not folder.is_dir():  # what is around it is another repository
            raise self._no_repository(folder)
        outside = _outside(folder)
        if self._place is None or self._place.outside != outside:
            self._place = self._meant = self._refused = None
            try:
                self._place = _place(outside, folder, self.source.path)
            except NoRepository:
                raise self._no_repository(folder) from None
        return self._place

    def _no_repository(self, folder: Path) -> NoRepository:
        key = "url" if "url" in self.source.places else "path"
        correct = f"correct `{key}` in {self.source.place_of(key)}"
        new = self._taken is None and folder.is_dir()
        mend = f"make one there: git -C {quote(str(folder))} init" if new else "put it back"
        return NoRepository(f"there is no git repository at {folder}", f"{mend}, or {correct}")


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _outside(folder: Path) -> Stamps:
    """Changes when another repository may be around a folder: it was mounted, made, replaced, or cloned into."""
    there = _nearest(folder)
    found = os.stat(there)
    return there, found.st_dev, found.st_ino, git_folder(there)


def _place(outside: Stamps, folder: Path, path: str) -> _Place:
    """The repository around a folder, which a work tree need not have at the moment, and where the folder is in it."""
    there = _nearest(folder)
    repository = Repository(there)
    found = repository.place()
    below = folder.relative_to(there).as_posix()
    parts = [*found.prefix.split("/"), *below.split("/"), *path.split("/")]
    inside = "/".join(part for part in parts if part not in ("", "."))
    return _Place(
        outside, repository, _top_of(there, found.prefix), inside, GitFolders.of(found.git_folder), found.bare
    )


def _top_of(folder: Path, prefix: str) -> str:
    """The top of a work tree, where `folder` is at `prefix` in it; it may be a link into it."""
    parts = tuple(part for part in prefix.split("/") if part)
    for found in (folder, Path(os.path.realpath(folder))):
        if found.parts[len(found.parts) - len(parts) :] == parts:
            return str(Path(*found.parts[: len(found.parts) - len(parts)]))
    return str(folder)


def _not_descending(state: SourceState, taken: Taken, newest: str) -> str:
    at = f"`{state.ref}` is at {newest[:SHORT]}"
    if not taken.commit:
        return f"{at}, which was not made from {taken.accepted[:SHORT]}, the commit that was accepted"
    return f"{at}, which was not made from {taken.commit[:SHORT]}: " + (
        "its history was rewritten, or it is another branch now"
    )
