"""The user's own service manager, asked through its command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli import context
from reconciler.cli.exits import CliError
from reconciler.cli.unit import UNIT

LINGER = Path("/var/lib/systemd/linger")
"""Has a file for each user whose services start with the machine and outlast the last logout."""

ANSWER_S = 20.0
START_S = 330.0
"""Longer than the unit gives the loop to begin."""

_SHOWN = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "StatusText", "Result")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    said: str


@dataclass(frozen=True, slots=True)
class Manager:
    """Asks `systemctl --user` with this environment."""

    env: Mapping[str, str]

    def ask(self, *words: str, timeout_s: float = ANSWER_S) -> Answer:
        """Run it; its output, or what it complains about."""
        import subprocess

        try:
            done = subprocess.run(
                ["systemctl", "--user", *words],
                env={**self.env, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            return Answer(127, "there is no systemctl on this machine")
        except subprocess.TimeoutExpired:
            return Answer(124, f"systemctl did not answer within {timeout_s:.0f} s")
        return Answer(done.returncode, (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip())

    def tell(self, *words: str, timeout_s: float = ANSWER_S) -> None:
        """Run it. Raises `CliError` with its complaint."""
        answer = self.ask(*words, timeout_s=timeout_s)
        if answer.code:
            raise CliError(f"systemctl --user {' '.join(words)} failed: {answer.said}", "exq service logs may say more")

    def facts(self) -> dict[str, str]:
        """What it knows of our unit."""
        answer = self.ask("show", UNIT, *(f"--property={name}" for name in _SHOWN))
        return dict(line.split("=", 1) for line in answer.said.splitlines() if "=" in line)


def user_manager(env: Mapping[str, str]) -> Manager:
    """The service manager of this user. Raises `CliError` where none answers."""
    manager = Manager(_with_runtime_folder(env))
    answer = manager.ask("show", "--property=Version")
    if answer.code == 0:
        return manager
    said = answer.said.partition("\n")[0] or "it gave no reason"
    raise CliError(
        f"no systemd user manager answers here: {said}",
        "exq run --detach runs the loop in the background without it",
    )


def _with_runtime_folder(env: Mapping[str, str]) -> dict[str, str]:
    """After `su`, and in cron, the place of the manager's socket is not in the environment."""
    usual = Path(f"/run/user/{os.getuid()}")
    if not env.get("XDG_RUNTIME_DIR") and usual.is_dir():
        return {**env, "XDG_RUNTIME_DIR": str(usual)}
    return dict(env)


def login_name() -> str:
    """This user, as the login manager knows it."""
    return context.login_name() or str(os.getuid())


def lingers() -> bool:
    """Whether the user's services start with the machine and outlast the last logout."""
    return (LINGER / login_name()).exists()
