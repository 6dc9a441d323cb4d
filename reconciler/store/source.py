"""What is kept of a git source over restarts: the commit last taken, and how the last fetch went."""

from __future__ import annotations

from pathlib import Path

from reconciler.model.source import Fetched, Taken
from reconciler.store.atomic import write_atomic
from reconciler.store.errors import StoreError
from reconciler.store.paths import PRIVATE, StatePaths
from reconciler.store.records import RecordDamaged, Shape, parse_json, to_json

_TAKEN, _FETCHED = Shape(Taken), Shape(Fetched)


class KeptSource:
    """The records of one source. `identity` tells it from others of the same state folder."""

    def __init__(self, paths: StatePaths, identity: str, *, writable: bool) -> None:
        self._folder = paths.source
        self._identity = identity
        self.writable = writable
        self._latest: Fetched | None = None
        self.problem = ""
        """Why the commit that was taken could not be kept; empty while it is."""
        self.doubt = ""
        """Why it is not known which commit was last taken; empty when that is known. Nothing may be taken then."""

    @property
    def mirror(self) -> Path:
        """The private bare repository that a remote one is fetched into."""
        return self._folder / f"{self._identity}.git"

    def taken(self) -> Taken | None:
        """The commit that was last taken; None when none was, or there is a `doubt` afterwards."""
        path, self.doubt = self._file("taken"), ""
        try:
            return _TAKEN.read(parse_json(path.read_bytes().decode()))
        except FileNotFoundError:
            return None
        except OSError as error:
            why = f"{path} cannot be read: {error.strerror or error}"
        except (UnicodeDecodeError, RecordDamaged):
            why = f"{path} is damaged"
        self.doubt = f"it is not known which commit was last taken: {why}"
        return None

    def keep_taken(self, taken: Taken) -> None:
        """Keep it durably. Never raises on a full disk: see `problem`."""
        if not self.writable:
            return
        try:
            self._write("taken", to_json(_TAKEN.write(taken)))
        except StoreError as error:
            self.problem = f"the revision could not be kept: {error}"
        else:
            self.problem = ""

    def fetched(self) -> Fetched | None:
        """How the last fetch went, whoever made it."""
        kept, own = self._kept_fetched(), self._latest
        return own if kept is None or (own is not None and own.at > kept.at) else kept

    def keep_fetched(self, fetched: Fetched) -> None:
        """Keep it. Raises StoreError or StoreFull; then it is known to this process alone."""
        self._latest = fetched
        self._write("fetched", to_json(_FETCHED.write(fetched)))

    def _write(self, what: str, text: str) -> None:
        make_private(self._folder)
        write_atomic(self._file(what), text.encode())

    def _file(self, what: str) -> Path:
        return self._folder / f"{self._identity}.{what}.json"

    def _kept_fetched(self) -> Fetched | None:
        try:
            return _FETCHED.read(parse_json(self._file("fetched").read_bytes().decode()))
        except (OSError, UnicodeDecodeError, RecordDamaged):
            return None  # then it is as if it had not been fetched: the next fetch writes it anew


def make_private(folder: Path) -> None:
    """Make the folder for sources. Raises StoreError where the state folder is not there or cannot be written."""
    from reconciler.store.atomic import mapped

    with mapped("make", folder):
        folder.mkdir(mode=PRIVATE, exist_ok=True)
