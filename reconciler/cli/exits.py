"""Exit codes, and the errors that end a verb with a sentence instead of a traceback."""

from __future__ import annotations

import errno

OK = 0
PROBLEM = 1
"""The command was understood and could not be done: a broken spec, an unknown job."""
CHANGES = 2
"""`diff --exit-code`: the plan has actions."""
USAGE = 2
INCOMPLETE = 3
"""`diff --exit-code`: a probe gave no answer, so the plan may not be whole."""
SETTLED_STUCK = 3
"""`run`: nothing is left to do, and some job is stuck or behind a stuck one."""
INTERNAL = 70
HELD = 75
"""Another loop holds the state folder."""
INTERRUPTED = 130
BROKEN_PIPE = 141

_ENVIRONMENT_ERRNOS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG}
)


class CliError(Exception):
    """Something a user can act on. `hint` is what to type or do next; `code` is the exit code."""

    def __init__(self, message: str, hint: str = "", code: int = PROBLEM) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def known_problem(error: Exception) -> CliError | None:
    """The sentence for a fault of the machine (no permission, no room) or of its state folder; None for exq's own."""
    from reconciler.store.errors import StoreError

    if isinstance(error, StoreError):
        return CliError(str(error))
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRNOS and error.filename is not None:
        return CliError(f"cannot use {error.filename}: {error.strerror}")
    return None
