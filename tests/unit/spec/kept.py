"""Last good texts in memory, for tests."""

from __future__ import annotations

from collections.abc import Mapping


class Kept(dict[str, str]):
    """Last good texts by path, and in `revisions` where they were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.revisions: dict[str, str] = {}

    def put(self, path: str, text: str) -> None:
        self[path] = text

    def revision(self, path: str) -> str:
        return self.revisions.get(path, "")

    def note_revisions(self, revisions: Mapping[str, str]) -> None:
        self.revisions.update(revisions)
