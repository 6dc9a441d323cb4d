"""From what a user types to jobs and projects. Pure: names in, names or a sentence out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.cli.exits import CliError

SHOWN_MAX = 8
"""How many names a message lists before it says how many more there are."""


@dataclass(frozen=True, slots=True)
class Names:
    """What can be named. `current` job keys win over `former` ones, which only the ledger still knows."""

    current: tuple[str, ...]
    projects: tuple[str, ...] = ()
    former: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What one word stands for: job keys, and the project where the word named one as a whole.

    `explicit` is False for a pattern or a project, which take what fits and pass over the rest."""

    word: str
    jobs: tuple[str, ...]
    project: str | None = None
    explicit: bool = True


def resolve_job(word: str, names: Names) -> str:
    """The key of the one job that `word` means: `project/id`, or an id alone where one project has it.

    Raises `CliError` with the candidates when it is ambiguous, and with close names when it is unknown."""
    for keys in (names.current, names.former):
        found = _jobs_named(word, keys)
        if len(found) == 1:
            return found[0]
        if found:
            raise CliError(f"{word!r} is a job of {len(found)} projects", f"say which one: {listed(found)}")
    if word in names.projects:
        raise CliError(f"{word!r} is a project, and one job is needed here", "exq status lists its jobs")
    raise unknown_name(word, names)


def resolve_target(word: str, names: Names) -> Target:
    """The jobs that `word` means: a job, a pattern (`s42_*`, `distill/*`), or a project (`distill`, `distill/`).

    Raises `CliError` when nothing fits or a name fits both a project and a job."""
    project = word[:-1] if word.endswith("/") else word
    is_project = project in names.projects
    jobs = _jobs_named(word, names.current) or _jobs_named(word, names.former)
    if is_project and jobs:
        raise CliError(f"{word!r} is a project and a job", f"say which one: {listed([f'{project}/', *jobs])}")
    if is_project:
        return Target(word, _jobs_of(project, names.current), project, explicit=False)
    if jobs:
        return Target(word, (resolve_job(word, names),))
    if is_pattern(word):
        return Target(word, _matching(word, names), explicit=False)
    raise unknown_name(word, names)


def resolve_project(word: str, projects: Sequence[str]) -> str:
    """The project of this name. Raises `CliError` with close names when there is none."""
    name = word.removesuffix("/")
    if name in projects:
        return name
    raise unknown_name(word, Names(current=(), projects=tuple(projects)), "project")


def is_pattern(word: str) -> bool:
    """It has a shell wildcard."""
    return any(sign in word for sign in "*?[")


def listed(names: Sequence[str]) -> str:
    """The names in one line, the first few of many."""
    more = len(names) - SHOWN_MAX
    return ", ".join(names[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def unknown_name(word: str, names: Names, what: str = "job") -> CliError:
    """The error for a name that nothing has, with the names that come close to it."""
    known = [*names.current, *names.former, *names.projects]
    if not known:
        return CliError(f"there is no {what} {word!r}: the specs list none", "exq validate checks the specs")
    close = closest(word, known)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {listed(sorted(known))}"
    return CliError(f"there is no {what} {word!r}", hint)


def closest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` known names spelled like `word`; ids are compared alone when it has no slash."""
    spelled: dict[str, list[str]] = {}
    for name in known:
        short = name if "/" in word else name.rpartition("/")[2]
        spelled.setdefault(short, []).append(name)
    close = difflib.get_close_matches(word, spelled, n=count, cutoff=0.6)
    return [name for short in close for name in spelled[short]][:count]


def _jobs_named(word: str, keys: Iterable[str]) -> list[str]:
    if "/" in word:
        return [key for key in keys if key == word]
    return [key for key in keys if key.partition("/")[2] == word]


def _jobs_of(project: str, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if key.partition("/")[0] == project)


def _matching(pattern: str, names: Names) -> tuple[str, ...]:
    whole = "/" in pattern
    found = tuple(key for key in names.current if fnmatchcase(key if whole else key.partition("/")[2], pattern))
    if not found:
        raise CliError(
            f"no job matches {pattern!r}", f"known: {listed(sorted(names.current))}" if names.current else ""
        )
    return found
