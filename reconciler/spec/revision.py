"""The git repository around a specs folder: which revision it shows, and whether it is being rewritten."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from reconciler.spec.git_run import GitProblem, GitRun

REVISION_FILE = ".exq-revision"
"""In a folder that was copied from another machine: the revision that it had there."""
REVISION_MAX_BYTES = 200
DIRTY = "-dirty"
"""How a revision ends that does not say what the files hold."""
CHECK_EVERY_S = 60.0
AT_MOST_EVERY_S = 2.0
DESCRIBE_DEADLINE_S = 5.0

_BRIEF = "index.lock"
_OPERATIONS = {
    _BRIEF: "a git command is running",
    "MERGE_HEAD": "a git merge is not finished",
    "rebase-merge": "a git rebase is not finished",
    "rebase-apply": "a git rebase is not finished",
    "CHERRY_PICK_HEAD": "a git cherry-pick is not finished",
    "REVERT_HEAD": "a git revert is not finished",
    "BISECT_LOG": "a git bisect is not finished",
}
_MOVES_WITH_HEAD = ("HEAD", "index", "logs/HEAD", "packed-refs")

Signature = tuple[int, ...]


def git_folder(folder: Path) -> Path | None:
    """The git folder of the repository that holds a folder, or None outside of any."""
    absolute = Path(os.path.abspath(folder))
    for holder in (absolute, *absolute.parents):
        git = holder / ".git"
        if git.is_dir():
            return git
        if git.is_file():
            return _linked(git)
    return None


def _linked(git_file: Path) -> Path | None:
    """The folder that the `.git` file of a worktree points at."""
    try:
        text = git_file.read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return None
    target = text.partition("gitdir:")[2].strip()
    return git_file.parent / target if target else None


def operation_in_progress(git: Path | None, *, brief: bool = True) -> str | None:
    """What git is doing to the files at the moment, in words; None when nothing.

    `brief`: also what is over in a moment, and changes no commit."""
    if git is None:
        return None
    asked = {name: words for name, words in _OPERATIONS.items() if brief or name != _BRIEF}
    return next((words for name, words in asked.items() if os.path.lexists(git / name)), None)


@dataclass(slots=True)
class Revision:
    """`git describe` of a folder, asked again only when the repository or the specs have changed."""

    folder: Path
    _text: str | None = None
    _signature: tuple[Signature, str] | None = None
    _asked_at: float = float("-inf")

    def read(self, git: Path | None, content: str, now: float) -> str:
        """The revision in words. `content` is a hash of the specs: it stands in where git has no answer."""
        brought = _brought(self.folder)
        if brought:
            return brought
        if git is None:
            return content[:12]
        signature = (_signature(git), content)
        age_s = now - self._asked_at
        due = age_s >= AT_MOST_EVERY_S if signature != self._signature else age_s >= CHECK_EVERY_S
        if due or age_s < 0:
            self._text, self._signature, self._asked_at = _describe(self.folder), signature, now
        return self._text or content[:12]


def _brought(folder: Path) -> str | None:
    """What the file says that came with a copied folder; None without one, or where it says nothing of use."""
    try:
        with (folder / REVISION_FILE).open("rb") as file:
            line = file.read(REVISION_MAX_BYTES).split(b"\n", 1)[0].decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return line if line and line.isprintable() else None


def _signature(git: Path) -> Signature:
    times = []
    for name in _MOVES_WITH_HEAD:
        try:
            times.append(os.stat(git / name).st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def _describe(folder: Path) -> str | None:
    """`git describe --always --dirty`, or None where git has no answer (no commit yet, no git, somebody else's).

    Dirty is also a folder with spec files that no commit has: git itself counts only what it follows."""
    where = ("-C", str(folder))
    try:
        described = GitRun(*where, "describe", "--always", "--dirty")
        others = GitRun(*where, "ls-files", "--others", "--", "*.yaml", "*.yml")  # side by side: each takes a while
    except GitProblem:
        return None
    text, unfollowed = _output(described), _output(others)
    if not text:
        return None
    return f"{text}{DIRTY}" if unfollowed and not text.endswith(DIRTY) else text


def _output(git: GitRun) -> str | None:
    """What it printed; None where it failed or takes too long."""
    try:
        answer = git.answer(deadline_s=DESCRIBE_DEADLINE_S)
    except GitProblem:
        return None
    return answer.text.strip() if answer.code == 0 else None
