"""Named places where the loop can be made to end at once, as a power cut would end it: `EXQ_FAILPOINT=after_launch:2`.

For tests: whatever step the loop ends at, the next one has to go on without losing or repeating anything."""

from __future__ import annotations

import os
from itertools import count

FAILPOINTS = (
    "before_accept_commit",
    "after_accept_commit",
    "after_accept",
    "before_begin_run",
    "after_manifest",
    "after_begin_run",
    "before_revoke",
    "after_revoke",
    "before_journal",
    "after_journal",
    "before_release",
    "after_release",
    "before_launch",
    "after_launch",
    "before_verdict",
    "after_verdict",
    "before_kill",
    "after_kill",
    "before_outcome",
    "after_outcome",
    "before_summary",
    "after_summary",
    "after_analysis",
    "after_settle_run",
)
"""All of them, in the order in which a tick can pass them."""

FAILPOINT_EXIT = 70
"""The exit code of a loop that ended at its failpoint."""

_name, _, _number = os.environ.get("EXQ_FAILPOINT", "").partition(":")
_last = int(_number) if _number.isdecimal() else 1
_passed = count(1)


def failpoint(name: str) -> None:
    """End the process at once, with no clean-up at all, if this is the passing that EXQ_FAILPOINT names."""
    if name == _name and next(_passed) == _last:
        os._exit(FAILPOINT_EXIT)
