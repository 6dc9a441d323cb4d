"""What can go wrong, and where: faults by the number of the operation that they hit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


class SimCrash(BaseException):
    """The loop's process ends here at once. Nothing catches it, as nothing catches a SIGKILL."""


CRASH_BEFORE = "crash-before"
CRASH_AFTER = "crash-after"
FAIL = "fail"
HANG = "hang"
STALE = "stale"
GARBAGE = "garbage"
POWER = "power"
KILL_SHIM = "kill-shim"
REFUSE = "refuse"
LOSE_REQUEST = "lose-request"
LOSE_REPLY = "lose-reply"
LATE = "late"
PARTITION = "partition"
RESTART = "restart-agent"
SLOW = "slow"
HOST_REBOOT = "host-reboot"

WRITE_KINDS = (CRASH_BEFORE, CRASH_AFTER, FAIL, HANG, POWER)
READ_KINDS = (FAIL, GARBAGE, STALE)
TOOL_KINDS = (FAIL, HANG, STALE, GARBAGE, CRASH_AFTER)
HANDLE_KINDS = (CRASH_BEFORE, CRASH_AFTER, FAIL, HANG, STALE, GARBAGE)
SHIM_KINDS = (FAIL, KILL_SHIM, POWER)
LINK_KINDS = (
    CRASH_BEFORE,
    CRASH_AFTER,
    REFUSE,
    LOSE_REQUEST,
    LOSE_REPLY,
    LATE,
    PARTITION,
    RESTART,
    SLOW,
    GARBAGE,
    HOST_REBOOT,
)
LOOP_KINDS = (CRASH_BEFORE, CRASH_AFTER, FAIL, HANG)

KINDS = {
    "write": WRITE_KINDS,
    "read": READ_KINDS,
    "tool": TOOL_KINDS,
    "handle": HANDLE_KINDS,
    "shim": SHIM_KINDS,
    "loop": LOOP_KINDS,
    "link": LINK_KINDS,
    "signal": (CRASH_BEFORE, CRASH_AFTER, FAIL),
    "spawn": (CRASH_BEFORE, CRASH_AFTER, FAIL, GARBAGE),
}
"""By class of operation, what may happen to it. GARBAGE of a spawn: it says that it worked, and nothing runs."""

COSTS_ATTEMPTS = frozenset({POWER, KILL_SHIM, HOST_REBOOT})
"""Faults that end payloads, so that an attempt may have to be run again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault at one operation."""

    at: int
    kind: str

    def __str__(self) -> str:
        return f"{self.at}:{self.kind}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read `312:crash-after`."""
        at, _, kind = text.partition(":")
        return cls(int(at), kind)


@dataclass(slots=True)
class FaultPlan:
    """Counts the operations of a run and says what happens at each."""

    faults: dict[int, str] = field(default_factory=dict)
    count: int = 0
    record: list[tuple[str, str]] | None = None
    """The class and the name of each operation, where they are wanted."""
    hit: list[Fault] = field(default_factory=list)
    """Faults that did happen."""

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> FaultPlan:
        return cls({fault.at: fault.kind for fault in faults})

    def take(self, group: str) -> str | None:
        """What happens at the operation that was just counted, if its class has such a fault."""
        kind = self.faults[self.count]
        if kind not in KINDS[group]:
            return None
        self.hit.append(Fault(self.count, kind))
        return kind
