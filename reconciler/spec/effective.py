"""The settings that hold, and where each comes from: a variable of the environment, exq.yaml, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.spec.exq_yaml import GitSource, ProductSettings

DEFAULT = "default"
VARIABLES = {
    "screen": "SCREEN",
    "nvidia_smi": "NVIDIA_SMI",
    "remote_state": "EXQ_REMOTE_STATE",
    "ssh_config": "EXQ_SSH_CONFIG",
    "host_names": "EXQ_HOST",
}
"""The variable that wins over each setting of exq.yaml."""


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings that hold. `origins` tells where each comes from, by its name."""

    screen: str = "screen"
    nvidia_smi: str = "nvidia-smi"
    remote_state: str | None = None
    """None: the usual folder in the home of each host."""
    ssh_config: str | None = None
    """None: the user's own."""
    host_names: tuple[str, ...] = ()
    source: GitSource | None = None
    """None: the folder as it is."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def differences(self, other: Effective) -> list[str]:
        """The names of the settings, besides the source, that are different in the other."""
        return [name for name in VARIABLES if getattr(self, name) != getattr(other, name)]


def effective(env: Mapping[str, str], file: ProductSettings | None) -> Effective:
    """What holds with this environment and this exq.yaml (None: there is none). The environment wins."""
    found: dict[str, object] = {}
    origins = dict.fromkeys([*VARIABLES, "source"], DEFAULT)
    for name, variable in VARIABLES.items():
        of_file = getattr(file, name) if file is not None else None
        if env.get(variable):
            text = env[variable]
            found[name] = tuple(text.split()) if name == "host_names" else text
            origins[name] = variable
        elif file is not None and of_file is not None:
            found[name] = of_file
            origins[name] = f"{file.path}:{file.lines.get(name, 1)}"
    if file is not None and file.source is not None:
        found["source"] = file.source
        origins["source"] = f"{file.path}:{file.lines.get('source', 1)}"
    return replace(Effective(), **found, origins=origins)  # type: ignore[arg-type]


def unusable(settings: Effective) -> dict[str, str]:
    """By its name, what is wrong with a setting that somebody chose: what it names is not on this machine.

    An nvidia-smi is asked on other machines too, and may be on those alone."""
    import shutil

    found = {}
    if settings.origins.get("screen", DEFAULT) != DEFAULT and shutil.which(settings.screen) is None:
        found["screen"] = f"there is no program {settings.screen} on this machine"
    if settings.ssh_config and not os.path.exists(os.path.expanduser(settings.ssh_config)):
        found["ssh_config"] = f"there is no file {settings.ssh_config}"
    return found


def wrong_variable(env: Mapping[str, str]) -> str:
    """What is wrong with a variable of the environment; empty when nothing is."""
    variable = VARIABLES["remote_state"]
    text = env.get(variable, "")
    return f"{variable} must be absolute, or begin with `~/`, not `{text}`" if text and text[0] not in "~/" else ""
