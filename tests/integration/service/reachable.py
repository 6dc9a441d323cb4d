"""A whole machine with systemd that is reached over SSH, and the desk of somebody who has never used exq."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.service.machine import USER, Machine
from tests.integration.ssh.loopback.sshd import new_key

PORT = 2222

SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/accepted
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
"""


class Box(Machine):
    """Its sshd listens on the machine's own loopback: `desk` is at the same one, and has no other way in."""

    def __init__(self) -> None:
        super().__init__()
        self.sshd = self.root / "sshd"
        self.sshd.mkdir()
        new_key(self.sshd / "host_key")
        (self.sshd / "config").write_text(SSHD.format(port=PORT, folder=self.sshd))
        self.desk = Desk(self)

    def switch_on(self) -> None:
        super().switch_on()
        serve = ["systemd-run", "--quiet", "--unit=exq-sshd", "--property=RuntimeDirectory=sshd"]
        inside = ["nsenter", f"--target={self.init}", "--all"]
        # until then nobody but root may log in
        subprocess.run([*inside, "systemctl", "start", "systemd-user-sessions"], check=True, timeout=60)
        subprocess.run([*inside, *serve, "/usr/sbin/sshd", "-D", "-f", f"{self.sshd}/config"], check=True, timeout=60)
        self.wait("its sshd listens", lambda: self.desk.shell(f"ssh-keyscan -p {PORT} 127.0.0.1 2>&1").stdout)


class Desk:
    """A home with a key that the box accepts, an ssh_config, and nothing else."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.home = box.root / "desk"
        ssh = self.home / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        new_key(ssh / "id_ed25519")
        shutil.copy(ssh / "id_ed25519.pub", box.sshd / "accepted")
        (ssh / "config").write_text(
            f"Host box\n  HostName 127.0.0.1\n  Port {PORT}\n  User {USER}\n"
            f"  IdentityFile {ssh}/id_ed25519\n  UserKnownHostsFile {ssh}/known_hosts\n"
        )
        command = self.home / "bin" / "exq"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
        command.chmod(0o755)
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "EXQ_SSH_CONFIG": str(ssh / "config"),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
        }

    def shell(self, command: str, cwd: Path | None = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Type something, at the machine's network."""
        return subprocess.run(
            ["nsenter", f"--target={self._box.init}", "--net", "sh", "-c", command],
            cwd=cwd or self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
