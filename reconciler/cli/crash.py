"""What a fault of exq itself leaves behind: one line for the user, the details in a file."""

from __future__ import annotations

import platform
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from reconciler import __version__
from reconciler.cli.context import state_folder
from reconciler.cli.exits import INTERNAL


def report_crash(error: Exception, words: list[str], env: Mapping[str, str]) -> int:
    """Write `<state>/crash-<time>.log` and name it; with EXQ_DEBUG=1 print the details too. Returns 70."""
    details = _details(error, words)
    if env.get("EXQ_DEBUG") == "1":
        print(details, file=sys.stderr)
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"exq: internal error: {summary}; {_kept(details, words, env)}", file=sys.stderr)
    return INTERNAL


def _details(error: Exception, words: list[str]) -> str:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return f"exq {__version__}, Python {platform.python_version()}\narguments: {words!r}\n\n{trace}"


def _kept(details: str, words: list[str], env: Mapping[str, str]) -> str:
    folder = state_folder(_state_option(words), env)
    stamp = time.strftime("%Y%m%dT%H%M%S")
    try:
        return f"details in {_write(folder, stamp, details)}"
    except OSError as error:
        return f"details could not be written to {folder} ({error.strerror}): EXQ_DEBUG=1 prints them"


def _write(folder: Path, stamp: str, details: str) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"crash-{stamp}.log"
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(details + "\n")
    return path


def _state_option(words: list[str]) -> str | None:
    """--state as it was typed: the parser may not have run."""
    for place, word in enumerate(words):
        if word.startswith("--state="):
            return word.partition("=")[2]
        if word == "--state" and place + 1 < len(words):
            return words[place + 1]
    return None
