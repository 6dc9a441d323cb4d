"""Who is there, and who we are: host keys, user keys, key agents and certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.ssh.loopback.sshd import Sshd, new_key
from tests.integration.ssh.loopback.user import User, add, ask, mend_of

pytestmark = pytest.mark.needs("ssh", "ssh-agent", "ssh-keygen", "ssh-keyscan", "/usr/sbin/sshd")


@pytest.mark.parametrize("named", [True, False], ids=["named by the configuration", "any"])
def test_key_of_the_agent(user: User, agent: Path, named: bool) -> None:
    for number in range(3):
        add(agent, new_key(user.folder / f"other{number}"))
    add(agent, user.key)
    user.key.unlink()
    server = user.server(MaxAuthTries="2" if named else "6")
    only = ["IdentitiesOnly yes", f"IdentityFile {user.key}"] if named else ["IdentityFile /missing"]
    user.entry(server, f"IdentityAgent {agent}", *only)
    assert ask(user.link())["hostname"] == "far"


def test_key_that_the_configuration_leaves_out_is_not_tried(user: User, agent: Path) -> None:
    add(agent, user.key)
    other = new_key(user.folder / "other")
    user.entry(user.server(), f"IdentityAgent {agent}", "IdentitiesOnly yes", f"IdentityFile {other}")
    assert f"lets none of the keys in: {other};" in ask(user.link())["error"]


def test_too_many_keys_in_the_agent(user: User, agent: Path) -> None:
    for number in range(3):
        add(agent, new_key(user.folder / f"other{number}"))
    user.entry(user.server(MaxAuthTries="2"), f"IdentityAgent {agent}")
    error = ask(user.link())["error"]
    assert "the server hung up after 2 keys" in error
    assert "IdentitiesOnly yes" in error


@pytest.mark.parametrize("held", ["file", "agent", "certificate file"])
def test_certificate(user: User, agent: Path, held: str) -> None:
    authority = new_key(user.folder / "authority")
    name = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    public = user.key.with_suffix(".pub")
    subprocess.run(["ssh-keygen", "-qs", str(authority), "-I", "ada", "-n", name, str(public)], check=True)
    user.accepted.write_text("")
    server = user.server(TrustedUserCAKeys=str(authority.with_suffix(".pub")))
    certificate = Path(f"{user.key}-cert.pub")
    if held == "file":
        user.entry(server)
    elif held == "agent":
        add(agent, user.key)
        certificate.unlink()
        user.entry(server, f"IdentityAgent {agent}", "IdentityFile /missing")
    else:
        certificate = certificate.rename(user.folder / "elsewhere-cert.pub")
        user.entry(server, f"CertificateFile {certificate}")
    assert ask(user.link())["hostname"] == "far"


def test_key_is_good_where_its_certificate_is_not(user: User, box: Sshd) -> None:
    authority = new_key(user.folder / "authority")
    public = user.key.with_suffix(".pub")
    subprocess.run(["ssh-keygen", "-qs", str(authority), "-I", "ada", "-n", "nobody", str(public)], check=True)
    assert ask(user.link())["hostname"] == "far"


def test_unknown_key_is_refused_and_the_line_mends_it(user: User) -> None:
    server = user.server(trusted=False)
    user.entry(server)
    found = ask(user.link())
    shown = subprocess.run(["ssh-keygen", "-lf", f"{server.host_key}.pub"], check=True, capture_output=True, text=True)
    assert (found["kind"], found["trouble"]) == ("unreachable", "unknown_key")
    assert shown.stdout.split()[1] in found["error"], "the fingerprint to compare"
    mend = mend_of(found["error"])
    assert mend == f"ssh-keyscan -p {server.port} 127.0.0.1 >> {user.known}"
    subprocess.run(mend, shell=True, check=True, capture_output=True)
    assert ask(user.link())["hostname"] == "far"


def test_changed_key_is_refused_and_the_line_mends_it(user: User, box: Sshd) -> None:
    old = box.known_line().split()[2]
    box.stop()
    box.new_host_key()
    box.start()
    found = ask(user.link())
    assert found["trouble"] == "changed_key"
    assert f"line 1 of {user.known}" in found["error"]
    mend = mend_of(found["error"])
    assert mend == f"ssh-keygen -R '[127.0.0.1]:{box.port}' -f {user.known}"
    subprocess.run(mend, shell=True, check=True, capture_output=True)
    assert old not in user.known.read_text()
    assert ask(user.link())["trouble"] == "unknown_key"


def test_unknown_key_behind_a_jump_host(user: User, box: Sshd) -> None:
    user.entry(user.server("far", trusted=False), "ProxyJump box")
    error = ask(user.link("far"))["error"]
    assert "through box" in error
    assert mend_of(error) == f"ssh -F {user.config} far true"


def test_key_that_is_not_let_in(user: User, box: Sshd) -> None:
    user.accepted.write_text("")
    found = ask(user.link())
    assert found["trouble"] == "auth"
    assert f"lets none of the keys in: {user.key};" in found["error"]


def test_no_key_at_all(user: User, box: Sshd) -> None:
    user.key.unlink()
    assert "there is no key to enter" in ask(user.link())["error"]


def test_key_with_a_passphrase_is_not_asked_for(user: User) -> None:
    user.key.unlink()
    new_key(user.key, "-N", "secret")
    user.entry(user.server())
    found = ask(user.link())
    assert found["trouble"] == "locked_key"
    assert mend_of(found["error"]) == f"ssh-add {user.key}"


def test_server_that_wants_a_password(user: User) -> None:
    user.entry(user.server(PubkeyAuthentication="no", PasswordAuthentication="yes"))
    assert "the server takes no keys, only password" in ask(user.link())["error"]


def test_server_that_wants_more_than_a_key(user: User) -> None:
    both = "publickey,password"
    user.entry(user.server(PasswordAuthentication="yes", AuthenticationMethods=both))
    assert "wants password as well as a key" in ask(user.link())["error"]
