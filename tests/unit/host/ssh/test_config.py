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


INCLUDES = {
    "config": """
Include {folder}/first
Host in-block
  Include block.d/*.conf {folder}/"with blank"
  Port 2001
Host other
  Include {folder}/other
Host *
  User everyone
Match host by.match
  Include {folder}/matched
Include={folder}/last # and a comment
Port 2009
""",
    "first": "Host in-first\n  HostName first.example.org\nHost in-*\n  Include ~/.ssh/deeper\n",
    "home/.ssh/deeper": "User deep\nHost in-first\n  Port 2002\n",
    "home/.ssh/block.d/1.conf": "HostName block.example.org\nHost never\n  User never\n",
    "home/.ssh/block.d/2.conf": "User two\nHost in-block\n  ConnectTimeout 3\n",
    "home/.ssh/block.d/3.txt": "User three\n",
    "with blank": "IdentitiesOnly yes\n",
    "other": "Host in-first\n  HostName wrong.example.org\nHost *\n  HostKeyAlias wrong\n",
    "matched": "HostKeyAlias matched\n",
    "last": "Host in-last by.match\n  Port 2008\n",
}


@pytest.mark.parametrize("name", ["in-first", "in-block", "in-last", "other", "never", "by.match", "in-none", "x"])
def test_include_without_an_ssh_client_is_as_with_one(config: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`ssh` takes the home folder from the password file, so here it gets the same files by their full paths."""
    for file, text in INCLUDES.items():
        path = config / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{folder}", str(config)))
    monkeypatch.setenv("HOME", str(config / "home"))
    shown = [(path, path.read_text()) for path in config.rglob("*") if path.is_file()]
    for path, text in shown:
        full = text.replace("~/.ssh", f"{config}/home/.ssh").replace(
            "Include block.d", f"Include {config}/home/.ssh/block.d"
        )
        path.write_text(full)
    (expected,) = route(name)
    for path, text in shown:
        path.write_text(text)
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda asked: None if asked == "ssh" else real(asked))
    (found,) = route(name)
    for field in ("host", "user", "port", "host_key_alias", "connect_timeout_s", "identities_only"):
        assert getattr(found, field) == getattr(expected, field), field


def test_includes_that_go_round_end(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "config").write_text(f"Include {config}/config\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SshTrouble, match="more than 16 deep"):
        route("far")


def test_an_included_file_that_cannot_be_read_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "folder").mkdir()
    (config / "config").write_text(f"Include {config}/none {config}/folder\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SshTrouble, match=f"the included {config}/folder cannot be read"):
        route("far")
