"""Why an attempt failed: the exit code first, the end of its log second, and only for attempts that did fail.

Of the log, the last error that could have ended the program decides. A skipped batch before an ordinary traceback is a
code error. What other processes say because one of them ended (launchers, ranks that lost a peer, threads cut off at
exit) does not hide that first error, and neither does an exception that was raised while handling it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import Exited
from reconciler.planner.oom import may_tell_of_memory, memory_exhausted

LOG_READ_MAX_CHARS = 256 * 1024
"""How much of the end of a log is looked at."""
QUOTE_MAX_CHARS = 200
_LINE_MAX_CHARS = 4000
_EXIT_NOT_EXECUTABLE = 126
_EXIT_NOT_FOUND = 127
_SIGKILL = 9

# Linux numbers: an exit code comes from a Linux host, wherever this runs.
_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
_SIGNAL_HINTS = {
    7: "often a full /dev/shm",
    9: "by hand, or by the kernel for lack of memory (see `dmesg`)",
    24: "over its CPU time limit",
    25: "a file grew over the size limit",
}

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_RANK = re.compile(r"^(?:\[(?:rank|default)\d+\]:? ?|\d{1,4}: (?=\S))")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*\w+(?:Error|Exception|Interrupt|Exit|Failure)(?:\(\w*\))?(?::|$)")
_TRACE_START = re.compile(r"^\s*Traceback \(most recent call last\)|^\s+File \"[^\"]*\", line \d+")
_CHAINED = re.compile(r"^\s*(?:During handling of the above exception|The above exception was the direct cause)")
_ASIDE = re.compile(r"^(?:Exception ignored|Exception in thread|Error in atexit|--- Logging error ---)")
_ECHO = re.compile(
    r"ChildFailedError|CalledProcessError|ProcessExitedException|Engine core initialization failed|DistBackendError"
    r"|BrokenPipeError|ConnectionResetError|Connection (?:reset|closed) by peer|ncclRemoteError"
    r"|DataLoader worker \([^)]*\) exited unexpectedly"
)
_TELLING = re.compile(r"\b(?:error|fatal|failed|cannot|denied|not found|no such|abort(?:ed)?|invalid)\b", re.IGNORECASE)
_AFTER_CRASH = re.compile(r"^(?:\s|wandb:|Traceback|CUDA kernel errors|For debugging consider|Compile with|See doc)")
_OTHER_PROCESS = re.compile(r"\bProcess (\d{1,10}) has (\d+(?:\.\d+)? [KMGT]?i?B) memory in use")
_UNITS = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}


@dataclass(frozen=True, slots=True)
class _Error:
    """A line of the log that reports an error. `row` is its place among the lines."""

    line: str
    row: int
    memory: Reason | None
    is_exception: bool
    is_echo: bool
    """It tells that something else failed."""
    while_handling: bool
    """It was raised while the exception before it was handled, or from it."""


def classify_failure(exited: Exited | None, log_tail: str) -> tuple[Reason, str]:
    """Why an attempt that did not succeed ended, in one word and in one line for people.

    `exited` None: it is gone without an exit record. Raises nothing, whatever the log holds.
    """
    if exited is not None and exited.lock_held is not None:
        return Reason.LOCK_HELD, f"refused to start: the lock {_quote(exited.lock_held)} is held by another attempt"
    lines = _lines(log_tail)
    if exited is not None and exited.code in (_EXIT_NOT_EXECUTABLE, _EXIT_NOT_FOUND):
        what = "command not found" if exited.code == _EXIT_NOT_FOUND else "command is not executable"
        return Reason.COMMAND_NOT_FOUND, _with_quote(f"exit {exited.code}, {what}", _telling_line(lines))
    error = _last_error(lines)
    if error is not None and error.memory is not None:
        return error.memory, _memory_message(error, exited, log_tail)
    return _ordinary(exited, error.line if error else _telling_line(lines))


def is_out_of_memory(log_tail: str) -> Reason | None:
    """For an attempt that is still there: GPU or host memory when its log *ends* with an uncaught such exception.

    Stricter than for one that failed: any output after the error means that the program went on.
    """
    if not may_tell_of_memory(log_tail):
        return None
    lines = _lines(log_tail)
    error = _last_error(lines)
    if error is None or error.memory is None or not error.is_exception:
        return None
    errors_at = {later.row for later in _errors(lines)}
    went_on = any(
        row not in errors_at and not _AFTER_CRASH.match(line) and not _CHAINED.match(line)
        for row, line in enumerate(lines)
        if row > error.row and line.strip()
    )
    return None if went_on else error.memory


def blames_other_process(log_tail: str) -> tuple[int, str] | None:
    """The process that the newest CUDA error names as holding the most memory: (pid, "14.85 GiB")."""
    for line in reversed(_lines(log_tail)):
        held = _OTHER_PROCESS.findall(line)
        if held:
            pid, amount = max(held, key=lambda found: _bytes(found[1]))
            return int(pid), amount
    return None


def status_of(reason: Reason) -> JobStatus:
    """The status of an attempt that failed for `reason`."""
    oom = reason in (Reason.GPU_OUT_OF_MEMORY, Reason.HOST_OUT_OF_MEMORY)
    return JobStatus.FAILED_OOM if oom else JobStatus.FAILED_OTHER


def _ordinary(exited: Exited | None, said: str) -> tuple[Reason, str]:
    if exited is None:
        return Reason.PAYLOAD_VANISHED, _with_quote("its processes are gone and no exit code was recorded", said)
    if exited.signal == _SIGKILL and exited.oom_kills:
        return Reason.HOST_OUT_OF_MEMORY, _with_quote(
            f"killed by the kernel for lack of memory (exit {exited.code})", said
        )
    if exited.signal is not None:
        return Reason.KILLED_BY_SIGNAL, _with_quote(_signal_words(exited.signal, exited.code), said)
    if exited.code == 0:
        return Reason.OUTPUT_MISSING, _with_quote("exit 0, but its outputs are missing", said)
    return Reason.CODE_ERROR, _with_quote(f"exit {exited.code}", said)


def _memory_message(error: _Error, exited: Exited | None, log_tail: str) -> str:
    memory = "GPU" if error.memory is Reason.GPU_OUT_OF_MEMORY else "host"
    ended = "no exit code" if exited is None else f"exit {exited.code}"
    other = blames_other_process(log_tail) if error.memory is Reason.GPU_OUT_OF_MEMORY else None
    blame = f"; process {other[0]} held {other[1]}" if other else ""
    return _with_quote(f"{memory} out of memory ({ended}{blame})", error.line)


def _signal_words(signal: int, code: int) -> str:
    name = _SIGNALS.get(signal, f"signal {signal}")
    hint = f", {_SIGNAL_HINTS[signal]}" if signal in _SIGNAL_HINTS else ""
    return f"killed by {name} (exit {code}){hint}"


def _with_quote(words: str, line: str) -> str:
    return f"{words}: {_quote(line)}" if line.strip() else words


def _quote(line: str) -> str:
    clean = " ".join("".join(char if char.isprintable() else " " for char in line).split())
    return clean if len(clean) <= QUOTE_MAX_CHARS else clean[: QUOTE_MAX_CHARS - 3] + "..."


def _lines(log_tail: str) -> list[str]:
    """Lines without colours and rank prefixes; a progress bar redraws itself with CR, which ends a line here."""
    plain = _ESCAPES.sub("", log_tail[-LOG_READ_MAX_CHARS:])
    return [_RANK.sub("", line[:_LINE_MAX_CHARS]) for line in re.split(r"[\r\n]+", plain)]


def _telling_line(lines: list[str]) -> str:
    """Where there is no exception: the last line that speaks of a failure, else the last line."""
    said = [line for line in lines[-20:] if line.strip()]
    return next((line for line in reversed(said) if _TELLING.search(line)), said[-1] if said else "")


def _last_error(lines: list[str]) -> _Error | None:
    """The error that ended the program, as far as the log shows: the last cause, else the last echo of one."""
    cause: _Error | None = None
    echo: _Error | None = None
    for error in _errors(lines):
        if error.is_echo:
            echo = error
        elif cause is None or not _stands(cause, error):
            cause = error
    return cause or echo


def _stands(cause: _Error, later: _Error) -> bool:
    """Running out of memory remains the cause of what was raised while handling it, or said about it afterwards."""
    if cause.memory is None:
        return False
    return later.while_handling if later.memory is None else cause.is_exception and not later.is_exception


def _errors(lines: list[str]) -> Iterator[_Error]:
    """All error lines in order. Frames of tracebacks and the source they show are no such lines."""
    trace_indent: int | None = None
    while_handling = aside = False
    for row, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if _TRACE_START.match(line):
            trace_indent = indent if line.lstrip().startswith("Traceback") else max(0, indent - 2)
        elif _is_source(line) or (trace_indent is not None and indent > trace_indent):
            continue
        elif _CHAINED.match(line):
            while_handling = True
        elif _ASIDE.match(line):
            aside = True
        else:
            memory = memory_exhausted(line)
            ends_trace = trace_indent is not None
            is_exception = ends_trace or _EXCEPTION.match(line) is not None
            if memory is not None or is_exception:
                is_echo = memory is None and (aside or _ECHO.search(line) is not None)
                yield _Error(line, row, memory, is_exception, is_echo, while_handling)
                while_handling = aside = False
            trace_indent = None


def _is_source(line: str) -> bool:
    """Blank, or source code in the box of a pretty traceback: what it says was not said by the program."""
    return not line.strip() or line.lstrip().startswith(("│", "╭", "╰"))


def _bytes(amount: str) -> float:
    number, unit = amount.split(" ")
    return float(number) * 1024.0 ** _UNITS.get(unit, 0)
