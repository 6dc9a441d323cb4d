"""What a fault of exq itself leaves behind: one line for the user, the details in a file."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from reconciler import __version__
from reconciler.cli.context import state_folder
from reconciler.cli.exits import INTERNAL
from reconciler.model.secrets import secret_values, without
from reconciler.trust import folder_distrust


def report_crash(error: Exception, words: list[str], env: Mapping[str, str]) -> int:
    """Write `<state>/crash-<time>.log` and name it; with EXQ_DEBUG=1 print the details too. Returns 70.

    The details are lines of exq's own code: no variables, no environment."""
    secrets = secret_values(env)
    details = without(_details(error, words), secrets)
    if env.get("EXQ_DEBUG") == "1":
        print(details, file=sys.stderr)
    summary = without(" ".join(f"{type(error).__name__}: {error}".split()), secrets)
    print(f"exq: internal error: {summary}; {_kept(details, words, env)}", file=sys.stderr)
    return INTERNAL


def _details(error: Exception, words: list[str]) -> str:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return f"exq {__version__}, Python {platform.python_version()}\narguments: {words!r}\n\n{trace}"


def _kept(details: str, words: list[str], env: Mapping[str, str]) -> str:
    folder = state_folder(_state_option(words), env)
    stamp = time.strftime("%Y%m%dT%H%M%S")
    if folder_distrust(folder):
        return f"details are not written to {folder}, where others could write: EXQ_DEBUG=1 prints them"
    try:
        return f"details in {_write(folder, stamp, details)}"
    except OSError as error:
        return f"details could not be written to {folder} ({error.strerror}): EXQ_DEBUG=1 prints them"


def _write(folder: Path, stamp: str, details: str) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"crash-{stamp}.log"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
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
