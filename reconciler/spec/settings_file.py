"""exq.yaml as it lies beside the specs: read again when it changes; a broken one leaves the last good one in force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.model.spec import SpecError
from reconciler.spec.reading import RESERVED, Stamp, Unreadable, read_spec, stamp_of
from reconciler.trust import folder_distrust

if TYPE_CHECKING:
    from reconciler.spec.exq_yaml import ProductSettings
    from reconciler.spec.intake import LastGood, Passed

SETTLE_S = 0.3
"""A file that changed less than this ago may still be being written."""
_NAMES = tuple(sorted(RESERVED))


class SettingsFile:
    """The exq.yaml of a specs folder. `settings` is None without one, or when it never loaded."""

    def __init__(self, folder: Path, last_good: LastGood, passed: Passed) -> None:
        self._folder = folder
        self._last_good = last_good
        self._passed = passed
        self._stamps: tuple[Stamp | None, ...] | None = None
        self._shared = ""
        self._text: str | None = None
        self.settings: ProductSettings | None = None
        self.errors: tuple[SpecError, ...] = ()
        self.unsettled = False
        """It is being written, so it is as it was before."""
        self.unknown = False
        """There is one, and it says nothing that could be read, now or at any time before."""

    @property
    def path(self) -> Path:
        """The file that is read, or would be."""
        return self._folder / next((name for name in _NAMES if self._is_there(name)), _NAMES[0])

    @property
    def is_there(self) -> bool:
        """There is an exq.yaml."""
        return any(self._is_there(name) for name in _NAMES)

    def refresh(self, *, settle: bool, now: float) -> None:
        """Read it if it changed. `settle`: not while it is being written, if it was read before."""
        try:
            stamps = tuple(_stamp(self._folder, name) for name in _NAMES)
        except OSError as error:
            self._out_of_reach(error)
            return
        shared = folder_distrust(self._folder) if any(stamps) or self.settings is not None else ""
        if (stamps, shared) == (self._stamps, self._shared) and not self.unsettled:
            self._keep()
            return
        first = self._stamps is None
        changed = [stamp for stamp in (*stamps, *([] if any(stamps) else [stamp_of(self._folder)])) if stamp]
        recent = any(abs(now - stamp.mtime_ns / 1e9) < SETTLE_S for stamp in changed)
        self.unsettled = settle and recent and not first
        if self.unsettled:
            return
        self._stamps, self._shared = stamps, shared
        self.unknown = False
        if shared:
            words = f"nothing new is taken from it: others could put another in its place, since {shared}"
            self._broken((SpecError(str(self.path), 0, 0, words),))
        elif not any(stamps):
            self._absent()
        elif all(stamps):
            words = "there is exq.yml, too: keep one of the two"
            self._broken((SpecError(str(self.path), 0, 0, words),))
        else:
            self._read()

    def _absent(self) -> None:
        """There is none. That is kept, too: what one said that was taken away long ago counts no more."""
        self.settings, self.errors, self._text = None, (), None
        if self._last_good.get(self._key):
            self._last_good.put(self._key, "")

    def _out_of_reach(self, error: OSError) -> None:
        """Nobody can tell whether there is one: all is as it was, and it is looked for again."""
        was_absent = self._stamps is not None and self.settings is None and not self.unknown
        self._stamps, self.unsettled = () if self._stamps is not None else None, False
        if was_absent:
            self.errors = ()  # the specs cannot be read either, which is said of them
            return
        words = f"it cannot be read, nor can be told whether it is there: {error.strerror or error}"
        self._broken((SpecError(str(self._folder / _NAMES[0]), 0, 0, words),))

    def _is_there(self, name: str) -> bool:
        return os.path.lexists(self._folder / name)

    def _read(self) -> None:
        from reconciler.spec.exq_yaml import read_product_settings
        from reconciler.spec.intake import digest_of
        from reconciler.spec.schema import settings_schema_text

        path = self.path
        try:
            text = read_spec(path)
        except Unreadable as error:
            self._broken((SpecError(str(path), 0, 0, str(error)),))
            return
        known = digest_of(f"{digest_of(settings_schema_text())}\0{digest_of(text)}")
        settings, errors = read_product_settings(text, str(path), schema_checked=known in self._passed)
        if settings is None:
            self._broken(errors)
            return
        self.settings, self.errors, self._text = settings, errors, text
        self._passed.add(known)
        self._keep()

    def _keep(self) -> None:
        """Keep what it said when it last loaded. One that could not be kept is tried again with the next look."""
        if self._text is not None:
            self._last_good.put(self._key, self._text)

    def _broken(self, errors: tuple[SpecError, ...]) -> None:
        """Its mistakes stand, and so do the settings of before."""
        from reconciler.spec.exq_yaml import read_product_settings

        self.errors = errors
        if self.settings is None:
            text = self._last_good.get(self._key)
            if text is not None:
                self.settings, _ = read_product_settings(text, str(self.path), schema_checked=True)
        self.unknown = self.settings is None

    @property
    def _key(self) -> str:
        return os.path.abspath(self._folder / "exq.yaml")


def _stamp(folder: Path, name: str) -> Stamp | None:
    """The stamp of a file in a folder; None where the folder has none of this name. Raises OSError where that cannot be
    told: a folder that is away has not said that the file is."""
    path = folder / name
    stamp = stamp_of(path)
    if stamp is not None:
        return stamp
    try:
        os.lstat(path)
    except FileNotFoundError:
        os.listdir(folder)
        return None
    found = os.lstat(path)  # a link that leads nowhere
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, (found.st_mode, 0, 0))
