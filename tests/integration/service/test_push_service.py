"""`exq push` to an account with a real systemd user manager: the loop there is a service that follows each push."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.lab import project
from tests.integration.service.manager import USER, ServiceLab
from tests.integration.ssh.loopback.sshd import PATIENCE_S, free_port, new_key
from tests.integration.ssh.wheelhouse import make_wheelhouse

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs("systemctl", "systemd-run", "nsenter", "setpriv", "ssh", "ssh-keygen", "/usr/sbin/sshd"),
]


class Account:
    """The account of a service lab, behind an sshd of its own that runs as that user."""

    def __init__(self, lab: ServiceLab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.home = lab.root / "home"
        self.near = folder / "near"
        (self.near / "specs").mkdir(parents=True)
        self.wheels = make_wheelhouse(folder / "wheels")
        self._port = free_port("127.0.0.1")
        self._give_a_shell()
        self._child = self._start_sshd()
        config = self.near / "config"
        kind, key = (lab.root / "host_key.pub").read_text().split()[:2]
        (self.near / "known").write_text(f"[127.0.0.1]:{self._port} {kind} {key}\n")
        lines = ("Host box", "HostName 127.0.0.1", f"Port {self._port}", f"User {USER}", f"IdentityFile {self._key}")
        config.write_text("\n  ".join([*lines, f"UserKnownHostsFile {self.near}/known", "IdentitiesOnly yes"]) + "\n")
        self.env = {**os.environ, "HOME": str(self.near), "EXQ_STATE": f"{self.near}/state", "EXQ_DEBUG": "1"}
        self.env |= {"EXQ_SSH_CONFIG": str(config), "EXQ_SPECS": f"{self.near}/specs", "NO_COLOR": "1"}
        self.env["PYTHONPATH"] = str(Path(__file__).parents[3])

    def _give_a_shell(self) -> None:
        """In the mount namespace of the lab, the user has a shell and this home."""
        lab = self.lab
        rows = [row for row in Path("/etc/passwd").read_text().splitlines() if not row.startswith(f"{USER}:")]
        accounts = lab.root / "passwd"
        accounts.write_text("\n".join([*rows, f"{USER}:x:{lab.uid}:{lab.gid}::{self.home}:/bin/bash"]) + "\n")
        shadow = lab.root / "shadow"
        shadow.write_text(f"{USER}:*:20000:0:99999:7:::\n")
        for source in (accounts, shadow):
            inside = ["nsenter", f"--target={lab.manager.pid}", "--mount"]
            subprocess.run([*inside, "mount", "--bind", str(source), f"/etc/{source.name}"], check=True)

    def _start_sshd(self) -> subprocess.Popen[bytes]:
        lab = self.lab
        self._key = new_key(self.folder / "key")
        host_key = new_key(lab.root / "host_key")
        os.chown(host_key, lab.uid, lab.gid)
        accepted = lab.root / "accepted"
        accepted.write_text(self._key.with_suffix(".pub").read_text())
        path = f"{lab.root}/python/bin:/usr/local/bin:/usr/bin:/bin"
        settings = {
            "Port": str(self._port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(host_key),
            "PidFile": "none",
            "AuthorizedKeysFile": str(accepted),
            "StrictModes": "no",
            "UsePAM": "no",
            "SetEnv": f"HOME={self.home} PATH={path} XDG_RUNTIME_DIR={lab.runtime}",
        }
        config = lab.root / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        argv = [*lab.as_user, "/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=(lab.root / "sshd.log").open("wb"))
        probe = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{self._port}"]
        lab.wait("sshd listens", lambda: subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0)
        return child

    def exq(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """As the one who pushes."""
        done = subprocess.run(
            [*self.command, *words], env=self.env, cwd=self.near, capture_output=True, text=True, check=False
        )
        report = f"exq {words} -> {done.returncode}\n{done.stdout}\n{done.stderr}\n{self._log()}"
        assert code is None or done.returncode == code, report
        return done

    def _log(self) -> str:
        return (self.lab.root / "sshd.log").read_text()

    def write(self, *jobs: str) -> None:
        text = project(dict.fromkeys(jobs, "true"), launcher="process", cwd=None)
        (self.near / "specs" / "exp.yaml").write_text(text)

    def close(self) -> None:
        self._child.terminate()
        self._child.wait(PATIENCE_S)

    command: list[str]


@pytest.fixture
def account(service: ServiceLab, tmp_path: Path, exq_command: list[str]) -> Iterator[Account]:
    made = Account(service, tmp_path)
    made.command = exq_command
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_the_service_follows_each_push(account: Account) -> None:
    lab = account.lab
    account.write("a")
    told = json.loads(account.exq("push", "box", "--yes", "--json", "--wheels", str(account.wheels)).stdout)
    assert told["loop"]["kind"] == "service", told
    specs = account.home / "exq" / "near" / "specs"
    assert f"Specs={specs}" in lab.systemctl("cat", "exq")
    first = lab.main_pid()

    def done() -> set[str]:
        jobs = json.loads(account.exq("--host", "box", "status", "--json").stdout)["jobs"]
        return {job["id"] for job in jobs if job["status"] == "completed"}

    lab.wait("the first set is carried out", lambda: done() == {"a"})

    account.write("a", "b")
    account.exq("push", "box", "--yes")
    lab.wait("the second set is carried out", lambda: done() == {"a", "b"})
    assert lab.main_pid() == first, "the same exq goes on"

    refused = account.exq("push", "box:other", "--yes", code=1).stderr
    assert f"the service on box is for {specs}" in refused and "--no-service" in refused
    assert not (account.home / "other").exists()

    account.exq("push", "box:other", "--yes", "--no-service", "--force")
    assert (account.home / "other" / "specs" / "exp.yaml").exists()
    assert lab.main_pid() == first
