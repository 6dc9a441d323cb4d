"""The unit file of the service: the one that exq ships, with the paths of this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.cli.exits import CliError

UNIT = "exq.service"
SHIPPED = Path(__file__).parents[1] / "_systemd" / UNIT
MARK = "Description=exq, the reconciler of experiment specs"
"""Stands in every unit file of ours."""

KEPT = (
    "PATH",
    "LANG",
    "PYTHONPATH",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "SCREENDIR",
    "SCREEN",
    "NVIDIA_SMI",
    "EXQ_HOST",
    "EXQ_SSH_CONFIG",
    "EXQ_REMOTE_STATE",
    "EXQ_CONDA_HOOK",
    "ARIS_CONDA_HOOK",
)
"""What a service would otherwise see differently from the shell: it reads none of the shell's files."""


def unit_folder(env: Mapping[str, str]) -> Path:
    """Where systemd looks for units that a user has written."""
    return Path(env.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "systemd" / "user"


def render_unit(specs: Path, state: Path, env: Mapping[str, str]) -> str:
    """The unit that runs this exq on these folders, with the environment that matters.

    Raises `CliError` for a path that no unit file can hold."""
    kept = [f"Environment={_word(f'{name}={env[name]}')}" for name in KEPT if env.get(name)]
    command = [*_program(), "--specs", str(specs), "--state", str(state), "run"]
    start = "ExecStart=" + " ".join(_word(word).replace("$", "$$") for word in command)
    lines = []
    for line in SHIPPED.read_text(encoding="utf-8").split("[Unit]", 1)[1].splitlines():
        if line.startswith("Environment="):
            lines += kept
        else:
            lines.append(start if line.startswith("ExecStart=") else line)
    head = ["# written by `exq service install`; `systemctl --user edit exq` overrides it and survives an upgrade"]
    return "\n".join([*head, "[Unit]" + lines[0], *lines[1:], *_facts(specs, state)]) + "\n"


def unit_facts(text: str) -> dict[str, str]:
    """`specs` and `state` of a unit file that `render_unit` made; empty for another."""
    found = {}
    for line in text.partition("[X-Exq]")[2].splitlines():
        name, _, value = line.partition("=")
        if name in ("Specs", "State"):
            found[name.lower()] = value
    return found


def _facts(specs: Path, state: Path) -> Sequence[str]:
    """A section that systemd passes over."""
    return ("", "[X-Exq]", f"Specs={specs}", f"State={state}")


def _program() -> list[str]:
    """This exq, by absolute paths: its own script where there is one, which knows its interpreter."""
    script = Path(sys.executable).with_name("exq")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "reconciler"]


def _word(text: str) -> str:
    """One word in a unit file."""
    if not text.isprintable():
        raise CliError(f"{text!r} cannot stand in a unit file: it holds a character that is not printable")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if set(escaped) & set(" \t'\";\\") or not escaped else escaped
