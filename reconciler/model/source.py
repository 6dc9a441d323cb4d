"""Where the desired state comes from when it is a git repository, and how far behind it the loop is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Taken:
    """The commit that was last taken from a source. It is kept over restarts."""

    commit: str
    """Empty where it is not known any more; then only what is made from `accepted` is taken."""
    at: float
    """Seconds since the epoch."""
    names: tuple[str, ...] = ()
    """Its spec files: what is asked for when the repository cannot be read any more."""
    accepted: str = ""
    """A commit of a rewritten history that a user said to take; empty once it is taken."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """How the last fetch of a remote repository went."""

    at: float
    """When it was tried; seconds since the epoch."""
    succeeded_at: float | None = None
    """When one last succeeded."""
    failures: int = 0
    """How many failed in a row."""
    problem: str = ""
    """Why it failed; empty where it did not."""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class SourceState:
    """How the desired state stands to its repository. All names of commits are whole."""

    repository: str
    """As it may be shown: without a password."""
    ref: str
    """The branch, tag or commit that is followed."""
    path: str
    """The folder in the repository; "" at its top."""
    commit: str | None
    """What the desired state is made from; None when nothing was ever taken."""
    taken_at: float | None = None
    newest: str | None = None
    """What `ref` means in the repository as far as that is known."""
    behind: int | None = None
    """How many commits `newest` has that `commit` has not; None when that is not known."""
    rewritten: bool = False
    """`newest` was not made from `commit`, or that is not known: it is taken only when a user says so."""
    problem: str = ""
    """Why `newest` is not taken, or not known; empty when all is well."""
    advice: str = ""
    """What to type or do next about that."""
    remote: bool = False
    """It is fetched; else it is read where it is."""
    interval_s: float | None = None
    """How often it is fetched."""
    fetched_at: float | None = field(default=None, compare=False)
    """When a fetch last succeeded, as of the look that made this: one that fetches nothing new changes nothing."""
