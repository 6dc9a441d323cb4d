"""A real systemd user manager of an ordinary user, on a machine where PID 1 need not be systemd.

It is started as root, in a mount namespace and a cgroup of its own, and all that it starts stays in that cgroup: the
end of the test is the end of exactly those processes."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.integration.lab import Lab

ROOT = Path(__file__).parents[3]
SYSTEMD = "/lib/systemd/systemd"
USER = "nobody"
CGROUPS = Path("/sys/fs/cgroup")

# CGROUP ... -- FROM TO ... -- COMMAND: what it takes to run exq is bound to places that the user can read.
START = """
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift
while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift
mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system
mount -t tmpfs tmpfs /var/lib/systemd && mkdir /var/lib/systemd/linger
exec "$@"
"""


def hierarchies() -> list[Path]:
    """Where systemd keeps its cgroups: one place, or two on a hybrid machine."""
    hybrid = [CGROUPS / name for name in ("systemd", "unified") if (CGROUPS / name / "cgroup.procs").exists()]
    return hybrid or [CGROUPS]


class ServiceLab(Lab):
    """A lab whose commands run as the user of a user manager of its own."""

    def __init__(self) -> None:
        super().__init__([])
        found = pwd.getpwnam(USER)
        self.uid, self.gid = found.pw_uid, found.pw_gid
        self.runtime = self.root / "run"
        self.log = self.root / "service.log"
        self.bound = {ROOT: "code", Path(sysconfig.get_path("purelib")): "packages", Path(sys.base_prefix): "python"}
        for folder in (self.runtime, *(self.root / name for name in self.bound.values())):
            folder.mkdir(mode=0o700)
        for folder in (self.root, *self.root.iterdir()):
            os.chown(folder, self.uid, self.gid)
        self.root.chmod(0o755)
        self.env |= {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{self.root}/code:{self.root}/packages",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime}/bus",
        }
        self.groups = [place / f"exq-{self.root.name}" for place in hierarchies()]
        self.manager = self._start_manager()
        as_user = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        self.as_user = ["nsenter", f"--target={self.manager.pid}", "--mount", *as_user]
        interpreter = self.root / "python" / "bin" / f"python3.{sys.version_info.minor}"
        self.command = [*self.as_user, str(interpreter), "-m", "reconciler"]
        self.wait("the manager answers", lambda: self.systemctl("is-system-running", code=None) == "running")

    def _start_manager(self) -> subprocess.Popen[bytes]:
        for group in self.groups:
            group.mkdir()
            for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control"):
                if path.exists():
                    os.chown(path, self.uid, self.gid)
        binds = [str(path) for source, name in self.bound.items() for path in (source, self.root / name)]
        user = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", SYSTEMD, "--user"]
        return subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--propagation=private",
                "sh",
                "-ec",
                START,
                "sh",
                *map(str, self.groups),
                "--",
                *binds,
                "--",
                *user,
            ],
            env={name: self.env[name] for name in ("HOME", "PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def systemctl(self, *words: str, code: int | None = 0) -> str:
        """Ask the manager, as its user."""
        done = subprocess.run(
            [*self.as_user, "systemctl", "--user", *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code is None or done.returncode == code, f"systemctl {words}: {done.returncode} {done.stderr}"
        return done.stdout.strip()

    def shown(self, name: str, unit: str = "exq.service") -> str:
        """A property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)

    def drop_in(self, text: str) -> None:
        """What `systemctl --user edit exq` would write."""
        folder = self.root / "home" / ".config" / "systemd" / "user" / "exq.service.d"
        folder.mkdir(parents=True, exist_ok=True)
        output = f"StandardOutput=append:{self.log}\nStandardError=inherit"  # nobody keeps a journal here
        (folder / "test.conf").write_text(f"[Service]\n{output}\n{text}\n")
        for path in (folder, *list(folder.parents)[:3]):
            os.chown(path, self.uid, self.gid)

    def linger(self) -> None:
        """Have the user linger, as the manager's machine sees it."""
        Path(f"/proc/{self.manager.pid}/root/var/lib/systemd/linger/{USER}").touch()

    def main_pid(self) -> int:
        """The loop that the service runs; 0 for none."""
        return int(self.shown("MainPID"))

    def new_main_pid(self, *before: int) -> int:
        """Wait for a loop that has begun and is none of these."""
        self.wait(
            "another loop has begun",
            lambda: self.main_pid() not in (0, *before) and self.shown("ActiveState") == "active",
        )
        return self.main_pid()

    def close(self) -> None:
        print(self.log.read_text() if self.log.exists() else "the service has said nothing")
        remove_groups(self.groups)
        self.manager.wait(timeout=10)
        super().close()


def remove_groups(groups: list[Path]) -> None:
    """End what is in these cgroups, which are the test's own, and remove them."""
    for group in groups:
        deadline = time.monotonic() + 20
        while (living := set(members(group))) and time.monotonic() < deadline:
            for pid in living:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for folder in sorted(group.rglob("*/"), key=lambda path: -len(path.parts)):
            folder.rmdir()
        group.rmdir()


def members(group: Path) -> Iterator[int]:
    """All processes in a cgroup and those below it."""
    for file in group.rglob("cgroup.procs"):
        with suppress(OSError):
            yield from (int(pid) for pid in file.read_text().split() if pid != "0")


def cgroup(pid: int) -> str:
    """The place of a process among systemd's units."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line for line in lines if line.startswith("0::") or ":name=systemd:" in line).rpartition(":")[2]
