"""A private SSH server on the loopback, and a user's configuration that leads to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_S = 20.0


class Sshd:
    """One server with keys, a port and a home of its own. It lets in whoever has one of `accepted`."""

    def __init__(self, root: Path, name: str, accepted: Path, address: str = "127.0.0.1", **options: str) -> None:
        self.name = name
        self.address = address
        self.folder = root / name
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.host_key = new_key(self.folder / "host_key")
        self.port = free_port(address)
        self._accepted = accepted
        self._log = self.folder / "log"
        self._options = options
        self._child: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Listen; returns once it does."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        path = self.folder / "sshd_config"
        path.write_text("".join(f"{key} {value}\n" for key, value in self._settings().items()))
        argv = ["/usr/sbin/sshd", "-D", "-f", str(path), "-E", str(self._log)]
        self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while not self._listens():
            assert self._child.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.02)

    def _settings(self) -> dict[str, str]:
        python = os.path.dirname(os.path.realpath(sys.executable))
        return {
            "Port": str(self.port),
            "ListenAddress": self.address,
            "HostKey": str(self.host_key),
            "PidFile": "none",
            "AuthorizedKeysFile": str(self._accepted),
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UseDNS": "no",
            "PermitRootLogin": "yes",
            "MaxStartups": "200:30:400",
            "SetEnv": f"HOME={self.home} PATH={python}:/usr/local/bin:/usr/bin:/bin",
            **self._options,
        }

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.address, self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the server; sessions live on."""
        if self._child is not None:
            self._child.terminate()
            self._child.wait(PATIENCE_S)
            self._child = None

    def close(self) -> None:
        """End the server and its sessions."""
        sessions = self.sessions()
        self.stop()
        for pid in sessions:
            end(pid)

    def sessions(self) -> list[int]:
        """The processes that serve a connection each."""
        return children(self._child.pid) if self._child is not None else []

    def bashrc(self, text: str) -> None:
        """What the account runs at login."""
        (self.home / ".bashrc").write_text(text)

    def known_line(self) -> str:
        """Its line of a known_hosts file."""
        kind, key = self.host_key.with_suffix(".pub").read_text().split()[:2]
        return f"[{self.address}]:{self.port} {kind} {key}\n"

    def new_host_key(self) -> None:
        """As after a reinstallation; takes effect with the next start."""
        self.host_key.unlink()
        new_key(self.host_key)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still live."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def end(pid: int) -> None:
    """SIGKILL exactly this process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def new_key(path: Path, *options: str) -> Path:
    """A key pair; the public half is beside it."""
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(path), *options], check=True)
    return path


def free_port(address: str) -> int:
    """A port on which nobody listens."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])
