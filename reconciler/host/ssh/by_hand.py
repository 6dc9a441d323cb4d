"""The user's own ssh, as it would be typed."""

from __future__ import annotations

import os
from shlex import quote

CONFIG_VARIABLE = "EXQ_SSH_CONFIG"
"""Names a configuration file to use in place of the user's, as `ssh -F FILE` does."""


def config_file() -> str | None:
    """The configuration that is used in place of the user's; None: the user's."""
    return os.environ.get(CONFIG_VARIABLE) or None


def config_shown() -> str:
    """The file to edit."""
    return config_file() or "~/.ssh/config"


def ssh_words() -> str:
    """`ssh`, with the configuration that exq uses."""
    config = config_file()
    return f"ssh -F {quote(config)}" if config else "ssh"


def use_config(path: str | None) -> None:
    """Have all that starts ssh, and all that names its command, use this one; None: as it is. What the user's own
    variable names wins over exq.yaml, which is up to the caller."""
    if path:
        os.environ[CONFIG_VARIABLE] = path


def ssh_argv(host: str, *options: str) -> list[str]:
    """What enters a host, for a program to start; the words of a command there may follow."""
    config = config_file()
    return ["ssh", *(["-F", config] if config else []), *options, "--", host]


def ssh_to(name: str) -> str:
    """What enters a host."""
    return f"{ssh_words()} {quote(name)}"
