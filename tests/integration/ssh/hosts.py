"""Hosts for tests: each a machine of its own on this one, with its own network, processes, name, home, GPUs and sshd.

    with Hosts() as hosts:
        a, b = hosts.add("a", "b")
        hosts.ssh("a", "hostname")     # the real ssh
        a.partition("drop")            # and a.heal(), a.reboot(), a.down(), a.kill_sessions() ...
        Lab([*hosts.enter, "exq"]).env.update(hosts.env)   # the product, on a machine that reaches these hosts

Whoever is to reach them starts with `hosts.enter`: the hosts are on networks of their own, away from this machine's.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.integration.ssh.delay import SlowLine
from tests.integration.ssh.host import Host
from tests.integration.ssh.namespaces import DIE_WITH_US, Network, run

PREFIX = "exqhosts"


class Hosts:
    """The hosts of one test, and the place that reaches them. Everything ends with `close`, or with the test run."""

    def __init__(self) -> None:
        sweep()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
        self._lock: int | None = hold(self.root)
        self.ssh_config = self.root / "ssh_config"
        self.known_hosts = self.root / "known_hosts"
        self.key = self.root / "id_ed25519"
        self.env = {"EXQ_SSH_CONFIG": str(self.ssh_config)}
        self._hosts: dict[str, Host] = {}
        self._delays: list[Delay] = []
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        make_key(self.key)
        self.known_hosts.touch()
        self.ssh_config.touch(mode=0o600)
        self.network = Network()
        self.enter = self.network.enter

    def add(self, *names: str, state_mib: int = 0, sshd: Mapping[str, str] | None = None) -> list[Host]:
        """Make hosts and boot them.

        With `state_mib`, ~/.local/state is a disk of that size, empty after a reboot. `sshd` has options of
        sshd_config that go before the usual ones, such as {"MaxSessions": "1"}.
        """
        added = [self._make(name, state_mib, sshd or {}) for name in names]
        for host in added:
            host.boot()
        for host in added:
            host.wait_until_up()
        return added

    def _make(self, name: str, state_mib: int, sshd: Mapping[str, str]) -> Host:
        number = len(self._hosts) + 1
        folder = self.root / name
        folder.mkdir()
        host = Host(name, number, folder, self.network, state_mib=state_mib)
        self._hosts[name] = host
        make_key(host.machine / "host_key")
        shutil.copy(self.key.with_suffix(".pub"), host.machine / "authorized_keys")
        host.configure_sshd(sshd)
        self.trust(host)
        self.alias(name, HostName=host.address)
        return host

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def trust(self, host: Host, *names: str) -> None:
        """Add a host's key to known_hosts, for its address, its alias and more names."""
        key = (host.machine / "host_key.pub").read_text().split()
        with self.known_hosts.open("a") as known:
            known.write(f"{','.join([host.name, host.address, *names])} {key[0]} {key[1]}\n")

    def alias(self, name: str, **options: str) -> None:
        """Put an alias into ssh_config, before those that are there, so that it counts more."""
        usual = {
            "User": self.user,
            "IdentityFile": str(self.key),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
        }
        lines = [f"    {key} {value}\n" for key, value in {**usual, **options}.items()]
        self.ssh_config.write_text(f"Host {name}\n{''.join(lines)}\n{self.ssh_config.read_text()}")

    def ssh(
        self, alias: str, command: str, *, connect_s: int = 10, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """What the real ssh does with a command; 255 is its own failure."""
        return run([*self.ssh_argv(alias, connect_s=connect_s), command], check=False, timeout_s=timeout_s)

    def ssh_argv(self, alias: str, *, connect_s: int = 10) -> list[str]:
        """The beginning of an ssh command line that reaches a host."""
        return [*self.enter, "ssh", "-F", str(self.ssh_config), "-o", f"ConnectTimeout={connect_s}", alias]

    def delay(self, name: str, one_way_s: float) -> Delay:
        """A way to a host on which all takes time; its `alias` leads there."""
        delay = Delay(self.network, self[name].address, one_way_s, self.root / f"turns{len(self._delays)}")
        self._delays.append(delay)
        delay.alias = f"{name}-{len(self._delays)}-slow"
        self.alias(delay.alias, HostName="127.0.0.1", Port=str(delay.port))
        self.trust(self[name], f"[127.0.0.1]:{delay.port}")
        return delay

    def forward(self) -> None:
        """Let hosts reach each other, as a ProxyJump needs."""
        self.network.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    def close(self) -> None:
        """End all hosts and remove their folders; again does nothing."""
        for delay in self._delays:
            delay.close()
        self._delays = []
        for host in self._hosts.values():
            host.close()
        self._hosts = {}
        if self._lock is not None:
            self.network.close()
            shutil.rmtree(self.root)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Hosts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Delay(SlowLine):
    """A slow line to a host; its `alias` in ssh_config leads over it."""

    def __init__(self, network: Network, address: str, one_way_s: float, counter: Path) -> None:
        super().__init__(address, 22, one_way_s, counter, enter=[*DIE_WITH_US, *network.enter])
        self.alias = ""


def make_key(path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)])


def hold(root: Path) -> int:
    """Mark a folder as in use for as long as this process lives; the descriptor that does it."""
    descriptor = os.open(root / "new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (root / "new").rename(root / "in_use")  # it is never there without its lock
    return descriptor


def sweep() -> None:
    """Remove the folders of test runs that were killed; their processes and networks went with them."""
    for root in Path("/tmp").glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(root / "in_use", os.O_RDWR)
        except FileNotFoundError:  # another run is just making or removing it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(root, ignore_errors=True)
        except BlockingIOError:  # in use
            continue
        finally:
            os.close(descriptor)
