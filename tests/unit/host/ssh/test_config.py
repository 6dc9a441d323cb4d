"""The way to a host, as the user's own ssh would take it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reconciler.host.ssh.config import Target, route
from reconciler.host.ssh.trouble import SshTrouble
from reconciler.model.connection import TroubleKind

CONFIG = """
Include {folder}/more*
Match originalhost matched exec "test -d {folder}"
  HostName by.match
Host far
  HostName far.example.org
  User ada
  Port 2222
  IdentityFile {folder}/%r_key
  CertificateFile {folder}/far-cert.pub
  IdentitiesOnly yes
  IdentityAgent {folder}/agent
  UserKnownHostsFile {folder}/known {folder}/known2
  GlobalKnownHostsFile none
  HostKeyAlias cluster
  ConnectTimeout 7
Host jumper
  ProxyJump bob@stop1:2201,stop2
Host stop1
  HostName stop1.example.org
  ProxyJump gate
Host stop2
  ProxyCommand never run
Host commanded
  ProxyCommand nc -x proxy:1080 %h %p %r %%
Host round
  ProxyJump about
Host about
  ProxyJump round
Host weird
  HostName -oProxyCommand=x
Host fd
  ProxyCommand x
  ProxyUseFdpass yes
Host nothing
  IdentityFile {folder}/${{NOT_SET_ANYWHERE}}
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: object) -> Path:
    assert callable(require)
    require("ssh")
    path = tmp_path / "config"
    path.write_text(CONFIG.format(folder=tmp_path))
    (tmp_path / "more1").write_text("Host included\n  HostName by.include\n")
    monkeypatch.setenv("EXQ_SSH_CONFIG", str(path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent/of/mine")
    return tmp_path


def only(name: str) -> Target:
    (target,) = route(name)
    return target


def test_every_option_is_read(config: Path) -> None:
    assert only("far") == Target(
        name="far",
        host="far.example.org",
        user="ada",
        port=2222,
        identity_files=(f"{config}/ada_key",),
        certificate_files=(f"{config}/far-cert.pub",),
        identities_only=True,
        key_agent=f"{config}/agent",
        user_known_hosts=(f"{config}/known", f"{config}/known2"),
        host_key_alias="cluster",
        connect_timeout_s=7.0,
    )


@pytest.mark.parametrize(
    ("name", "host", "user"),
    [("included", "by.include", None), ("matched", "by.match", None), ("eve@far", "far.example.org", "eve")],
)
def test_include_match_and_user(name: str, host: str, user: str | None) -> None:
    target = only(name)
    assert target.host == host
    assert user in (None, target.user)


def test_plain_name_gets_what_ssh_would_try() -> None:
    target = only("plain.example.org")
    assert (target.host, target.port, target.key_agent) == ("plain.example.org", 22, "/agent/of/mine")
    assert any(path.endswith("/.ssh/id_ed25519") for path in target.identity_files)
    assert target.user_known_hosts[0].endswith("/.ssh/known_hosts")


def test_jumps_are_each_resolved_and_the_first_keeps_its_own_way() -> None:
    stops = [(target.name, target.host, target.port, target.via, target.proxy_command) for target in route("jumper")]
    assert stops == [
        ("gate", "gate", 22, None, None),
        ("stop1", "stop1.example.org", 2201, "gate", None),
        ("stop2", "stop2", 22, "stop1", None),
        ("jumper", "jumper", 22, "stop2", None),
    ]
    assert route("jumper")[1].user == "bob"


def test_proxy_command_is_ready_to_run() -> None:
    target = only("commanded")
    assert target.proxy_command == f"nc -x proxy:1080 commanded 22 {target.user} %"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("round", "leads back"),
        ("weird", "cannot be the name of a host"),
        ("fd", "ProxyUseFdpass"),
        ("nothing", "NOT_SET_ANYWHERE"),
        ("-oProxyCommand=touch /tmp/x", "cannot be the name"),
        ("a b", "cannot be the name"),
        ("$(id)", "cannot be the name"),
        ("a;b", "cannot be the name"),
        ("-lroot@far", "cannot be the name"),
        ("", "cannot be the name"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, words: str) -> None:
    with pytest.raises(SshTrouble, match="cannot be used") as caught:
        route(name)
    assert caught.value.trouble.kind is TroubleKind.CONFIG
    assert words in str(caught.value)


def test_mistake_in_the_file_is_quoted(config: Path) -> None:
    (config / "config").write_text("Hots far\n")
    with pytest.raises(SshTrouble, match="line 1: Bad configuration option: hots"):
        route("far")


def test_without_an_ssh_client_the_library_reads_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "config").write_text("Host far\n  HostName far.example.org\n  Port 2222\n  ProxyJump gate\n")
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ssh" else real(name))
    gate, far = route("eve@far")
    assert (gate.host, far.host, far.user, far.port, far.via) == ("gate", "far.example.org", "eve", 2222, "gate")
    assert any(path.endswith("/.ssh/id_ed25519") for path in far.identity_files)


def test_by_hand_it_is_the_same_file(config: Path) -> None:
    assert only("far").ssh_command == f"ssh -F {config}/config far"
