"""Which commit of a source is in force: the newest one that was made from the last, and why not a newer one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from reconciler.model.source import Fetched, SourceState, Taken
from reconciler.spec.exq_yaml import GitSource
from reconciler.spec.git_mirror import FETCHED, Mirror
from reconciler.spec.git_repository import SHORT, GitProblem, Repository
from reconciler.spec.reading import Unreadable
from reconciler.spec.revision import operation_in_progress

Texts = Mapping[str, "str | Unreadable"]


class Kept(Protocol):
    """What is kept of a source over restarts."""

    problem: str
    writable: bool

    @property
    def mirror(self) -> Path:
        """Where a remote repository is fetched into."""

    def taken(self) -> Taken | None:
        """The commit that was last taken."""

    def keep_taken(self, taken: Taken) -> None:
        """Keep it."""

    def fetched(self) -> Fetched | None:
        """How the last fetch went."""


@dataclass(slots=True)
class Follower:
    """Follows one ref of one repository. Nothing in it is changed, but in the mirror of a remote one."""

    source: GitSource
    kept: Kept
    _taken: Taken | None = None
    _texts: tuple[str, Texts] | None = None
    _place: tuple[Repository, str] | None = None
    _described: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._taken = self.kept.taken()

    @property
    def mirror(self) -> Mirror | None:
        """What a remote repository is fetched into; None for one on this machine."""
        if self.source.url is None:
            return None
        return Mirror(self.kept.mirror, self.source.url, self.source.ref, self.source.repository)

    def accept(self, commit: str) -> None:
        """Take this commit, and what is made from it, though it was not made from what was taken last."""
        if self._taken is not None and commit != self._taken.commit:
            self._taken = replace(self._taken, accepted=commit)
            self.kept.keep_taken(self._taken)

    def look(self, now: float) -> tuple[SourceState, Texts]:
        """Take what is to be taken; how things stand then, and the specs of the commit in force."""
        fetched = self.kept.fetched() if self.source.url is not None else None
        state = self._blank(fetched)
        try:
            repository, path = self._find()
            state = replace(state, path=path, ref=self._ref_shown(repository))
            newest = self._newest(repository)
            state = replace(state, newest=newest)
            state = self._take(state, repository, now) if newest != state.commit else replace(state, behind=0)
        except GitProblem as problem:
            state = replace(state, problem=problem.message, advice=problem.advice)
        if fetched is not None and fetched.problem and not state.rewritten:
            behind = state.behind or None
            state = replace(state, behind=behind, problem=fetched.problem, advice=fetched.advice)
        if self.kept.problem and not state.problem:
            state = replace(state, problem=self.kept.problem)
        return state, self._texts_of(state.commit)

    def describe(self, commit: str) -> str:
        """The commit for people."""
        if commit not in self._described:
            try:
                self._described = {commit: self._find()[0].describe(commit)}
            except GitProblem:
                return commit[:SHORT]
        return self._described[commit]

    def _blank(self, fetched: Fetched | None) -> SourceState:
        taken = self._taken
        return SourceState(
            repository=self.source.repository,
            ref=self.source.ref,
            path=self.source.path,
            commit=taken.commit if taken is not None else None,
            taken_at=taken.at if taken is not None else None,
            remote=self.source.url is not None,
            interval_s=self.source.interval_s if self.source.url is not None else None,
            fetched_at=fetched.succeeded_at if fetched is not None else None,
        )

    def _take(self, state: SourceState, repository: Repository, now: float) -> SourceState:
        """A newer commit: take it, unless history was rewritten or it has no such folder."""
        newest, taken = state.newest, self._taken
        assert newest is not None
        behind = repository.missing(taken.commit, newest) if taken is not None else None
        if taken is not None and not self._descends(repository, taken, newest):
            problem = f"`{state.ref}` is at {newest[:SHORT]}, which was not made from {taken.commit[:SHORT]}: " + (
                "its history was rewritten, or it is another branch now"
            )
            advice = "exq source --accept takes it"
            return replace(state, behind=behind, rewritten=True, problem=problem, advice=advice)
        try:
            self._texts = newest, repository.texts(newest, state.path)
            if self.mirror is not None and self.kept.writable:
                self.mirror.protect(newest)
        except GitProblem as problem:
            return replace(state, behind=behind, problem=problem.message, advice=problem.advice)
        self._taken = Taken(newest, now, tuple(self._texts[1]))
        self.kept.keep_taken(self._taken)
        return replace(state, commit=newest, taken_at=now, behind=0)

    def _descends(self, repository: Repository, taken: Taken, newest: str) -> bool:
        bases = [taken.commit, *([taken.accepted] if taken.accepted else [])]
        return any(repository.has(base) and repository.is_ancestor(base, newest) for base in bases)

    def _texts_of(self, commit: str | None) -> Texts:
        """The specs of a commit; where they cannot be read any more, why, for each file that it had."""
        if commit is None:
            return {}
        if self._texts is None or self._texts[0] != commit:
            try:
                repository, path = self._find()
                self._texts = commit, repository.texts(commit, path)
            except GitProblem as problem:
                words = f"commit {commit[:SHORT]} cannot be read any more: {problem}"
                return {name: Unreadable(words) for name in (self._taken.names if self._taken is not None else ())}
        return self._texts[1]

    def _newest(self, repository: Repository) -> str:
        """The commit that the ref means. Raises `GitProblem` where it should not be believed at the moment."""
        if self.source.url is not None:
            return repository.resolve(FETCHED)
        if self.source.ref == "HEAD":
            busy = operation_in_progress(repository.git_folder(), brief=False)
            if busy:
                raise GitProblem(f"{busy} in {repository.folder}", f"git -C {repository.folder} status")
            if not repository.is_bare() and repository.branch() is None:
                advice = f"git -C {repository.folder} switch BRANCH, or name a branch with `ref:` in exq.yaml"
                raise GitProblem(f"HEAD of {repository.folder} is on no branch (detached)", advice)
        return repository.resolve(self.source.ref)

    def _ref_shown(self, repository: Repository) -> str:
        if self.source.ref != "HEAD" or self.source.url is not None:
            return self.source.ref
        return repository.branch() or "HEAD"

    def _find(self) -> tuple[Repository, str]:
        """The repository, and the folder of the specs in it. Raises `GitProblem`."""
        if self.mirror is not None:
            if not self.mirror.is_there:
                raise GitProblem("it has not been fetched yet", "exq source --fetch")
            return Repository(self.kept.mirror, private=True), self.source.path
        if self._place is None:
            self._place = _place(Path(self.source.folder), self.source.path)
        return self._place


def _place(folder: Path, path: str) -> tuple[Repository, str]:
    """The repository around a folder, which a work tree need not have at the moment, and where the folder is in it."""
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    repository = Repository(there)
    below = folder.relative_to(there).as_posix()
    parts = [*repository.prefix().split("/"), *below.split("/"), *path.split("/")]
    return repository, "/".join(part for part in parts if part not in ("", "."))
