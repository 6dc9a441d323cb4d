"""Where a verb works and how it prints: options and environment, resolved once."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from reconciler.cli.exits import USAGE, CliError

if TYPE_CHECKING:
    from reconciler.spec.effective import Effective
    from reconciler.spec.settings_file import SettingsFile

DEFAULT_SPECS = "specs"


@dataclass(frozen=True, slots=True)
class Context:
    """`specs` is kept as the user wrote it, for messages; `state` is absolute."""

    specs: Path
    state: Path
    json: bool
    color: bool
    env: Mapping[str, str]

    def settings(self) -> Effective:
        """The settings that hold: of the environment, else of exq.yaml, else the defaults."""
        return self.settings_file()[0]

    def settings_file(self) -> tuple[Effective, SettingsFile]:
        """The same with the exq.yaml beside the specs. What is broken in it counts as not there."""
        import time

        from reconciler.spec.effective import effective
        from reconciler.spec.settings_file import SettingsFile
        from reconciler.spec.texts import NothingKept

        file = SettingsFile(self.specs, NothingKept(), set())
        file.refresh(settle=False, now=time.time())
        return effective(self.env, file.settings), file

    def require_specs(self) -> None:
        """Raise `CliError` when there is no specs folder to work on."""
        if self.specs.is_dir():
            return
        if self.specs.exists():
            raise CliError(
                f"{self.specs} is not a folder: --specs names the folder that holds the spec files",
                f"exq --specs {self.specs.parent} diff, or for this file alone: exq validate {self.specs}",
            )
        raise CliError(
            f"there is no specs folder {self.specs}",
            "go to the folder that holds it, name it: exq --specs DIR (or set EXQ_SPECS), or make one: exq init",
        )


def context_from(args: Namespace, env: Mapping[str, str], out: TextIO) -> Context:
    """The context that these options ask for. Raises `CliError` for an environment that makes no sense."""
    from reconciler.spec.effective import wrong_variable

    wrong = wrong_variable(env)
    if wrong:
        raise CliError(wrong, code=USAGE)
    return Context(
        specs=Path(args.specs).expanduser() if args.specs else local_specs(env),
        state=state_folder(args.state, env),
        json=bool(args.json),
        color=not args.json and wants_color(args.color, env, out),
        env=env,
    )


def local_specs(env: Mapping[str, str]) -> Path:
    """The specs folder where --specs is not given: EXQ_SPECS, else `specs` in the current folder."""
    return Path(env.get("EXQ_SPECS") or DEFAULT_SPECS).expanduser()


def state_folder(option: str | None, env: Mapping[str, str]) -> Path:
    """--state, else EXQ_STATE, else `exq` in the user's state folder (XDG_STATE_HOME or ~/.local/state)."""
    named = option or env.get("EXQ_STATE")
    if named:
        return Path(named).expanduser().absolute()
    base = env.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "exq"


def wants_color(option: str | None, env: Mapping[str, str], out: TextIO) -> bool:
    """--color always|never decides; else NO_COLOR, a dumb terminal or a pipe turn it off."""
    if option in ("always", "never"):
        return option == "always"
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb" and out.isatty()


def who(env: Mapping[str, str]) -> str:
    """`user@host`, as the audit trail names a person."""
    import socket

    user = env.get("USER") or env.get("LOGNAME") or login_name() or f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def login_name() -> str | None:
    """The name that the system knows this user by; None for one who is a number alone."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def say(message: str) -> None:
    """A message for people: on stderr, so that stdout stays data, and after what went there."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
