"""Where everything lies in a state folder."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.store.atomic import mapped, sync_folder
from reconciler.store.errors import StoreError
from reconciler.trust import folder_distrust

PRIVATE = 0o700


def component(text: str) -> str:
    """An id as part of one file name: `%` and `/` are percent-encoded."""
    return text.replace("%", "%25").replace("/", "%2F")


@dataclass(frozen=True, slots=True)
class StatePaths:
    """The places of one state folder. Making this object touches nothing."""

    root: Path

    @property
    def ledger(self) -> Path:
        """The sqlite ledger: an index of the attempt folders."""
        return self.root / "ledger.sqlite3"

    @property
    def audit(self) -> Path:
        """The audit trail, one JSON object a line."""
        return self.root / "audit.jsonl"

    @property
    def daemon_lock(self) -> Path:
        """Held by the one loop of this state folder."""
        return self.root / "daemon.lock"

    @property
    def attempts(self) -> Path:
        """`<project>/<job>/<n>/`: the truth about every attempt."""
        return self.root / "attempts"

    @property
    def spool(self) -> Path:
        """Markers of attempts that have just ended."""
        return self.root / "spool"

    @property
    def locks(self) -> Path:
        """One lock a job, held by its payload's processes."""
        return self.root / "locks"

    @property
    def bin(self) -> Path:
        """Installed copies of the shim."""
        return self.root / "bin"

    @property
    def requests(self) -> Path:
        """What users asked for and the loop has not carried out yet."""
        return self.root / "requests"

    @property
    def accepted(self) -> Path:
        """Requests that were carried out."""
        return self.requests / "accepted"

    @property
    def seen(self) -> Path:
        """Since when each host answers, or does not."""
        return self.root / "hosts.json"

    @property
    def specs_good(self) -> Path:
        """The last text of each spec file that loaded."""
        return self.root / "specs-good"

    @property
    def source(self) -> Path:
        """What is kept of git sources: the commit last taken, and mirrors of remote repositories."""
        return self.root / "source"

    def attempt(self, path: str) -> Path:
        """The folder of the attempt `project/id/number`."""
        return self.attempts / path

    def marker(self, path: str) -> Path:
        """The spool marker of the attempt `project/id/number`."""
        project, job, number = path.split("/")
        return self.spool / f"{component(project)}%{component(job)}%{number}"

    def ensure(self) -> None:
        """Make the folders that are missing. The state folder is given mode 0700: all others are reached through it.

        Raises StoreError (also when someone else could write there, as `check` does) or StoreFull."""
        self.check()
        with mapped("make the state folder", self.root):
            if not self.root.is_dir():
                self.root.parent.mkdir(parents=True, exist_ok=True)
                _make(self.root)
                sync_folder(self.root.parent)
            else:
                _tighten(self.root)
            made = [_make(folder) for folder in self._folders()]
            if any(made):
                sync_folder(self.root)

    def check(self) -> None:
        """Raise StoreError when someone else could write into the state folder. None at all is fine."""
        why = folder_distrust(self.root)
        if why:
            raise StoreError(f"the state folder {self.root} is not used: {why}")

    def _folders(self) -> tuple[Path, ...]:
        return (self.attempts, self.spool, self.locks, self.bin, self.requests, self.accepted, self.specs_good)


def _tighten(folder: Path) -> None:
    """Nobody else may look into it either: scripts in it hold the values of environment variables."""
    found = folder.stat()
    if stat.S_IMODE(found.st_mode) & ~PRIVATE and found.st_uid == os.geteuid():
        with suppress(PermissionError):  # a filesystem without modes
            folder.chmod(PRIVATE)


def _make(folder: Path) -> bool:
    try:
        folder.mkdir(mode=PRIVATE)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True
