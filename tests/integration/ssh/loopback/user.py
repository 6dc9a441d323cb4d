"""One who reaches servers with a key, an ssh configuration and a known_hosts file of their own."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.host.reply import Reply
from reconciler.host.ssh.backoff import Clock
from reconciler.host.ssh.link import SshHost
from tests.integration.ssh.loopback.sshd import Sshd, new_key

PATIENCE_S = 30.0


class User:
    """One who has a key, a configuration and a known_hosts file, and reaches servers with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = new_key(folder / "key")
        self.accepted = folder / "accepted"
        self.accepted.write_text(self.key.with_suffix(".pub").read_text())
        self.config = folder / "config"
        self.known = folder / "known_hosts"
        self.known.touch()
        self.servers: list[Sshd] = []
        self.links: list[SshHost] = []
        self.skew_s = 0.0

    def server(self, name: str = "box", trusted: bool = True, address: str = "127.0.0.1", **options: str) -> Sshd:
        """A running server, known to the user, and an entry of this name that leads to it."""
        made = Sshd(self.folder, name, self.accepted, address, **options)
        self.servers.append(made)
        if trusted:
            self.trust(made)
        return made

    def trust(self, server: Sshd) -> None:
        with self.known.open("a") as file:
            file.write(server.known_line())

    def entry(self, server: Sshd, *lines: str, name: str = "") -> None:
        """What the configuration says of a server."""
        standard = [f"HostName {server.address}", f"Port {server.port}", f"UserKnownHostsFile {self.known}"]
        key = [] if any(line.startswith("IdentityFile") for line in lines) else [f"IdentityFile {self.key}"]
        self.write_entry(name or server.name, *standard, *key, "GlobalKnownHostsFile none", *lines)

    def write_entry(self, name: str, *lines: str) -> None:
        with self.config.open("a") as file:
            file.write("\n  ".join([f"Host {name}", *lines]) + "\n")

    def link(self, name: str = "box", on_event: Callable[[], None] | None = None, **settings: Any) -> SshHost:
        clock = Clock(monotonic=lambda: time.monotonic() + self.skew_s)
        made = SshHost(name, settings, on_event, clock=clock)
        self.links.append(made)
        return made

    def close(self) -> None:
        for made in self.links:
            made.close()
        for server in self.servers:
            server.close()


def answer(reply: Reply) -> dict[str, Any]:
    found = reply.wait(PATIENCE_S)
    assert found is not None, "no answer came"
    return found


def ask(host: SshHost, op: str = "hello", **fields: Any) -> dict[str, Any]:
    return answer(host.send({"op": op, **fields}))


def wait_for(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def mend_of(error: str) -> str:
    """The command that a message ends with."""
    return re.findall(r"`([^`]+)`", error)[-1]


def add(agent: Path, key: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(key)], env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, check=True)
