"""Every failure is one sentence, with the command that mends it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.host.ssh import trouble
from reconciler.host.ssh.config import Target
from reconciler.host.ssh.known import Judgement, KnownKey, Standing, fingerprint
from reconciler.host.ssh.trouble import SshTrouble
from reconciler.model.connection import TroubleKind

HOME = os.path.expanduser("~")
KNOWN = f"{HOME}/.ssh/known_hosts"
BOX = Target(name="box", host="box.example.org", user="ada", port=2222, user_known_hosts=(KNOWN,))
PLAIN = replace(BOX, host="box", port=22)
BEHIND = replace(BOX, via="gate")
LINE = KnownKey("[box.example.org]:2222", "ssh-rsa", b"old", KNOWN, 7)


@pytest.fixture(autouse=True)
def no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXQ_SSH_CONFIG", raising=False)


def changed(target: Target, line: KnownKey = LINE) -> SshTrouble:
    return trouble.bad_key(target, Judgement(Standing.CHANGED, line), "ssh-ed25519", b"new")


def unknown(target: Target, line: KnownKey | None = None) -> SshTrouble:
    return trouble.bad_key(target, Judgement(Standing.UNKNOWN, line), "ssh-ed25519", b"new")


CASES: list[tuple[SshTrouble, TroubleKind, list[str]]] = [
    (
        trouble.no_address(BOX, socket.gaierror(-2, "Name or service not known")),
        TroubleKind.NAME,
        ["the name box.example.org of host box has no address (name or service not known)", "ssh -G box"],
    ),
    (
        trouble.no_connection(BOX, ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")),
        TroubleKind.REFUSED,
        ["box (box.example.org:2222) refuses connections", "on port 2222", "`ssh box true`"],
    ),
    (trouble.no_connection(PLAIN, TimeoutError()), TroubleKind.TIMEOUT, ["box did not answer within 10 s"]),
    (
        trouble.no_connection(BOX, OSError(errno.EHOSTUNREACH, "No route to host")),
        TroubleKind.NO_ROUTE,
        ["cannot be reached: No route to host"],
    ),
    (trouble.no_connection(BOX, OSError(errno.ECONNRESET, "reset")), TroubleKind.LOST, ["cannot be reached: reset"]),
    (
        trouble.no_passage(BEHIND, Exception("(1, 'Administratively prohibited')")),
        TroubleKind.PROXY,
        ["the jump host gate does not lead on to box.example.org:2222", "AllowTcpForwarding"],
    ),
    (trouble.no_proxy(BOX, "nc: refused\n"), TroubleKind.PROXY, ["ProxyCommand of box", ": nc: refused"]),
    (
        trouble.no_ssh(BOX, None, 0, False),
        TroubleKind.SILENT,
        ["box (box.example.org:2222) accepts connections, but no SSH server spoke there in time"],
    ),
    (trouble.no_ssh(BOX, EOFError(), 0, True), TroubleKind.SILENT, ["closed the connection before it said anything"]),
    (
        trouble.no_ssh(BOX, Exception("Error reading SSH protocol banner"), 90, False),
        TroubleKind.SILENT,
        ["is no SSH server", "correct the port"],
    ),
    (
        trouble.no_ssh(BOX, Exception("no acceptable kex"), 90, False),
        TroubleKind.PROTOCOL,
        ["did not agree on a connection (no acceptable kex)"],
    ),
    (
        unknown(BOX),
        TroubleKind.UNKNOWN_KEY,
        [
            f"the key of box (box.example.org:2222) is not known: it offers ssh-ed25519 {fingerprint(b'new')}",
            "compare the fingerprint, then: `ssh-keyscan -p 2222 box.example.org >> ~/.ssh/known_hosts`",
        ],
    ),
    (unknown(PLAIN), TroubleKind.UNKNOWN_KEY, ["`ssh-keyscan box >> ~/.ssh/known_hosts`"]),
    (
        unknown(replace(BOX, user_known_hosts=("/a b/known",))),
        TroubleKind.UNKNOWN_KEY,
        ["`ssh-keyscan -p 2222 box.example.org >> '/a b/known'`"],
    ),
    (unknown(BEHIND), TroubleKind.UNKNOWN_KEY, ["box (box.example.org:2222) through gate", "`ssh box true`"]),
    (unknown(replace(BOX, host_key_alias="x")), TroubleKind.UNKNOWN_KEY, ["`ssh box true`"]),
    (
        unknown(BOX, replace(LINE, marker="@cert-authority")),
        TroubleKind.UNKNOWN_KEY,
        [f"line 7 of {KNOWN} names an authority; host certificates are not supported"],
    ),
    (
        changed(BOX),
        TroubleKind.CHANGED_KEY,
        [
            f"it offers ssh-ed25519 {fingerprint(b'new')}, line 7 of {KNOWN} has ssh-rsa {fingerprint(b'old')}",
            "`ssh-keygen -R '[box.example.org]:2222'`",
        ],
    ),
    (
        changed(BOX, replace(LINE, file="/etc/ssh/ssh_known_hosts")),
        TroubleKind.CHANGED_KEY,
        ["`ssh-keygen -R '[box.example.org]:2222' -f /etc/ssh/ssh_known_hosts`"],
    ),
    (
        trouble.bad_key(BOX, Judgement(Standing.REVOKED, LINE), "ssh-rsa", b"old"),
        TroubleKind.REVOKED_KEY,
        ["calls revoked", "nothing was sent"],
    ),
    (
        trouble.no_entry(BOX, ["work (agent)"], [f"{HOME}/.ssh/id_rsa"]),
        TroubleKind.LOCKED_KEY,
        ["~/.ssh/id_rsa has a passphrase that is not asked for", f"`ssh-add {HOME}/.ssh/id_rsa`"],
    ),
    (
        trouble.no_entry(replace(BOX, identity_files=(f"{HOME}/.ssh/id_rsa", "/k")), [], []),
        TroubleKind.AUTH,
        ["there is no key to enter ada@box with: neither in a key agent nor in ~/.ssh/id_rsa, /k"],
    ),
    (
        trouble.no_entry(BOX, ["~/.ssh/id_rsa", "work (agent)"], []),
        TroubleKind.AUTH,
        ["ada@box lets none of the keys in: ~/.ssh/id_rsa, work (agent)", "is user ada right?"],
    ),
    (trouble.no_entry(BOX, [], [], "it wants more"), TroubleKind.AUTH, ["ada@box: it wants more"]),
    (trouble.no_session(BOX, Exception("Connect failed")), TroubleKind.SESSIONS, ["(Connect failed)", "MaxSessions"]),
    (trouble.slow_agent("box", 30, "loading\nstill loading\n"), TroubleKind.STARTUP, [": still loading", ".bashrc"]),
    (trouble.broken("box", -1, ""), TroubleKind.LOST, ["the connection to box broke"]),
    (trouble.broken("box", 1, "x\nMemoryError\n"), TroubleKind.AGENT, ["ended with exit code 1: MemoryError"]),
]


@pytest.mark.parametrize(("error", "kind", "parts"), CASES, ids=[str(case[0])[:50] for case in CASES])
def test_sentence_and_what_mends_it(error: SshTrouble, kind: TroubleKind, parts: list[str]) -> None:
    assert error.trouble.kind is kind
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


def test_what_the_far_side_prints_cannot_write_to_the_terminal() -> None:
    said = str(trouble.no_agent("box", 1, "", "\x1b]0;owned\x07" + "x" * 5000))
    assert "\x1b" not in said
    assert len(said) < 600


def test_a_name_is_not_said_twice() -> None:
    error = socket.gaierror(-2, "Name or service not known")
    plain = trouble.no_address(PLAIN, error).trouble
    assert plain.message == "the name box has no address (name or service not known)"
    assert plain.mend == "check the name, or give it a HostName in ~/.ssh/config: `ssh -G box | grep hostname`"
    assert "of host" not in trouble.no_address(replace(PLAIN, name="ada@box"), error).trouble.message


@pytest.mark.parametrize(
    "found",
    [
        lambda: trouble.no_address(BOX, socket.gaierror(-2, "x")),
        lambda: trouble.no_connection(BOX, TimeoutError()),
        lambda: trouble.no_agent("box", 127, "", ""),
        lambda: trouble.no_agent("box", 3, "", ""),
        lambda: trouble.slow_agent("box", 30, ""),
    ],
)
def test_commands_name_the_configuration_that_is_used(
    found: Callable[[], SshTrouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXQ_SSH_CONFIG", "/my lab/config")
    mend = found().trouble.mend
    assert "ssh -F '/my lab/config' " in mend
    assert "~/.ssh/config" not in mend
