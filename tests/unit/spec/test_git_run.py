"""Running git within limits: what it leaves behind is not waited for, and it may take its half-written files along."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.spec.git_run import GitRun, GitSilent, run_git

pytestmark = pytest.mark.timeout(60)  # what is left behind in these tests stays for longer


class FakeGit:
    """A `git` that does what a test says, in place of the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def does(self, script: str) -> None:
        path = self.folder / "git"
        path.write_text(f"#!/bin/sh\ncd {self.folder}\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGit:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return FakeGit(tmp_path)


LEAVE_BEHIND = "setsid sleep 600 & echo $! >pid"
"""As ssh does with the connection that it shares: in a session of its own, with the pipes of git open."""


@pytest.fixture
def left_behind(fake: FakeGit) -> object:
    yield
    pid = (fake.folder / "pid").read_text().strip()
    assert Path(f"/proc/{pid}").exists(), "it was not exq's to end"
    subprocess.run(["kill", pid], check=True)


@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize("text_in", [None, b"asked"])
def test_what_git_leaves_behind_is_not_waited_for(fake: FakeGit, text_in: bytes | None) -> None:
    fake.does(f"{LEAVE_BEHIND}; cat; echo done; echo fatal: words >&2; exit 3")
    answer = run_git("fetch", text_in=text_in, deadline_s=600)
    assert (answer.code, answer.text, answer.complaint) == (3, f"{(text_in or b'').decode()}done", "words")


@pytest.mark.usefixtures("left_behind")
def test_nor_after_the_deadline(fake: FakeGit) -> None:
    fake.does(f"{LEAVE_BEHIND}; exec sleep 600")
    with pytest.raises(GitSilent, match="no answer within 1 s"):
        run_git("fetch", deadline_s=1)


def test_git_may_clean_up_before_it_is_killed(fake: FakeGit) -> None:
    fake.does("touch tmp_pack; trap 'rm tmp_pack; exit 1' TERM; touch ready; sleep 600 & wait")
    with pytest.raises(GitSilent):
        GitRun("fetch").answer(deadline_s=None, stopped=(fake.folder / "ready").exists)
    assert not (fake.folder / "tmp_pack").exists()


def test_one_that_does_not_end_is_killed(fake: FakeGit) -> None:
    fake.does("trap '' TERM; echo $$ >pid; while :; do sleep 1; done")
    with pytest.raises(GitSilent, match="broken off"):
        GitRun("fetch").answer(deadline_s=None, stopped=(fake.folder / "pid").exists)
    assert not Path(f"/proc/{(fake.folder / 'pid').read_text().strip()}").exists()


def test_progress_keeps_it_going_and_silence_ends_it(fake: FakeGit) -> None:
    fake.does("for n in 1 2 3 4 5 6; do sleep 0.5; printf 'at %s\\r' $n >&2; done; echo all")
    assert GitRun("fetch").answer(deadline_s=None, silence_s=2).text == "all"
    fake.does("echo begun >&2; exec sleep 600")
    with pytest.raises(GitSilent, match="no answer within 1 s"):
        GitRun("fetch").answer(deadline_s=None, silence_s=1)


def test_much_text_in_and_out(fake: FakeGit) -> None:
    fake.does("cat; sleep 1; exec cat")
    text = b"0123456789" * 100_000
    assert run_git("cat-file", text_in=text).out == text
