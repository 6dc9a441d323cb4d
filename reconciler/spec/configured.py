"""The specs as exq.yaml says: the folder as it is, or commits of a git repository. That may change at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from reconciler.model.spec import Desired, SpecError, SpecFile
from reconciler.spec.files import SpecFolder, Specs

if TYPE_CHECKING:
    from reconciler.spec.exq_yaml import GitSource
    from reconciler.spec.settings_file import SettingsFile


@runtime_checkable
class GitFollowing(Protocol):
    """Specs that follow the history of a repository."""

    def accept(self, commit: str) -> None:
        """Take this commit of a rewritten history."""


_UNKNOWN = "what it says of the source of the specs is not known, so nothing is asked for"

_NOTHING = Desired(version="", revision="none", projects={})


class ConfiguredSpecs:
    """`SpecFolder` or `GitSpecs`, whichever exq.yaml asks for now; `open_git` makes the latter for a source,
    `close_git` is told when there is none any more."""

    def __init__(
        self,
        plain: SpecFolder,
        file: SettingsFile,
        open_git: Callable[[GitSource], Specs],
        close_git: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder: Path = plain.folder
        self.file = file
        self._plain = plain
        self._open_git = open_git
        self._close_git = close_git
        self._git: tuple[GitSource, Specs] | None = None
        self._last: tuple[Desired, tuple[object, ...], Desired] | None = None

    def load(self, *, settle: bool, now: float) -> Desired:
        """The desired state at the time `now`. Mistakes in exq.yaml are among its errors, and change nothing else."""
        self.file.refresh(settle=settle, now=now)
        if self.file.unknown:
            return self._with_file(_NOTHING)
        return self._with_file(self._current().load(settle=settle, now=now))

    def accept(self, commit: str) -> None:
        """Take this commit of a rewritten history, where the specs come from git."""
        specs = self._current()
        if isinstance(specs, GitFollowing):
            specs.accept(commit)

    def open_source(self) -> None:
        """Open what exq.yaml asks for, as far as that is known, without reading specs."""
        if not self.file.unknown:
            self._current()

    def texts(self) -> dict[str, str]:
        """By path, the texts that the projects of the last load come from."""
        return {} if self.file.unknown else self._current().texts()

    def _current(self) -> Specs:
        source = self.file.settings.source if self.file.settings is not None else None
        if source is None:
            if self._git is not None:
                self._close_git()
            self._git = None
            return self._plain
        if self._git is None or self._git[0] != source:
            self._git = source, self._open_git(source)
        return self._git[1]

    def _with_file(self, desired: Desired) -> Desired:
        """The desired state, with what is to be said of exq.yaml. The same object while neither changes."""
        said = self._said()
        if not said[0] and not said[1]:
            return desired
        if self._last is None or self._last[0] is not desired or self._last[1] != said:
            errors, files = said
            merged = replace(desired, errors=(*errors, *desired.errors), files=(*desired.files, *files))
            self._last = desired, said, merged
        return self._last[2]

    def _said(self) -> tuple[tuple[SpecError, ...], tuple[SpecFile, ...]]:
        errors, path = self.file.errors, str(self.file.path)
        if self.file.unknown:
            errors = (*errors, SpecError(path, 0, 0, _UNKNOWN))
        return errors, (SpecFile(path, "", unsettled=True),) if self.file.unsettled else ()
