"""Words that the views share: counts, GPU lists, and what each reason means in a few words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from reconciler.model.enums import JobStatus, Reason

UNKNOWN_REASONS = frozenset(
    (
        Reason.HOST_UNKNOWN,
        Reason.GPU_UNKNOWN,
        Reason.SCREEN_UNKNOWN,
        Reason.ATTEMPT_UNKNOWN,
        Reason.OUTPUT_UNKNOWN,
        Reason.PRECONDITION_UNKNOWN,
    )
)

COMMIT_REASONS = frozenset((Reason.UNCOMMITTED_CODE, Reason.SNAPSHOT_NOT_READY))
"""What the commit that a job is to run from is waited for."""

_MEANINGS: dict[Reason, str] = {
    Reason.NEW_IN_SPEC: "new in spec",
    Reason.COMMAND_CHANGED: "command changed since it ran",
    Reason.REQUEUED: "tried again",
    Reason.RETRY_REQUESTED: "a retry was asked for",
    Reason.PHASE_NOT_READY: "phase not open",
    Reason.NEEDS_STUCK: "needs a job that is stuck",
    Reason.PRECONDITION_NOT_MET: "precondition not met",
    Reason.NO_FREE_GPU: "no free GPU",
    Reason.NO_SUCH_GPU: "no such GPU on the host",
    Reason.NO_FREE_SLOT: "no free slot",
    Reason.WAVE_NOT_SETTLED: "the wave before it is not over",
    Reason.DISK_FULL: "disk full",
    Reason.INPUTS_ELSEWHERE: "what it needs is on another host",
    Reason.UNCOMMITTED_CODE: "its code has changes that are not committed",
    Reason.SNAPSHOT_NOT_READY: "the commit it runs from is not there yet",
    Reason.PAUSED: "paused",
    Reason.STOPPED_BY_USER: "stopped by a user",
    Reason.NO_COMMAND: "its spec gives no command",
    Reason.HOST_UNKNOWN: "the host could not be observed",
    Reason.GPU_UNKNOWN: "the GPUs could not be observed",
    Reason.SCREEN_UNKNOWN: "the screen sessions could not be observed",
    Reason.ATTEMPT_UNKNOWN: "its attempt could not be observed",
    Reason.OUTPUT_UNKNOWN: "its outputs could not be observed",
    Reason.PRECONDITION_UNKNOWN: "its preconditions could not be checked",
    Reason.STARTING: "starting",
    Reason.RUNNING: "running",
    Reason.SCREEN_GONE: "running; its screen is gone",
    Reason.STOPPING: "being stopped",
    Reason.ORPHAN: "no longer in the specs",
    Reason.ADOPTED: "found running and adopted",
    Reason.STALE_SCREEN: "its screen is left over",
    Reason.HUNG_TAIL: "hung after its outputs were complete",
    Reason.STRAGGLERS: "some of its processes are left over",
    Reason.SUCCEEDED: "succeeded",
    Reason.OUTPUT_EXISTS: "its outputs were there already",
    Reason.OUTPUT_FOUND: "its outputs are there",
    Reason.GPU_OUT_OF_MEMORY: "GPU out of memory",
    Reason.HOST_OUT_OF_MEMORY: "host out of memory",
    Reason.CODE_ERROR: "its command failed",
    Reason.OUTPUT_MISSING: "it ended without its outputs",
    Reason.KILLED_BY_SIGNAL: "killed by a signal",
    Reason.COMMAND_NOT_FOUND: "command not found",
    Reason.ENVIRONMENT_BROKEN: "its environment could not be set up",
    Reason.PAYLOAD_VANISHED: "its processes vanished",
    Reason.HOST_REBOOTED: "the host was rebooted",
    Reason.LAUNCH_LOST: "its launch was lost",
    Reason.LOCK_HELD: "a lock it needs is held",
    Reason.HOST_FORGOTTEN: "its host was given up",
}


def count(number: int, noun: str) -> str:
    """`1 job`, `24 jobs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_SAID_TWICE = re.compile(r"(?<![^\s;])(\S+): (?=\1 (?:\(|through |did not |refuses |cannot ))")


def host_once(text: str) -> str:
    """`b: b (10.0.0.7) did not answer` without its first `b: `: messages of connections begin with the host."""
    return _SAID_TWICE.sub("", text)


def sentence(message: str, reason: Reason) -> str:
    """The message, or what the reason means where there is none."""
    return host_once(message) or _MEANINGS[reason]


def sentence_and_word(message: str, reason: Reason) -> str:
    """The message with the reason's word behind it: `exit 1 (CodeError)`."""
    text = sentence(message, reason)
    return text if str(reason) in text else f"{text} ({reason})"


def ranges(indices: Iterable[int]) -> str:
    """`0-1, 3`: runs of two or more are drawn together."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def gpu_list(indices: Sequence[int]) -> str:
    """`GPU 3`, `GPU 0-1, 3`; empty without any."""
    return f"GPU {ranges(indices)}" if indices else ""


def place(host: str, indices: Sequence[int]) -> str:
    """`b, GPU 3`; `host` is empty where it goes without saying."""
    return ", ".join(part for part in (host, gpu_list(indices)) if part)


def on_place(host: str, indices: Sequence[int]) -> str:
    """` on b, GPU 3`, or nothing: to be put behind a verb."""
    where = place(host, indices)
    return f" on {where}" if where else ""


def some(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def heading(project: str, phase: str, alone: bool) -> str:
    """`distill / train_teachers`; the phase of a project without phases goes without saying."""
    return project if alone else f"{project} / {phase}"


STATUS_COLOURS = {
    JobStatus.PENDING: "dim",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED_OOM: "yellow",
    JobStatus.FAILED_OTHER: "yellow",
    JobStatus.STUCK: "red",
}
