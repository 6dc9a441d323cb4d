"""The hosts that the tests over SSH are made on are machines of their own, and what befalls them does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.lab import is_gone
from tests.integration.ssh.host import Host
from tests.integration.ssh.hosts import Hosts, sweep
from tests.integration.ssh.namespaces import cannot

CHECKOUT = Path(__file__).parents[3]

# makes a host with a job that has left its session, says what it made, and waits to be killed
DOOMED = """
import json, time
from tests.integration.ssh.hosts import Hosts
hosts = Hosts()
(a,) = hosts.add("a")
a.run("setsid sleep 300 >/dev/null 2>&1 &")
hosts.delay("a", 0.01)
pids = [a.inside.first, *(process.pid for process in a.processes())]
print(json.dumps({"root": str(hosts.root), "pids": pids}), flush=True)
time.sleep(300)
"""


@pytest.fixture
def host(hosts: Hosts) -> Host:
    (made,) = hosts.add("a")
    return made


@contextmanager
def connection(hosts: Hosts, alias: str) -> Iterator[subprocess.Popen[str]]:
    """An open ssh whose far end says back what it is told."""
    with subprocess.Popen(
        [*hosts.ssh_argv(alias), "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        try:
            assert say(client, "hello") == "hello"
            yield client
        finally:
            client.kill()


def say(client: subprocess.Popen[str], word: str) -> str:
    """Send a word; what comes back, empty when the connection has ended."""
    assert client.stdin is not None
    assert client.stdout is not None
    with suppress(BrokenPipeError):
        os.write(client.stdin.fileno(), f"{word}\n".encode())
    return client.stdout.readline().strip()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_host_is_a_machine_of_its_own(hosts: Hosts) -> None:
    a, b = hosts.add("a", "b")
    hosts.ssh(
        "a", "echo mine >~/note; echo mine >/tmp/note; screen -dmS mine tail -f /dev/null; until pgrep tail; do :; done"
    )
    asked = "hostname; cat /proc/sys/kernel/random/boot_id; ls ~ /tmp; screen -ls | grep -c mine; pgrep -c tail"

    answers = {name: hosts.ssh(name, asked).stdout.split() for name in ("a", "b")}

    assert answers["a"][:2] == ["a", a.boot_id]
    assert answers["b"][:2] == ["b", b.boot_id]
    assert answers["a"][-2:] == ["1", "1"]  # the screen and what runs in it
    assert answers["b"][-2:] == ["0", "0"]
    assert answers["a"].count("note") == 2
    assert "note" not in answers["b"]
    assert (a.home / "note").read_text() == a.path("~/note").read_text() == "mine\n"
    assert a.path("/tmp/note").read_text() == "mine\n"
    assert not b.path("/tmp/note").exists()
    assert not Path("/tmp/note").exists()


def test_the_same_pid_and_the_same_screen_on_two_hosts(hosts: Hosts) -> None:
    screens = []
    for host in hosts.add("a", "b"):
        host.next_pid(4000)
        screens.append(
            host.run("screen -dmS same sleep 100; until ls /run/screen/S-*/* 2>/dev/null; do :; done").stdout
        )

    assert screens[0] == screens[1]
    assert Path(screens[0].strip()).name.startswith("400")


def test_a_reboot_ends_all_processes_and_keeps_the_home(hosts: Hosts, host: Host) -> None:
    before = host.boot_id
    hosts.ssh("a", "echo kept >~/note; touch /tmp/lost; screen -dmS lost sleep 300")
    screens = [process.pid for process in host.processes("SCREEN")]

    host.reboot()

    assert screens
    assert all(is_gone(pid) for pid in screens)
    assert host.boot_id != before
    answer = hosts.ssh("a", "cat ~/note /proc/sys/kernel/random/boot_id; ls /tmp /run/screen; cut -d. -f1 /proc/uptime")
    assert answer.stdout.split()[:2] == ["kept", host.boot_id]
    assert "lost" not in answer.stdout
    if Path("/proc/self/ns/time").exists():
        assert int(answer.stdout.split()[-1]) < time.clock_gettime(time.CLOCK_BOOTTIME)


def test_after_a_reboot_a_peer_is_reset_once_it_speaks(hosts: Hosts, host: Host) -> None:
    with connection(hosts, "a") as client:
        host.down()
        assert client.poll() is None  # nobody told it
        host.up()

        assert say(client, "still there?") == ""
        assert client.wait(timeout=30) == 255


@pytest.mark.parametrize("kind", ["drop", "in", "out", "link"])
def test_a_silent_partition_is_noticed_by_time_alone(hosts: Hosts, host: Host, kind: str) -> None:
    with connection(hosts, "a") as client:
        host.partition(kind)
        refused = hosts.ssh("a", "true", connect_s=1)
        assert client.poll() is None
        host.heal()

        assert "timed out" in refused.stderr
        assert say(client, "again") == "again"
    assert hosts.ssh("a", "hostname").stdout == "a\n"


def test_a_host_that_rejects_resets_what_is_open(hosts: Hosts, host: Host) -> None:
    with connection(hosts, "a") as client:
        host.partition("reject")

        assert "refused" in hosts.ssh("a", "true").stderr
        assert say(client, "again") == ""
    host.heal()
    assert hosts.ssh("a", "hostname").stdout == "a\n"


def test_a_partition_can_change_its_kind(hosts: Hosts, host: Host) -> None:
    host.partition("drop")
    host.partition("reject")
    assert "refused" in hosts.ssh("a", "true").stderr
    host.heal()
    host.heal()
    assert hosts.ssh("a", "hostname").stdout == "a\n"


def test_a_host_that_is_off_has_no_route(hosts: Hosts, host: Host) -> None:
    host.down(abrupt=False)
    assert "No route to host" in hosts.ssh("a", "true").stderr
    host.up()
    assert hosts.ssh("a", "hostname").stdout == "a\n"


def test_killed_sessions_leave_their_commands_alone(hosts: Hosts, host: Host) -> None:
    with connection(hosts, "a") as client:
        (cat,) = [process.pid for process in host.processes() if process.argv == ("cat",)]
        hosts.ssh("a", "setsid sleep 300 >/dev/null 2>&1 </dev/null &")

        assert len(host.kill_sessions()) == 1

        assert client.wait(timeout=30) == 255
        wait_for(lambda: is_gone(cat))  # its input has ended
        assert host.processes("sleep 300")
        assert host.sshd_sessions() == []


def test_agents_are_told_from_what_else_runs(hosts: Hosts, host: Host) -> None:
    sent = "import time; __name__ = 'exq_agent'; print('there', flush=True); time.sleep(300)"
    with subprocess.Popen([*hosts.ssh_argv("a"), f'python3 -c "{sent}"'], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "there\n"

        (agent,) = host.kill_agents()

        assert client.wait(timeout=30) != 0
        assert is_gone(agent)
        assert host.agent_pids() == []


def test_an_sshd_refuses_says_nothing_and_recovers(hosts: Hosts, host: Host) -> None:
    with connection(hosts, "a") as client:
        host.silence_sshd()
        assert "banner" in hosts.ssh("a", "true", connect_s=1).stderr
        host.resume_sshd()
        assert hosts.ssh("a", "hostname").stdout == "a\n"

        host.stop_sshd()
        assert "refused" in hosts.ssh("a", "true").stderr
        assert say(client, "again") == "again"
        host.start_sshd()
        assert hosts.ssh("a", "hostname").stdout == "a\n"


def test_a_frozen_host_takes_connections_and_does_nothing(hosts: Hosts, host: Host) -> None:
    with connection(hosts, "a") as client:
        frozen = host.freeze()
        assert "banner" in hosts.ssh("a", "true", connect_s=1).stderr
        assert client.poll() is None
        host.thaw(frozen)
        assert say(client, "again") == "again"


def test_a_full_disk_is_full(hosts: Hosts) -> None:
    (host,) = hosts.add("a", state_mib=2)
    host.fill_disk()
    assert "No space left" in hosts.ssh("a", "echo text >~/.local/state/note").stderr
    host.free_disk()
    assert hosts.ssh("a", "echo text >~/.local/state/note").returncode == 0
    assert host.path("~/.local/state/note").read_text() == "text\n"


def test_each_host_has_gpus_of_its_own(hosts: Hosts) -> None:
    a, _ = hosts.add("a", "b")
    assert a.gpus(2) == ["GPU-0-a", "GPU-1-a"]
    hosts.ssh("a", "FAKE_GPU_MIB=700 CUDA_VISIBLE_DEVICES=1 setsid sleep 300 >/dev/null 2>&1 </dev/null &")

    query = "nvidia-smi --query-gpu=uuid,memory.used --format=csv,noheader,nounits"
    assert hosts.ssh("a", query).stdout.splitlines() == ["GPU-0-a, 1", "GPU-1-a, 701"]
    assert hosts.ssh("b", query).returncode == 127
    a.set_gpus({"mode": "no_devices"})
    assert hosts.ssh("a", query).stdout == "No devices were found\n"


def test_an_sshd_can_be_set_up_otherwise(hosts: Hosts) -> None:
    hosts.add("a", sshd={"AuthorizedKeysFile": "none"})
    assert "Permission denied" in hosts.ssh("a", "true").stderr


def test_the_key_of_a_host_is_known_and_no_other(hosts: Hosts) -> None:
    a, b = hosts.add("a", "b")
    for name in ("host_key", "host_key.pub"):
        (a.machine / name).write_bytes((b.machine / name).read_bytes())
    a.reboot()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in hosts.ssh("a", "true").stderr


def test_a_way_that_takes_time_counts_the_turns_on_it(hosts: Hosts, host: Host) -> None:
    way = hosts.delay("a", 0.02)
    before = time.monotonic()
    with connection(hosts, way.alias) as client:
        assert way.turns() > 3  # key exchange and log-in
        assert time.monotonic() - before >= 0.02 * 2 * way.turns() * 0.9
        for number in range(1, 4):
            turns = way.turns()
            assert say(client, f"word {number}") == f"word {number}"
            assert way.turns() == turns + 1


def test_a_host_is_reached_through_another(hosts: Hosts) -> None:
    hosts.add("a", "b")
    hosts.forward()
    hosts.alias("behind", HostName=hosts["b"].address, ProxyJump="a")
    answer = hosts.ssh("behind", "hostname; echo $SSH_CLIENT")
    assert answer.stdout.split()[:2] == ["b", hosts["a"].address], answer.stderr


def test_names_lead_nowhere(hosts: Hosts) -> None:
    hosts.alias("nowhere", HostName="nowhere.invalid")
    assert "Could not resolve hostname" in hosts.ssh("nowhere", "true").stderr


def test_closing_leaves_nothing(hosts: Hosts) -> None:
    (host,) = hosts.add("a")
    hosts.ssh("a", "screen -dmS left sleep 300")
    pids = [host.inside.first, *(process.pid for process in host.processes())]
    assert host.processes("SCREEN")

    hosts.close()
    hosts.close()

    assert all(is_gone(pid) for pid in pids)
    assert not hosts.root.exists()


def test_a_test_run_that_is_killed_takes_its_hosts_with_it(missing: Callable[[str], None]) -> None:
    why = cannot()
    if why:
        missing(why)
    with subprocess.Popen([sys.executable, "-c", DOOMED], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        made = json.loads(run.stdout.readline())
        sweep()
        assert Path(made["root"]).exists()  # it is in use
        assert not any(is_gone(pid) for pid in made["pids"])
        os.kill(run.pid, signal.SIGKILL)

    wait_for(lambda: all(is_gone(pid) for pid in made["pids"]))
    sweep()
    wait_for(lambda: not Path(made["root"]).exists())  # another test may be sweeping it just now
