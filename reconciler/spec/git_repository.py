"""A git repository, read commit by commit: never its work tree, and without changing anything in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from reconciler.spec.git_run import READ_S, Answer, GitProblem, GitSilent, run_git
from reconciler.spec.reading import Unreadable, check_name, decoded, is_spec_name, too_large
from reconciler.spec.yaml_nodes import MAX_BYTES

__all__ = ["GitProblem", "NoRepository", "NoSuchName", "NotInCommit", "Repository"]

SHORT = 7
"""How many digits of a commit people are shown."""
_IN_A_WORKFLOW = "in a GitHub workflow: fetch-depth: 0"
_COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")
_KINDS = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}


class NotInCommit(GitProblem):
    """The commit has no such folder."""


class NoRepository(GitProblem):
    """There is no repository."""


class NoSuchName(GitProblem):
    """It has no branch, tag or commit of this name."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where git keeps its files, whether there is no work tree, and where in it `folder` is: "" at its top."""

    git_folder: Path
    bare: bool
    prefix: str


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that holds a folder, or a bare one. All methods raise `GitProblem`, and wait `deadline_s` at most.

    `private`: it is exq's own bare mirror, which is used whatever the user's settings say about bare repositories."""

    folder: Path
    private: bool = False
    deadline_s: float = field(default=READ_S, compare=False)

    def resolve(self, ref: str) -> str:
        """The commit (all its digits) that a branch, a tag, or any other name of a commit means."""
        if not ref or ref.startswith("-") or any(ord(char) < 33 or ord(char) == 127 for char in ref):
            raise GitProblem(f"`{ref}` is not the name of a commit")
        answer = self._git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if answer.code == 0 and _COMMIT.fullmatch(answer.text):
            return answer.text
        self._check()
        raise self._no_such(ref)

    def texts(self, commit: str, path: str = "") -> Mapping[str, str | Unreadable]:
        """The spec files directly in the folder `path` of a commit, by name; `path` is "" at the top.

        A file that cannot be taken as a spec comes as `Unreadable`, which says why.
        Raises `NotInCommit` where the commit has no such folder."""
        found: dict[str, str | Unreadable] = {}
        blobs: dict[str, str] = {}
        for mode, digest, size, name in self._listed(commit, path):
            try:
                check_name(name)
                if mode in _KINDS:
                    raise Unreadable(f"this is {_KINDS[mode]} in the repository, not a file: put a spec in its place")
                if size > MAX_BYTES:
                    raise too_large()
                blobs[name] = digest
            except Unreadable as error:
                found[name] = error
        for name, content in zip(blobs, self._contents(list(blobs.values())), strict=True):
            try:
                found[name] = decoded(content)
            except Unreadable as error:
                found[name] = error
        return {name: found[name] for name in sorted(found)}

    def describe(self, commit: str) -> str:
        """The commit for people: `git describe --always`."""
        answer = self._git("describe", "--always", commit)
        return answer.text if answer.code == 0 and answer.text else commit[:SHORT]

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` is `old`, or was made from it."""
        answer = self._git("merge-base", "--is-ancestor", old, new)
        if answer.code not in (0, 1):
            raise self._unusable(answer)
        return answer.code == 0

    def merge_base(self, one: str, other: str) -> str:
        """The commit that both were made from, as `git merge-base` finds it."""
        answer = self._git("merge-base", one, other)
        if answer.code == 1:
            words = f"{one[:SHORT]} and {other[:SHORT]} have no commit in common here"
            raise GitProblem(words, f"if this clone is shallow: git fetch --unshallow; {_IN_A_WORKFLOW}")
        if answer.code != 0:
            raise self._unusable(answer)
        return answer.text

    def missing(self, old: str, new: str) -> int | None:
        """How many commits `new` has that `old` does not have, related or not; None when either is not there."""
        answer = self._git("rev-list", "--count", f"{old}..{new}")
        return int(answer.text) if answer.code == 0 else None

    def has(self, commit: str) -> bool:
        """Whether this commit is in the repository."""
        return self._git("cat-file", "-e", f"{commit}^{{commit}}").code == 0

    def branch(self) -> str | None:
        """The branch that HEAD is on; None when HEAD is detached."""
        answer = self._git("symbolic-ref", "--quiet", "HEAD")
        return answer.text.removeprefix("refs/heads/") if answer.code == 0 else None

    def place(self) -> Place:
        """Where it is, all in one question."""
        asked = ("--absolute-git-dir", "--is-bare-repository", "--show-prefix")
        lines = self._must("rev-parse", *asked).out.decode("utf-8", "surrogateescape").split("\n")
        if len(lines) != len(asked) + 1:
            raise GitProblem(f"the name of a folder of {self.folder} holds a line end")
        return Place(Path(lines[0]), lines[1] == "true", lines[2].strip("/"))

    def _listed(self, commit: str, path: str) -> list[tuple[str, str, int, str]]:
        """Mode, digest, size in bytes and name of each file that may be a spec."""
        path = _inside(path)
        answer = self._git("ls-tree", "-z", "--long", "--full-tree", f"{commit}:{path}")
        if answer.code != 0:
            if self._git("cat-file", "-e", f"{commit}^{{commit}}").code != 0:
                raise self._unusable(answer, f"there is no commit {commit[:SHORT]} in {self.folder}")
            raise NotInCommit(f"there is no folder `{path or '.'}` in commit {commit[:SHORT]}")
        rows = []
        for row in answer.out.decode("utf-8", "surrogateescape").split("\0"):
            facts, _, name = row.partition("\t")
            if is_spec_name(name):
                mode, _, digest, size = facts.split()
                rows.append((mode, digest, int(size) if size.isdigit() else 0, name))
        return rows

    def _contents(self, digests: list[str]) -> list[bytes]:
        if not digests:
            return []
        asked = "".join(f"{digest}\n" for digest in digests).encode()
        answer = self._git("cat-file", "--batch", text_in=asked)
        contents, rest = [], answer.out
        for digest in digests:
            head, _, rest = rest.partition(b"\n")
            words = head.split()
            if len(words) != 3 or words[0].decode() != digest:
                raise self._unusable(
                    answer, f"the repository has lost the content {digest[:SHORT]}: {answer.complaint}"
                )
            size = int(words[2])
            contents.append(rest[:size])
            rest = rest[size + 1 :]
        return contents

    def _check(self) -> None:
        """Raise `GitProblem` when this is no repository that git can be asked about."""
        self._must("rev-parse", "--git-dir")

    def _no_such(self, ref: str) -> GitProblem:
        import difflib

        listed = self._git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes")
        names = listed.text.split("\n") if listed.code == 0 and listed.text else []
        if not names and self._git("rev-list", "-n", "1", "--all").text == "":
            return GitProblem(
                f"the repository {self.folder} has no commit yet", "commit something: git add . && git commit"
            )
        if self._git("rev-parse", "--is-shallow-repository").text == "true":
            remote, _, branch = ref.partition("/")
            brings = f" {remote} {branch}:refs/remotes/{ref}" if remote in self._git("remote").text.split() else ""
            advice = f"this clone is shallow: git fetch --unshallow{brings}; {_IN_A_WORKFLOW}"
            return GitProblem(f"there is no branch, tag or commit `{ref}` in {self.folder}", advice)
        close = difflib.get_close_matches(ref, names, n=1, cutoff=0.5)
        advice = f"did you mean `{close[0]}`?" if close else f"it has {_few(names)}" if names else ""
        return NoSuchName(f"there is no branch, tag or commit `{ref}` in {self.folder}", advice)

    def _must(self, *arguments: str) -> Answer:
        answer = self._git(*arguments)
        if answer.code != 0:
            raise self._unusable(answer)
        return answer

    def _unusable(self, answer: Answer, words: str = "") -> GitProblem:
        if "dubious ownership" in answer.complaint:
            advice = f"if you trust it: git config --global --add safe.directory {quote(str(self.folder))}"
            return GitProblem(f"git does not use {self.folder}: it belongs to somebody else", advice)
        if "not a git repository" in answer.complaint or "cannot change to" in answer.complaint:
            advice = "git clone one there, or git init" if self.folder.is_dir() else "put it back"
            return NoRepository(f"there is no git repository at {self.folder}", advice)
        return GitProblem(words or f"git cannot read {self.folder}: {answer.complaint}")

    def _git(self, *arguments: str, text_in: bytes | None = None) -> Answer:
        where = (f"--git-dir={self.folder}",) if self.private else ("-C", str(self.folder))
        try:
            return run_git(*where, *arguments, deadline_s=self.deadline_s, text_in=text_in)
        except GitSilent as silent:
            by_hand = f"see whether it answers you: git -C {quote(str(self.folder))} log -1"
            raise GitSilent(silent.message, by_hand) from None


def _inside(path: str) -> str:
    """The path of a folder within a repository as git wants it. Raises `GitProblem` when it leads out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise GitProblem(f"`{path}` is not a folder in the repository: name it as seen from the top of the repository")
    return "/".join(parts)


def _few(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
