"""Spec texts that come from nowhere in particular (a commit, a saved plan) into what they ask for."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.spec import Desired, SpecError
from reconciler.spec.intake import Intake, Named, TakenFile, desired_of, digest_of, one_project_each, version_of
from reconciler.spec.reading import Unreadable


class NothingKept:
    """Remembers no earlier version: a broken file is broken, whatever it once said."""

    def get(self, path: str) -> str | None:
        return None

    def put(self, path: str, text: str) -> None:
        return None

    def revision(self, path: str) -> str:
        return ""

    def note_revisions(self, revisions: Mapping[str, str]) -> None:
        return None


def load_texts(texts: Mapping[str, str | Unreadable], base: str, revision: str) -> Desired:
    """What these texts ask for, by the path that names each in messages. Nothing is read but the texts.

    `base` is where a relative `cwd` begins. A text that does not load, and an `Unreadable`, is a broken file."""
    intake = Intake(base, NothingKept(), set())
    files = one_project_each([_taken(intake, path, text) for path, text in texts.items()])
    errors = [error for file in files for error in file.errors]
    return intake.kept(desired_of(version_of(files), revision, files, errors))


def _taken(intake: Intake, path: str, text: str | Unreadable) -> TakenFile:
    name = Named(path, path)
    if isinstance(text, Unreadable):
        return intake.broken(name, None, 0.0, digest_of(str(text)), (SpecError(path, 0, 0, str(text)),))
    return intake.load(name, None, 0.0, text, digest_of(text))
