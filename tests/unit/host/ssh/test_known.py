"""What known_hosts files say of a key."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from reconciler.host.ssh.known import (
    Judgement,
    Standing,
    fingerprint,
    judge_server,
    known_name,
    read_known_hosts,
)

KEY, OTHER = b"the key", b"another key"


def b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def judged(tmp_path: Path, text: str, host: str = "box", port: int = 22, alias: str | None = None) -> Judgement:
    path = tmp_path / "known_hosts"
    path.write_text(text.replace("KEY", b64(KEY)).replace("OTHER", b64(OTHER)))
    return judge_server(read_known_hosts([str(tmp_path / "missing"), str(path)]), host, port, alias, "ssh-ed25519", KEY)


@pytest.mark.parametrize(
    ("text", "standing"),
    [
        ("", Standing.UNKNOWN),
        ("box ssh-ed25519 KEY\n", Standing.KNOWN),
        ("box ssh-ed25519 KEY a comment\n", Standing.KNOWN),
        ("BOX,10.0.0.1 ssh-ed25519 KEY\n", Standing.KNOWN),
        ("*.org,b?x ssh-ed25519 KEY\n", Standing.KNOWN),
        ("*,!box ssh-ed25519 KEY\n", Standing.UNKNOWN),
        ("# box ssh-ed25519 KEY\n", Standing.UNKNOWN),
        ("otherbox ssh-ed25519 KEY\n", Standing.UNKNOWN),
        ("box ssh-ed25519 OTHER\n", Standing.CHANGED),
        ("box ssh-rsa OTHER\n", Standing.CHANGED),
        ("box ssh-rsa OTHER\nbox ssh-ed25519 KEY\n", Standing.KNOWN),
        ("box ssh-ed25519 KEY\n@revoked * ssh-ed25519 KEY\n", Standing.REVOKED),
        ("@cert-authority box ssh-ed25519 KEY\n", Standing.UNKNOWN),
        ("box ssh-ed25519 not!base64\nbox\n\nbox ssh-ed25519\n", Standing.UNKNOWN),
        ("|1|broken|hash ssh-ed25519 KEY\n|1|x ssh-ed25519 KEY\n", Standing.UNKNOWN),
    ],
)
def test_lines(tmp_path: Path, text: str, standing: Standing) -> None:
    assert judged(tmp_path, text).standing is standing


@pytest.mark.parametrize(
    ("text", "standing"),
    [
        ("[box]:2222 ssh-ed25519 KEY\n", Standing.KNOWN),
        ("box ssh-ed25519 KEY\n", Standing.KNOWN),  # like ssh: a host's key is good on any of its ports
        ("box ssh-ed25519 OTHER\n", Standing.UNKNOWN),
        ("[box]:2222 ssh-ed25519 OTHER\nbox ssh-ed25519 KEY\n", Standing.CHANGED),
        ("[box]:22 ssh-ed25519 KEY\n", Standing.UNKNOWN),
    ],
)
def test_ports(tmp_path: Path, text: str, standing: Standing) -> None:
    assert judged(tmp_path, text, port=2222).standing is standing


def test_alias_stands_for_host_and_port(tmp_path: Path) -> None:
    text = "cluster ssh-ed25519 KEY\n[box]:2222 ssh-ed25519 OTHER\n"
    assert judged(tmp_path, text, port=2222, alias="Cluster").standing is Standing.KNOWN


def test_line_that_decided_is_named(tmp_path: Path) -> None:
    where = judged(tmp_path, "# a comment\nbox ssh-rsa OTHER\n").where
    assert where is not None
    assert (Path(where.file).name, where.line, where.kind, where.key) == ("known_hosts", 2, "ssh-rsa", OTHER)


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize(("host", "port"), [("box", 22), ("Box.Example.org", 2222), ("::1", 2222)])
def test_hashed_names_and_fingerprints_are_those_of_ssh(tmp_path: Path, host: str, port: int) -> None:
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    kind, text = (tmp_path / "key.pub").read_text().split()[:2]
    path = tmp_path / "known"
    path.write_text(f"{known_name(host, port)} {kind} {text}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(path)], check=True, capture_output=True)
    assert path.read_text().startswith("|1|")
    key = base64.b64decode(text)
    known = read_known_hosts([str(path)])
    assert judge_server(known, host, port, None, kind, key).standing is Standing.KNOWN
    assert judge_server(known, "elsewhere", port, None, kind, key).standing is Standing.UNKNOWN
    shown = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "key.pub")], check=True, capture_output=True, text=True)
    assert fingerprint(key) in shown.stdout.split()
