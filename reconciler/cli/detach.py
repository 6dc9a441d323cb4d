"""`exq run --detach`: the loop in the background, on machines where no service manager keeps it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reconciler.cli.context import Context, say
from reconciler.cli.daemon import held_by
from reconciler.cli.exits import INTERNAL, OK, CliError, known_problem
from reconciler.cli.looplog import LOG, keep_small, opened
from reconciler.cli.notify import Send
from reconciler.cli.output import print_json

SHOWN_MAX_BYTES = 8192


@dataclass(slots=True)
class Beginning:
    """What the parent has heard of the loop. `code` is set when that ended."""

    pid: int | None = None
    ready: bool = False
    code: int | None = None

    def hear(self, line: str) -> None:
        """Take in one line `NAME=value`."""
        name, _, value = line.strip().partition("=")
        if name == "READY":
            self.ready = True
        elif name == "MAINPID":
            self.pid = int(value)
        elif name == "EXIT":
            self.code = int(value)


def detached(context: Context, work: Callable[[Send], int]) -> int:
    """Run `work` in the background. Returns here once it has begun, and there with its own exit code.

    Raises `CliError` with 75 when a loop runs already. What keeps it from beginning is printed, its code returned."""
    log = _log_for(context)
    output = opened(log.parent)
    before = os.fstat(output).st_size
    read_fd, write_fd = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    first = os.fork()
    if first == 0:
        os.close(read_fd)
        os.setsid()
        if os.fork():  # whoever is left leads no session, so no terminal can become its own
            os._exit(0)
        _redirect(output)
        keep_small(log.parent, say)
        return _in_background(work, write_fd)
    os.close(write_fd)
    os.waitpid(first, 0)
    with open(read_fd, "rb") as pipe, open(output, "rb") as printed:
        heard = _wait(pipe)
        if heard.ready:
            return _say_ready(context, log, heard)
        printed.seek(before)
        sys.stderr.write(printed.read(SHOWN_MAX_BYTES).decode(errors="replace"))
        say(f"exq: the loop has not begun; all it printed is in {log}")
        return INTERNAL if heard.code is None else heard.code


def _log_for(context: Context) -> Path:
    """Make the state folder. Raises `CliError` when a loop holds it."""
    from reconciler.store.lock import holder
    from reconciler.store.paths import StatePaths

    context.require_specs()
    paths = StatePaths(context.state)
    paths.ensure()
    found = holder(paths)
    if found is not None:
        raise held_by(context, found)
    return paths.root / LOG


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for spare in {nothing, output} - {0, 1, 2}:
        os.close(spare)


def _in_background(work: Callable[[Send], int], pipe: int) -> int:
    """The loop itself, which tells its parent through a pipe how it gets on."""

    def send(text: str) -> None:
        with suppress(BrokenPipeError):  # the parent has heard enough
            os.write(pipe, f"{text}\n".encode())

    send(f"MAINPID={os.getpid()}")
    try:
        code = work(send)
    except Exception as error:
        problem = error if isinstance(error, CliError) else known_problem(error)
        send(f"EXIT={problem.code if problem else INTERNAL}")
        raise
    send(f"EXIT={code}")
    return code


def _wait(pipe: BinaryIO) -> Beginning:
    """Until the loop has begun, or has ended without that."""
    heard = Beginning()
    for line in pipe:
        heard.hear(line.decode())
        if heard.ready:
            break
    return heard


def _say_ready(context: Context, log: Path, heard: Beginning) -> int:
    if context.json:
        print_json({"schema": "exq.detached/v1", "pid": heard.pid, "log": str(log)})
    else:
        print(f"the loop runs in the background (pid {heard.pid}); its output is in {log}")
        say(f"  exq status shows how it gets on; kill {heard.pid} ends it, and running jobs go on")
    return OK
