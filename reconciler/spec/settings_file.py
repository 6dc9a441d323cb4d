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


class SettingsFile:
    """The exq.yaml of a specs folder. `settings` is None without one, or when it never loaded."""

    def __init__(self, folder: Path, last_good: LastGood, passed: Passed) -> None:
        self._folder = folder
        self._last_good = last_good
        self._passed = passed
        self._stamps: tuple[Stamp | None, ...] | None = None
        self._shared = ""
        self.settings: ProductSettings | None = None
        self.errors: tuple[SpecError, ...] = ()
        self.unsettled = False
        """It is being written, so it is as it was before."""
        self.unknown = False
        """There is one, and it says nothing that could be read, now or at any time before."""

    @property
    def path(self) -> Path:
        """The file that is read, or would be."""
        return self._folder / next((name for name in sorted(RESERVED) if self._is_there(name)), "exq.yaml")

    @property
    def is_there(self) -> bool:
        """There is an exq.yaml."""
        return any(self._is_there(name) for name in RESERVED)

    def refresh(self, *, settle: bool, now: float) -> None:
        """Read it if it changed. `settle`: not while it is being written, if it was read before."""
        stamps = tuple(stamp_of(self._folder / name) for name in sorted(RESERVED))
        shared = folder_distrust(self._folder) if any(stamps) or self.settings is not None else ""
        if (stamps, shared) == (self._stamps, self._shared) and not self.unsettled:
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
        elif not self.is_there:
            self.settings, self.errors = None, ()
        elif all(self._is_there(name) for name in RESERVED):
            words = "there is exq.yml, too: keep one of the two"
            self._broken((SpecError(str(self.path), 0, 0, words),))
        else:
            self._read()

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
        self.settings, self.errors = settings, errors
        self._passed.add(known)
        if self._last_good.get(self._key) != text:
            self._last_good.put(self._key, text)

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
