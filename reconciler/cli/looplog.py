"""What a loop in the background prints: a file that is put aside when it is large, with one old one kept."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LOG = "loop.log"
"""In the state folder."""
OLD = "loop.log.1"
MAX_BYTES = 4 << 20
LOOK_S = 5.0


def opened(folder: Path) -> int:
    """The log, to be printed to: what it holds already is kept as long as it is small."""
    log = folder / LOG
    if log.exists() and log.stat().st_size > MAX_BYTES:
        os.replace(log, folder / OLD)
    return os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)


def keep_small(folder: Path, say: Callable[[str], None]) -> None:
    """From now on, see to it that what this process and its children print to it does not grow without end."""
    threading.Thread(target=_look, args=(folder, say), name="exq-loop-log", daemon=True).start()


def _look(folder: Path, say: Callable[[str], None]) -> None:
    told = ""
    while True:
        time.sleep(LOOK_S)
        try:
            turn_over(folder)
        except OSError as error:  # a full disk, most of all: it is tried again
            if told != str(error):
                told = str(error)
                say(f"{folder / LOG} is large and cannot be put aside: {error.strerror or error}")


def turn_over(folder: Path) -> None:
    """Put the log aside if it is large, and print to a new one. Raises OSError."""
    if os.fstat(1).st_size <= MAX_BYTES:
        return
    with suppress(FileNotFoundError):  # somebody has taken it away: a new one is wanted all the more
        os.replace(folder / LOG, folder / OLD)
    fresh = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(fresh, stream)
    os.close(fresh)
