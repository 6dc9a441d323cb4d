"""A user and a server; each test gets its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ssh.loopback.sshd import Sshd
from tests.integration.ssh.loopback.user import PATIENCE_S, User, wait_for
from tests.unit.host.ssh.pipes import ship_stand_in


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    ship_stand_in(monkeypatch)
    made = User(tmp_path)
    monkeypatch.setenv("EXQ_SSH_CONFIG", str(made.config))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield made
    made.close()


@pytest.fixture
def box(user: User) -> Sshd:
    """The usual server with the usual entry."""
    made = user.server()
    user.entry(made)
    return made


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever fails: nothing is written to the user's terminal."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def agent(user: User) -> Iterator[Path]:
    """A key agent of the user's, without keys."""
    path = user.folder / "agent"
    child = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    wait_for(path.exists, "the key agent listens")
    yield path
    child.terminate()
    child.wait(PATIENCE_S)
