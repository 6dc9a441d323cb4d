"""One host of a test: what it is made of, and what can befall it. `hosts.py` makes them."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.ssh.namespaces import Inside, Network, Process, run

FAKES = Path(__file__).parents[2] / "fakebin"
BOOT = Path(__file__).with_name("boot.sh")
BIN = "/run/exqhost/bin"
PATIENCE_S = 30

# chains see all packets of the host but those to itself; `established` connections are cut too
PARTITIONS = {
    "drop": "chain in { type filter hook input priority 0; iif lo accept; drop; }\n"
    "chain out { type filter hook output priority 0; oif lo accept; drop; }",
    "in": "chain in { type filter hook input priority 0; iif lo accept; drop; }",
    "out": "chain out { type filter hook output priority 0; oif lo accept; drop; }",
    "reject": "chain in { type filter hook input priority 0; iif lo accept; meta l4proto tcp reject with tcp reset; }",
}


class Host:
    """A machine of its own. Pids are those of this machine, unless it says otherwise."""

    def __init__(self, name: str, number: int, folder: Path, client: Network, *, state_mib: int = 0) -> None:
        self.name = name
        self.address = f"198.51.100.{4 * number + 2}"
        self.home = folder / "home"
        self.machine = folder / "machine"
        for made in (self.home, self.machine, self.machine / "bin"):
            made.mkdir()
        self.boot_id = ""
        self.env = {
            "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
            "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "FAKE_NVIDIA_SMI": "/run/exqhost/gpus.json",
            "LANG": "C.UTF-8",
        }
        self._client = client
        self._state_mib = state_mib
        self._gateway = f"198.51.100.{4 * number + 1}"
        self._inside: Inside | None = None
        self._network = Network()
        device = f"host{number}"
        link = ["ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", self._network.path]
        client.run(*link)
        client.run("ip", "address", "add", f"{self._gateway}/30", "dev", device)
        client.run("ip", "link", "set", device, "up")

    # --- its power

    def boot(self, *, uptime_s: int = 20) -> None:
        """Start it, with a new boot id and as one that has run for `uptime_s`; `wait_until_up` waits for its sshd."""
        assert self._inside is None, f"{self.name} runs already"
        self.boot_id = str(uuid.uuid4())
        (self.machine / "boot_id").write_text(f"{self.boot_id}\n")
        (self.machine / "sshd.pid").unlink(missing_ok=True)
        arguments = [str(self.machine), str(self.home), self.env["HOME"], self.name, str(self._state_mib)]
        self._link_up()
        self._inside = Inside(self._network, BOOT, arguments, uptime_s=uptime_s)

    def wait_until_up(self) -> None:
        """Wait until its sshd listens."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self.machine / "sshd.pid").exists():
            assert not self.inside.has_ended(), f"{self.name} did not boot: {self.inside.complaint()}"
            assert time.monotonic() < deadline, f"{self.name} has no sshd: {(self.machine / 'sshd.log').read_text()}"
            time.sleep(0.01)

    def down(self, *, abrupt: bool = True) -> None:
        """Switch it off: at once, so that no peer hears of it, or with its connections closed first."""
        if abrupt:
            self._network.run("ip", "link", "set", "eth0", "down")
        self.inside.end()
        self._inside = None
        if not abrupt:
            self._network.run("ip", "link", "set", "eth0", "down")

    def up(self) -> None:
        """Switch it on again. It remembers no connection, so it resets those that peers still believe in."""
        fresh = Network()
        self._network.run("ip", "link", "set", "eth0", "netns", fresh.path)
        self._network.close()
        self._network = fresh
        self.boot()
        self.wait_until_up()

    def reboot(self, *, abrupt: bool = True) -> None:
        """All its processes end and /run and /tmp are emptied; its home stays."""
        self.down(abrupt=abrupt)
        self.up()

    def close(self) -> None:
        if self._inside is not None:
            self._inside.end()
            self._inside = None
        self._network.close()

    # --- its network

    def partition(self, kind: str = "drop") -> None:
        """Cut it off.

        "drop": no packet passes, silently; "in", "out": so in one direction only; "link": its cable is out;
        "reject": it refuses connections and resets those that there are, as they send.
        """
        if kind == "link":
            self._network.run("ip", "link", "set", "eth0", "down")
        else:
            rules = f"table inet exq\ndelete table inet exq\ntable inet exq {{\n{PARTITIONS[kind]}\n}}\n"
            self._network.run("nft", "-f", "-", stdin=rules)

    def heal(self) -> None:
        """Undo `partition`, of whichever kind."""
        self._network.run("nft", "-f", "-", stdin="table inet exq\ndelete table inet exq\n")
        self._link_up()

    def _link_up(self) -> None:
        self._network.run("ip", "address", "replace", f"{self.address}/30", "dev", "eth0")
        self._network.run("ip", "link", "set", "eth0", "up")
        self._network.run("ip", "route", "replace", "default", "via", self._gateway)

    # --- its processes

    @property
    def inside(self) -> Inside:
        assert self._inside is not None, f"{self.name} is switched off"
        return self._inside

    def run(
        self, command: str | Sequence[str], *, check: bool = True, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command (a string: of sh) on the host, in its home, without ssh."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        env = ["env", "-i", "-C", self.env["HOME"], *(f"{key}={value}" for key, value in self.env.items())]
        return run([*self.inside.enter, *env, *argv], check=check, timeout_s=timeout_s)

    def processes(self, *words: str) -> list[Process]:
        """Its processes but for the first, or those whose command line has all these words."""
        return [p for p in self.inside.processes() if all(word in " ".join(p.argv) for word in words)]

    def next_pid(self, inner: int) -> None:
        """The next process there gets this pid (of its own count), if it is free."""
        self.run(f"echo {inner - 1} >/proc/sys/kernel/ns_last_pid")

    def listener(self) -> int:
        """The sshd that takes new connections."""
        (found,) = [p.pid for p in self.processes() if p.inner == int((self.machine / "sshd.pid").read_text())]
        return found

    def sshd_sessions(self) -> list[int]:
        """The sshd processes of connections, those that still log in included."""
        return [p.pid for p in self.processes("sshd") if p.argv[0].startswith("sshd") and p.pid != self.listener()]

    def kill_sessions(self) -> list[int]:
        """SIGKILL the sshd processes of all connections; what they started lives on."""
        return self._signal(self.sshd_sessions(), signal.SIGKILL)

    def agent_pids(self) -> list[int]:
        """The agents that controllers have sent here."""
        return [p.pid for p in self.processes("exq_agent") if "python" in Path(p.argv[0]).name]

    def kill_agents(self) -> list[int]:
        """SIGKILL them."""
        return self._signal(self.agent_pids(), signal.SIGKILL)

    def stop_sshd(self) -> None:
        """New connections are refused; those that there are go on."""
        pid = self.listener()
        os.kill(pid, signal.SIGKILL)
        while any(process.pid == pid for process in self.processes()):
            time.sleep(0.005)

    def start_sshd(self) -> None:
        """Take connections again."""
        (self.machine / "sshd.pid").unlink(missing_ok=True)
        self.run(["/usr/sbin/sshd", "-f", "/run/exqhost/sshd_config", "-E", "/run/exqhost/sshd.log"])
        self.wait_until_up()

    def silence_sshd(self) -> None:
        """New connections are taken by the kernel, but nobody says a word; `resume_sshd` ends that."""
        os.kill(self.listener(), signal.SIGSTOP)

    def resume_sshd(self) -> None:
        os.kill(self.listener(), signal.SIGCONT)

    def freeze(self) -> list[int]:
        """Stop all its processes, as a host does that hangs: its kernel still answers the network. For `thaw`."""
        return self._signal([process.pid for process in self.processes()], signal.SIGSTOP)

    def thaw(self, pids: Sequence[int]) -> None:
        self._signal(pids, signal.SIGCONT)

    def _signal(self, pids: Sequence[int], number: signal.Signals) -> list[int]:
        sent = []
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:  # it ended by itself meanwhile
                continue
            sent.append(pid)
        return sent

    # --- its disk and its GPUs

    def path(self, inside: str) -> Path:
        """Where this machine sees a file of the host (`~` is its home); while it is off, only those in its home."""
        relative = inside.removeprefix("~/").removeprefix(f"{self.env['HOME']}/")
        if relative != inside and (self._inside is None or not self._state_mib):
            return self.home / relative
        absolute = f"{self.env['HOME']}/{relative}" if inside.startswith("~/") else inside
        return Path(f"/proc/{self.inside.first}/root{absolute}")

    def fill_disk(self) -> None:
        """Leave no byte on the disk of states; the host needs to have one (`state_mib`)."""
        assert self._state_mib, f"{self.name} has no small disk: add it with state_mib"
        self.run("cat /dev/zero >~/.local/state/filler", check=False)

    def free_disk(self) -> None:
        """Undo `fill_disk`."""
        self.run("rm ~/.local/state/filler")

    def gpus(self, count: int, **fields: object) -> list[str]:
        """Give it GPUs, whose memory figures come from live processes (FAKE_GPU_MIB); their UUIDs."""
        card = {"name": "NVIDIA L40S", "total_mib": 46068, "base_used_mib": 1}
        gpus = [{"index": i, "uuid": f"GPU-{i}-{self.name}", **card} for i in range(count)]
        self.set_gpus({"gpus": gpus, "processes": [], "memory_from_env": True, "mode": "ok", **fields})
        shutil.copy(FAKES / "nvidia-smi", self.machine / "bin")
        return [str(gpu["uuid"]) for gpu in gpus]

    def set_gpus(self, answer: Mapping[str, object]) -> None:
        """Change what its nvidia-smi answers (tests/fakebin/README.md); what is not named stays as it is."""
        path = self.machine / "gpus.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.with_suffix(".new").write_text(json.dumps({**before, **answer}))
        path.with_suffix(".new").rename(path)

    def configure_sshd(self, options: Mapping[str, str]) -> None:
        """Write sshd_config, `options` first: the first value counts. It holds from the next `start_sshd` or boot."""
        setenv = " ".join(shlex.quote(f"{key}={value}") for key, value in self.env.items() if key != "HOME")
        usual = {
            "Port": "22",
            "ListenAddress": "0.0.0.0",
            "HostKey": "/run/exqhost/host_key",
            "PidFile": "/run/exqhost/sshd.pid",
            "AuthorizedKeysFile": "/run/exqhost/authorized_keys",
            "StrictModes": "no",
            "UsePAM": "no",
            "UseDNS": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "PrintMotd": "no",
            "MaxSessions": "200",
            "MaxStartups": "200:30:400",
            "Subsystem": "sftp internal-sftp",
            "SetEnv": setenv,
        }
        lines = [f"{key} {value}\n" for key, value in {**options, **usual}.items() if key not in options]
        first = [f"{key} {value}\n" for key, value in options.items()]
        (self.machine / "sshd_config").write_text("".join([*first, *lines]))
