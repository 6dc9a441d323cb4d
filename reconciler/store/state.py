"""The state folder as the loop sees it, besides ledger and audit trail: what users asked for, and attempt folders."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reconciler.model.ledger import JobRecord, Request
from reconciler.store import rebuild, requests, seen
from reconciler.store.atomic import mapped
from reconciler.store.paths import StatePaths


class StateFolder:
    """One state folder. The simulated world of the tests has another with the same methods."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths

    def pending(self) -> tuple[Request, ...]:
        """Requests that were not carried out yet, oldest first."""
        return requests.pending(self._paths)

    def accept(self, request: Request) -> None:
        """Take a request that was carried out off the inbox, durably. Raises StoreError or StoreFull."""
        requests.accept(self._paths, request)

    def set_aside_damaged(self) -> tuple[str, ...]:
        """Rename damaged request files; a sentence for each."""
        return requests.set_aside_damaged(self._paths)

    def markers(self) -> frozenset[str]:
        """The markers in the spool: attempts without a verdict beside their files. Raises StoreError."""
        with mapped("read", self._paths.spool):
            return frozenset(os.listdir(self._paths.spool)) if self._paths.spool.is_dir() else frozenset()

    def keep_seen(self, hosts: Mapping[str, seen.Seen]) -> None:
        """Since when each host answers or not. Raises StoreError or StoreFull."""
        seen.write_seen(self._paths, hosts)

    def rebuild_job(self, key: str) -> JobRecord | None:
        """What the attempt folders of a job tell; None when there are none."""
        return rebuild.rebuild_job(self._paths.attempts, key)
