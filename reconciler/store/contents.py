"""What a ledger holds, and what one transaction changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.model.ledger import JobRecord, ProjectRun


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a ledger. `runs` has the newest run of each project."""

    jobs: dict[str, JobRecord] = field(default_factory=dict)
    runs: dict[str, ProjectRun] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()
    """Ids of requests whose effects are in it."""
    identity: str = ""
    """Made with the ledger: one that was lost and made anew has another. Empty: it has none yet."""


@dataclass(frozen=True, slots=True)
class Changes:
    """One transaction."""

    jobs: tuple[JobRecord, ...] = ()
    runs: tuple[ProjectRun, ...] = ()
    pause: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()

    @classmethod
    def all_of(cls, contents: Contents) -> Changes:
        """What makes an empty ledger hold these contents."""
        return cls(
            tuple(contents.jobs.values()),
            tuple(contents.runs.values()),
            tuple(contents.paused),
            accepted=tuple(contents.accepted),
        )

    def __bool__(self) -> bool:
        return bool(self.jobs or self.runs or self.pause or self.resume or self.accepted)
