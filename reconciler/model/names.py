"""Names shared with the host: attempt paths and session names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

SESSION_NAME_MAX_BYTES = 80
ANALYSIS_ID = "@analyze"
"""The job id of `analyze_on_complete`; a spec cannot use it, since ids do not start with `@`."""

_SESSION_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def job_key(project: str, job_id: str) -> str:
    """The name of a job across projects: `project/id`."""
    return f"{project}/{job_id}"


@dataclass(frozen=True, slots=True, order=True)
class AttemptRef:
    """One execution of a job; `number` counts from 1 and is never used again."""

    job: str
    number: int

    def __str__(self) -> str:
        return f"{self.job}/{self.number}"

    @classmethod
    def parse(cls, path: str) -> AttemptRef:
        """Read `project/id/number`. Raises ValueError on anything else."""
        job, _, number = path.rpartition("/")
        if job.count("/") != 1 or not number.isascii() or not number.isdigit() or int(number) < 1:
            raise ValueError(f"not an attempt path: {path!r}")
        return cls(job, int(number))


def session_name(ref: AttemptRef) -> str:
    """The screen session of an attempt: `exq.<project>.<job>.<number>`.

    GNU screen takes at most 80 bytes and corrupts its listing for anything but letters, digits,
    `_`, `.` and `-`; a name that had to be altered carries a hash, so that no two attempts share one.
    """
    plain = f"exq.{ref.job.replace('/', '.')}.{ref.number}"
    safe = _SESSION_UNSAFE.sub("-", plain)
    if safe == plain and len(plain) <= SESSION_NAME_MAX_BYTES:
        return plain
    tail = f".{sha256(str(ref).encode()).hexdigest()[:10]}.{ref.number}"
    head = safe[: SESSION_NAME_MAX_BYTES - len(tail)]
    return head + tail
