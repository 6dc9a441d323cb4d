"""Spec texts into the desired state, wherever they come from: a broken one leaves all others alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol

from reconciler.model.source import SourceState
from reconciler.model.spec import Desired, Job, Project, SpecError, SpecFile
from reconciler.spec.load import load_text
from reconciler.spec.reading import Stamp
from reconciler.spec.revision import DIRTY

SHORT_HASH = 7
"""How many digits of a file's hash stand for its revision where git names none."""


class LastGood(Protocol):
    """The last text of each file that loaded, by its key (an absolute path, for a file in a folder)."""

    def get(self, path: str) -> str | None:
        """The text, or None when there is none."""

    def put(self, path: str, text: str) -> None:
        """Keep a text that loaded."""

    def revision(self, path: str) -> str:
        """The revision that the text was last seen at; empty when it is not known."""

    def note_revisions(self, revisions: Mapping[str, str]) -> None:
        """Keep the revisions that the texts of these files were seen at."""


class Passed(Protocol):
    """Remembers the texts that the schema was satisfied with, by digest. A `set` will do."""

    def __contains__(self, digest: object, /) -> bool:
        """Whether a text passed before."""

    def add(self, digest: str, /) -> None:
        """Remember that it passed."""


@dataclass(frozen=True, slots=True)
class Named:
    """A spec file: `path` for people, `key` for what is kept of it."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class TakenFile:
    """What one file came to. `digest` is that of the file, `used` that of the text its project comes from."""

    name: Named
    stamp: Stamp | None
    read_at: float
    digest: str
    used: str
    project: Project | None
    file: SpecFile
    errors: tuple[SpecError, ...]

    @property
    def is_good(self) -> bool:
        """Its project is that of the file as it is."""
        return not (self.file.broken or self.file.unsettled)


@dataclass(slots=True)
class Intake:
    """Takes one text after another. Relative paths in them begin at `base`; `taken` is what was taken last."""

    base: str
    last_good: LastGood
    passed: Passed
    taken: dict[str, TakenFile] = field(default_factory=dict)
    """By file name."""
    desired: Desired | None = None

    def load(self, name: Named, stamp: Stamp | None, now: float, text: str, digest: str) -> TakenFile:
        """A file with this text."""
        known = digest_of(f"{_schema_digest()}\0{digest}")
        project, errors = load_text(text, name.path, self.base, schema_checked=known in self.passed)
        if project is None:
            return self.broken(name, stamp, now, digest, errors)
        self.passed.add(known)
        if self.last_good.get(name.key) != text:
            self.last_good.put(name.key, text)
        return TakenFile(name, stamp, now, digest, digest, project, SpecFile(name.path, digest), errors)

    def broken(
        self, name: Named, stamp: Stamp | None, now: float, digest: str, errors: tuple[SpecError, ...]
    ) -> TakenFile:
        """A file that does not load: its errors stand, and so does what it asked for before."""
        used, project = self.good(name)
        file = SpecFile(name.path, digest, broken=True, last_good=project is not None)
        return TakenFile(name, stamp, now, digest, used, project, file, errors)

    def good(self, name: Named) -> tuple[str, Project | None]:
        """The last version of a file that loaded: its digest and its project."""
        text = self.last_good.get(name.key)
        if text is None:
            return "", None
        digest = digest_of(text)
        before = next((file for file in self.taken.values() if file.name == name and file.used == digest), None)
        if before is not None:
            return digest, before.project
        project, _ = load_text(text, name.path, self.base, schema_checked=True)
        return (digest, project) if project else ("", None)

    def unsettled(self, name: Named, before: TakenFile | None, now: float) -> TakenFile:
        """A file that may be half-written: as it was before, to be looked at again."""
        if before:
            return replace(before, stamp=None, read_at=now, file=replace(before.file, unsettled=True))
        used, project = self.good(name)
        file = SpecFile(name.path, "", last_good=project is not None, unsettled=True)
        return TakenFile(name, None, now, "", used, project, file, ())

    def kept(self, desired: Desired) -> Desired:
        """The object of the last look where this one came to the same."""
        last = self.desired
        if last is not None and _same(last, desired):
            return last
        self.desired = replace(desired, index=_index(desired))
        return self.desired

    def texts(self) -> dict[str, str]:
        """By path, the text that the project of each file comes from."""
        good = ((file, self.last_good.get(file.name.key)) for file in self.taken.values() if file.project is not None)
        return {file.file.path: text for file, text in good if text is not None and digest_of(text) == file.used}

    def note_revisions(self, files: Iterable[TakenFile]) -> None:
        """Keep where the texts that loaded come from."""
        good = {file.name.key: file.file.observed_rev for file in files if file.is_good and file.file.observed_rev}
        if good:
            self.last_good.note_revisions(good)

    def with_revisions(self, files: Iterable[TakenFile], revision: str, version: str) -> list[TakenFile]:
        """The files with the revisions that they were read at and that their jobs come from."""
        named = revision != version[: len(revision)]
        return [self._with_revision(file, revision if named else file.digest[:SHORT_HASH]) for file in files]

    def _with_revision(self, file: TakenFile, observed: str) -> TakenFile:
        if file.file.unsettled:
            observed = self.last_good.revision(file.name.key)
        elif file.file.broken:
            good = self.last_good.revision(file.name.key) if file.file.last_good else ""
            if good and (good == observed or good.endswith(DIRTY)):  # which does not tell this text from others
                good = f"{good}+{file.used[:SHORT_HASH]}"
            return replace(file, file=replace(file.file, observed_rev=observed, last_good_rev=good))
        return replace(file, file=replace(file.file, observed_rev=observed, last_good_rev=observed))


def version_of(files: Iterable[TakenFile]) -> str:
    """A hash of all that is asked for."""
    return digest_of("\0".join(f"{file.file.path}\0{file.used}" for file in files))


def one_project_each(files: list[TakenFile]) -> list[TakenFile]:
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


def desired_of(
    version: str, revision: str, files: list[TakenFile], errors: Iterable[SpecError], source: SourceState | None = None
) -> Desired:
    """Everything that the files ask for; `index` is left out, see `Intake.kept`."""
    return Desired(
        version=version,
        revision=revision,
        projects={file.project.name: file.project for file in files if file.project},
        files=tuple(file.file for file in files),
        errors=tuple(errors),
        source=source,
    )


def _same(last: Desired, desired: Desired) -> bool:
    return (
        (last.version, last.revision, last.files) == (desired.version, desired.revision, desired.files)
        and last.errors == desired.errors
        and last.source == desired.source
        and all(last.projects.get(name) is project for name, project in desired.projects.items())
    )


def _index(desired: Desired) -> dict[str, Job]:
    return {job.key: job for project in desired.projects.values() for job in project.jobs()}


def _schema_digest() -> str:
    from reconciler.spec.schema import schema_text

    return digest_of(schema_text())


def digest_of(text: str) -> str:
    """A hash of a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
