"""ssh_config files without an ssh client: the library reads them, and `Include` is worked out here."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.parse.ssh_config import BadConfig, expand
from reconciler.parse.ssh_include import without_includes

if TYPE_CHECKING:
    from paramiko.config import SSHConfigDict

SYSTEM_CONFIG = "/etc/ssh/ssh_config"
_PROBE = "exqprobe"
"""An option that no ssh knows; the library keeps what it does not know."""


def look_up(path: str, host: str) -> SSHConfigDict:
    """What a file says of a host. Raises OSError and what the library raises, BadConfig among them."""
    folder = os.path.dirname(SYSTEM_CONFIG) if path == SYSTEM_CONFIG else os.path.expanduser("~/.ssh")
    text = without_includes(_text(path), partial(_included, folder, host), partial(_applies, host))
    return _asked(text, host)


def _asked(text: str, host: str) -> SSHConfigDict:
    import paramiko

    return paramiko.SSHConfig.from_text(text).lookup(host)


def _applies(host: str, before: str, block: str) -> bool:
    return _PROBE in _asked(f"{before}\n{block}\n{_PROBE} yes\n", host)


def _included(folder: str, host: str, pattern: str) -> Iterator[str]:
    here = socket.gethostname()
    tokens = {
        "d": os.path.expanduser("~"),
        "h": host,
        "i": str(os.getuid()),
        "L": here.partition(".")[0],
        "l": here,
        "n": host,
        "u": getpass.getuser(),
    }
    path = os.path.expanduser(expand(pattern, tokens, os.environ))
    for found in sorted(glob(os.path.join(folder, path))):
        try:
            yield _text(found)
        except OSError as error:
            raise BadConfig(f"the included {found} cannot be read: {error.strerror}") from None


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
