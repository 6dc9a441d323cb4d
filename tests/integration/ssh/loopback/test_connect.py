"""The ways to a real SSH server on the loopback, and how they fail."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable

import pytest

from reconciler.host.ssh import connect
from reconciler.model.connection import LinkState
from tests.integration.ssh.loopback.sshd import Sshd, free_port
from tests.integration.ssh.loopback.user import User, answer, ask, wait_for

pytestmark = pytest.mark.needs("ssh", "ssh-agent", "ssh-keygen", "ssh-keyscan", "/usr/sbin/sshd")


def test_request_and_answer(user: User, box: Sshd) -> None:
    host = user.link(state="/far/state")
    hello = ask(host)
    assert hello["state"] is None, "only the start names it"
    blob = os.urandom(3_000_000)
    assert ask(host, "echo", text="é", blob=blob) == {"text": "é", "blob": blob}
    condition = host.condition()
    assert (condition.state, condition.hello["state"]) == (LinkState.CONNECTED, "/far/state")
    wait_for(lambda: host.condition().round_trip_s, "the round trip is measured")
    pid = hello["pid"]
    host.close()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the agent ends with the connection")


def test_jump_host(user: User, box: Sshd) -> None:
    far = user.server("far")
    user.entry(far, "ProxyJump box")
    host = user.link("far")
    assert ask(host)["hostname"] == "far"
    (serving,) = box.sessions()
    host.close()
    wait_for(lambda: serving not in box.sessions(), "the jump host is left as well")


def test_two_jump_hosts_with_users_and_ports(user: User, box: Sshd) -> None:
    middle, far = user.server("middle"), user.server("far")
    user.entry(middle)
    user.entry(far, f"ProxyJump {os.environ.get('USER', 'root')}@box:{box.port},middle")
    assert ask(user.link("far"))["hostname"] == "far"
    assert [len(server.sessions()) for server in (box, middle, far)] == [1, 1, 1]


def test_proxy_command_lives_as_long_as_the_connection(user: User, box: Sshd) -> None:
    far = user.server("far")
    note = user.folder / "proxy_pid"
    user.entry(far, f"ProxyCommand sh -c 'echo $$ >{note}; exec ssh -F {user.config} -W %h:%p box'")
    host = user.link("far")
    assert ask(host)["hostname"] == "far"
    pid = int(note.read_text())
    assert os.path.exists(f"/proc/{pid}")
    host.close()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "it was started by us, and is ended by us")


def test_include(user: User) -> None:
    server = user.server()
    user.write_entry("*", f"Include {user.folder}/more*")
    lines = ("Host box", "HostName 127.0.0.1", f"Port {server.port}", f"IdentityFile {user.key}")
    (user.folder / "more1").write_text("\n".join([*lines, f"UserKnownHostsFile {user.known}"]))
    assert ask(user.link())["hostname"] == "far"


def test_ipv6(user: User, missing: Callable[[str], None]) -> None:
    try:
        free_port("::1")
    except OSError:
        missing("there is no IPv6 here")
    user.entry(user.server(address="::1"))
    assert ask(user.link())["hostname"] == "far"


def test_hashed_known_hosts(user: User, box: Sshd) -> None:
    subprocess.run(["ssh-keygen", "-H", "-f", str(user.known)], check=True, capture_output=True)
    assert "127.0.0.1" not in user.known.read_text()
    assert ask(user.link())["hostname"] == "far"


def test_known_one_of_several_host_keys_is_asked_for(user: User) -> None:
    subprocess.run(["ssh-keygen", "-qt", "rsa", "-N", "", "-f", str(user.folder / "rsa")], check=True)
    server = user.server(trusted=False, HostKey=f"{user.folder}/box/host_key\nHostKey {user.folder}/rsa")
    kind, key = (user.folder / "rsa.pub").read_text().split()[:2]
    user.known.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    user.entry(server)
    assert ask(user.link())["hostname"] == "far"


def test_refused(user: User, box: Sshd) -> None:
    box.stop()
    found = ask(user.link())
    assert (found["kind"], found["trouble"]) == ("unreachable", "refused")


def test_name_without_address(user: User) -> None:
    user.write_entry("box", "HostName no-such-host.invalid")
    assert ask(user.link())["trouble"] == "name"


@pytest.mark.parametrize(
    ("says", "hangs_up", "words"),
    [
        (b"", False, "no SSH server spoke there in time"),
        (b"", True, "closed the connection before it said anything"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "is no SSH server"),
    ],
)
def test_what_listens_is_no_ssh_server(
    user: User, monkeypatch: pytest.MonkeyPatch, says: bytes, hangs_up: bool, words: str
) -> None:
    monkeypatch.setattr(connect, "BANNER_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        user.write_entry("box", "HostName 127.0.0.1", f"Port {listener.getsockname()[1]}")
        reply = user.link().send({"op": "hello"})
        caller, _ = listener.accept()
        with caller:
            caller.sendall(says)
            if hangs_up:
                caller.recv(1000)
                caller.close()
            found = answer(reply)
    assert found["trouble"] == "silent"
    assert words in found["error"]


def test_jump_host_that_does_not_lead_on(user: User, box: Sshd) -> None:
    user.write_entry("far", "HostName 127.0.0.1", f"Port {free_port('127.0.0.1')}", "ProxyJump box")
    found = ask(user.link("far"))
    assert found["trouble"] == "proxy"
    assert "the jump host box does not lead on" in found["error"]


def test_jump_host_that_forbids_it(user: User) -> None:
    user.entry(user.server(AllowTcpForwarding="no"))
    user.write_entry("far", "HostName 127.0.0.1", "ProxyJump box")
    assert "forbids forwarding" in ask(user.link("far"))["error"]


def test_proxy_command_that_fails(user: User) -> None:
    user.write_entry("box", "HostName 127.0.0.1", "ProxyCommand echo the proxy is down >&2; exit 1")
    found = ask(user.link())
    assert found["trouble"] == "proxy"
    assert "did not lead to an SSH server: the proxy is down" in found["error"]
