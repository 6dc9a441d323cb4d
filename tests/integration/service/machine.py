"""A whole machine with systemd as its PID 1, which can be switched off and on: systemd-nspawn on a copy of this one.

Its root is an overlay that is new with every boot; what a disk would keep is bound into it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from tests.integration.lab import Lab
from tests.integration.service.manager import ROOT, hierarchies, remove_groups

USER, UID = "ann", 4242

# DISK CGROUP ... -- COMMAND, which boots what it finds in DISK/layers/root
SWITCH_ON = """
disk=$1; shift
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift
mount -t tmpfs tmpfs "$disk/layers"; cd "$disk/layers"; mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
exec "$@"
"""


class Machine(Lab):
    """A lab whose commands run as a user of that machine, who lingers. Its `env` is what that user's shell has."""

    def __init__(self) -> None:
        super().__init__([])
        self.bound = {ROOT: "code", Path(sysconfig.get_path("purelib")): "packages", Path(sys.base_prefix): "python"}
        for name in ("layers", "linger", *self.bound.values()):
            (self.root / name).mkdir()
        (self.root / "linger" / USER).touch()
        self._add_user()
        self.env |= {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{self.root}/code:{self.root}/packages",
            "XDG_RUNTIME_DIR": f"/run/user/{UID}",
        }
        self.groups = [place / f"exq-{self.root.name}" for place in hierarchies()]
        self.console = self.root / "console"
        self.console.touch()
        self.nspawn: subprocess.Popen[bytes] | None = None
        self.init = 0

    def _add_user(self) -> None:
        for name, line in (
            ("passwd", f"{USER}:*:{UID}:{UID}::{self.root}/home:/bin/sh"),
            ("group", f"{USER}:*:{UID}:"),
        ):
            (self.root / name).write_text(f"{Path('/etc', name).read_text()}{line}\n")
        for folder in (self.root, self.specs, self.work, self.screens, self.root / "home"):
            os.chown(folder, UID, UID)
        self.root.chmod(0o755)

    def switch_on(self) -> None:
        """Boot it, up to the user's own service manager."""
        for group in self.groups:
            group.mkdir()
        binds = [f"--bind={self.root}", f"--bind={self.root}/linger:/var/lib/systemd/linger"]
        binds += [f"--bind-ro={self.root}/{name}:/etc/{name}" for name in ("passwd", "group")]
        binds += [f"--bind-ro={source}:{self.root}/{name}" for source, name in self.bound.items()]
        options = ["--boot", "--private-network", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"]
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={self.root}/layers/root",
            *options,
            "--console=pipe",
            *binds,
        ]
        outside = ["unshare", "--mount", "--propagation=private", "sh", "-ec", SWITCH_ON, "sh", str(self.root)]
        self.nspawn = subprocess.Popen(
            [*outside, *map(str, self.groups), "--", *nspawn, "systemd.unit=basic.target"],
            env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self.console.open("ab"),
            stderr=subprocess.STDOUT,
        )
        self.wait("it boots", self._finds_init, timeout_s=60)
        enter = ["nsenter", f"--target={self.init}", "--all"]
        self.command = [*enter, "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        self.command += [f"{self.root}/python/bin/python3.{sys.version_info.minor}", "-m", "reconciler"]
        self.wait(
            "its bus answers", lambda: self._succeeds(*enter, "systemctl", "start", "systemd-logind"), timeout_s=60
        )
        self.wait("the user's manager runs", lambda: self._succeeds(*self.command[:-3], "systemctl", "--user", "show"))

    def _finds_init(self) -> bool:
        """Its PID 1, as this machine numbers it."""
        for group in self.groups:
            with suppress(FileNotFoundError, IndexError):
                self.init = int((group / "payload" / "init.scope" / "cgroup.procs").read_text().split()[0])
                return True
        return False

    def systemctl(self, *words: str) -> str:
        """Ask the user's manager."""
        command = [*self.command[:-3], "systemctl", "--user", *words]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def _succeeds(self, *command: str) -> bool:
        done = subprocess.run(command, env=self.env, capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    def shut_down(self) -> None:
        """Have it go down in good order, and wait for that."""
        assert self.nspawn is not None
        assert self._succeeds("nsenter", f"--target={self.init}", "--all", "systemctl", "poweroff")
        self.nspawn.wait(timeout=60)
        self._is_off()

    def switch_off(self) -> None:
        """Pull its plug: all its processes end at once, with no farewell."""
        if self.nspawn is None:
            return
        os.kill(self.init or self.nspawn.pid, signal.SIGKILL)
        try:
            self.nspawn.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait(timeout=10)
        self._is_off()

    def _is_off(self) -> None:
        remove_groups(self.groups)
        self.nspawn, self.init = None, 0

    def close(self) -> None:
        print(self.console.read_text(errors="replace"))
        self.switch_off()
        super().close()
