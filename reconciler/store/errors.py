"""What can go wrong with the state folder, as errors whose text a user can act on."""

from __future__ import annotations


class StoreError(Exception):
    """The state folder could not be read or written. The text says where, why, and what to do."""


class StoreFull(StoreError):
    """There is no room left (disk, quota or inodes). Nothing was changed; the same call works once there is room."""
