"""The account on the other side: what its login does, and the agent that runs in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from reconciler.host.ssh import link, session
from reconciler.model.connection import TroubleKind
from tests.integration.ssh.loopback.sshd import Sshd, children, end
from tests.integration.ssh.loopback.user import PATIENCE_S, User, ask, wait_for

pytestmark = pytest.mark.needs("ssh", "ssh-agent", "ssh-keygen", "ssh-keyscan", "/usr/sbin/sshd")


def test_slow_and_noisy_login(user: User, box: Sshd) -> None:
    box.bashrc("echo Welcome; for i in $(seq 2000); do echo line $i of the news; done; sleep 0.5; echo warning >&2\n")
    assert ask(user.link())["hostname"] == "far"


def test_login_that_takes_too_long(user: User, box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "START_LIMIT_S", 0.5)
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 0.05)
    box.bashrc("echo loading modules; echo $$ >~/pid; exec sleep 600\n")
    found = ask(user.link())
    end(int((box.home / "pid").read_text()))
    assert found["trouble"] == "startup"
    assert "did not start within 0.5 s: loading modules" in found["error"]


@pytest.mark.parametrize(
    ("bashrc", "kind", "words"),
    [
        ("PATH=/nowhere\n", TroubleKind.NO_PYTHON, "there is no python3 to run on box"),
        ("echo No more logins; exit 3\n", TroubleKind.AGENT, "exit code 3 before it answered: No more logins"),
        ("kill -9 $$\n", TroubleKind.AGENT, "was ended before it answered"),
    ],
)
def test_account_in_which_no_agent_starts(user: User, box: Sshd, bashrc: str, kind: TroubleKind, words: str) -> None:
    box.bashrc(bashrc)
    found = ask(user.link())
    assert found["trouble"] == str(kind)
    assert words in found["error"]


def test_second_agent_where_the_server_allows_one_session(user: User) -> None:
    user.entry(user.server(MaxSessions="1"))
    host = user.link()
    ask(host)
    found = ask(host.open_second())
    assert (found["kind"], found["trouble"]) == ("unreachable", "sessions")
    assert "raise MaxSessions" in found["error"]
    assert ask(host)["hostname"] == "far", "the first is not harmed"


def test_agent_works_at_the_other_end(user: User, box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("EXQ_SSH_CONFIG", str(user.config))
    events = threading.Semaphore(0)
    host = user.link(on_event=events.release)
    hello = ask(host)
    assert hello["home"] == str(box.home)
    state = Path(host.condition().hello["state"])
    assert state == box.home / ".local/state/exq"
    assert state.stat().st_mode & 0o777 == 0o700
    job = {"project": "p", "job": "j", "number": 1, "job_sh": "exit 7\n", "intent": {}, "gpus": []}
    assert ask(host, "launch", path="p/j/1", launcher="process", session="exq.p.j.1", **job)["launched"]
    wait_for((state / "spool" / "p%j%1").exists, "the shim drops its marker")
    probe = {"attempts": [{"path": "p/j/1", "tail": True, "scan": True}]}
    wait_for(lambda: ask(host, "probe", **probe)["attempts"]["p/j/1"]["exited"], "the exit is seen")
    (serving,) = box.sessions()
    family = [serving, *children(serving)]
    host.close()
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), "nothing of it stays")


def test_agent_tells_of_an_end_at_once(user: User, box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("EXQ_SSH_CONFIG", str(user.config))
    events = threading.Semaphore(0)
    host = user.link(on_event=events.release)
    state = Path(ask(host)["home"]) / ".local/state/exq"
    (state / "spool").mkdir(exist_ok=True)
    ask(host)  # from now on it watches a folder that is there
    while events.acquire(timeout=0.1):
        pass
    (state / "spool" / "p%j%1").touch()
    assert events.acquire(timeout=PATIENCE_S)


def test_agent_that_cannot_work_there_says_so(user: User, box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("EXQ_SSH_CONFIG", str(user.config))
    (box.home / ".local").write_text("in the way")
    error = ask(user.link())["error"]
    assert f"the agent on box cannot work there: the state folder {box.home}/.local/state/exq cannot be made" in error
