"""`exq doctor` on machines behind a real sshd: what it finds there, and whether what it says mends it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.integration.lab import FAKEBIN, Lab, project
from tests.integration.ssh.hosts import Hosts

Found = dict[str, Any]


def checks_of(lab: Lab, *args: str, code: int | None = None) -> list[Found]:
    found: list[Found] = lab.json("doctor", *args, code=code)["checks"]
    return found


def bad(checks: list[Found], host: str) -> list[tuple[str, str]]:
    return [
        (check["name"], check["status"]) for check in checks if check["host"] == host and check["status"] == "error"
    ]


def one(checks: list[Found], host: str, name: str) -> Found:
    (found,) = [check for check in checks if (check["host"], check["name"]) == (host, name)]
    return found


def far_project(hosts: Hosts, *names: str, **settings: object) -> str:
    fields: dict[str, Any] = {"launcher": "auto", "hosts": list(names), "cwd": "~", **settings}
    return project({"a": "true", "b": "true"}, **fields)


def by_hand(hosts: Hosts, command: str) -> None:
    """Type what was said, on the machine that reaches the hosts."""
    assert f"ssh -F {hosts.ssh_config} " in command, "else it would be another ssh that knows no such host"
    subprocess.run([*hosts.enter, "sh", "-c", command], check=True, timeout=60)


def test_a_fit_host(lab: Lab, hosts: Hosts) -> None:
    (a,) = hosts.add("a")
    a.gpus(2)
    lab.spec(far_project(hosts, "a", gpus="all"))
    checks = checks_of(lab)
    assert bad(checks, "a") == []
    assert one(checks, "a", "ssh")["message"] == f"it lets us in as {hosts.user}"
    assert one(checks, "a", "host key")["status"] == "ok"
    assert one(checks, "a", "clock")["status"] == "ok"
    assert one(checks, "a", "nvidia-smi")["message"].startswith("2 GPUs, in ")
    assert one(checks, "a", "GPUs for p")["status"] == "ok"
    assert one(checks, "a", "state folder")["message"].startswith("/")


def test_a_key_that_is_not_known_does_not_hide_another_host(lab: Lab, hosts: Hosts) -> None:
    hosts.add("a", "b")
    lines = hosts.known_hosts.read_text().splitlines(keepends=True)
    hosts.known_hosts.write_text("".join(line for line in lines if not line.startswith("b,")))
    lab.spec(far_project(hosts, "a", "b"))
    checks = checks_of(lab, code=1)
    assert bad(checks, "a") == []
    assert bad(checks, "b") == [("host key", "error")]
    found = one(checks, "b", "host key")
    assert "SHA256:" in found["message"]
    assert "ssh-keyscan" in found["mend"]


def test_what_is_wrong_on_a_host_is_mended_by_what_is_said(lab: Lab, hosts: Hosts) -> None:
    """A missing folder, a missing environment, and the jobs that wait for a file, each told once."""
    (a,) = hosts.add("a")
    conda = a.home / "miniconda3" / "bin" / "conda"
    conda.parent.mkdir(parents=True)
    conda.write_bytes((FAKEBIN / "conda").read_bytes().replace(b"$FAKE_CONDA_ENVS", b"$HOME/envs"))
    conda.chmod(0o755)
    lab.spec(
        far_project(
            hosts, "a", cwd="~/my exp", conda="torch", preconditions=[{"type": "file_exists", "path": "data.bin"}]
        )
    )
    checks = checks_of(lab, code=1)
    assert bad(checks, "a") == [("cwd", "error"), ("preconditions", "error")]
    by_hand(hosts, one(checks, "a", "cwd")["mend"])
    assert (a.home / "my exp").is_dir()
    checks = checks_of(lab, code=1)
    assert bad(checks, "a") == [("environment", "error"), ("preconditions", "error")]
    found = one(checks, "a", "environment")
    assert "EnvironmentNameNotFound" in found["message"]
    assert found["jobs"] == ["p/a", "p/b"]
    (a.home / "envs" / "torch").mkdir(parents=True)
    (a.home / "my exp" / "data.bin").touch()
    assert bad(checks_of(lab), "a") == []


@pytest.mark.parametrize("fault", ["partition", "no sshd"])
def test_a_host_that_is_away(lab: Lab, hosts: Hosts, fault: str) -> None:
    (a,) = hosts.add("a")
    lab.spec(far_project(hosts, "a"))
    if fault == "partition":
        a.partition("reject")
    else:
        a.stop_sshd()
    assert bad(checks_of(lab, "a", code=1), "a") == [("ssh", "error")]
