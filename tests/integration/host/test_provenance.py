"""What an attempt ran with is noted beside it: by real git, real shells and real interpreters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab import UNTIL_GO, Lab, project
from tests.integration.repositories import Repository

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def code(lab: Lab) -> Repository:
    """The working folder is a repository."""
    return Repository(lab.work, train_dot_py="print('first')\n", _dot_gitignore="ran\ngo\nexperiment_queue/\n")


def noted(lab: Lab, key: str, number: int = 1, timeout_s: float = 30) -> dict[str, Any]:
    """What was noted of an attempt, once all of it is there."""
    path = lab.attempt(key, number) / "provenance.json"
    queue = lab.state / "provenance" / "queue"
    lab.wait("all is noted", lambda: path.exists() and not list(queue.iterdir()), timeout_s)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_clean_commit(lab: Lab, code: Repository) -> None:
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    found = noted(lab, "p/a")
    assert found["code"]["commit"] == code.head()
    assert (found["code"]["branch"], found["code"]["dirty"]) == ("main", False)
    assert found["host"]["hostname"] == os.uname().nodename
    assert not (lab.attempt("p/a") / "code.patch").exists()
    ran = lab.json("history", "a", "--full")["attempts"][0]
    assert (ran["code"]["commit"], ran["exit_code"], ran["status"]) == (code.head(), 0, "completed")
    refused = lab.exq("history", "a", "--full", "--patch", code=1)
    assert f"it ran commit {code.head()} as it is" in refused.stderr
    assert f"**Code**: commit {code.head()[:12]}\n" in lab.exq("report", "p").stdout


def test_the_patch_turns_the_commit_into_what_ran(lab: Lab, code: Repository) -> None:
    picture = bytes(range(256)) * 40
    (code.root / "picture.bin").write_bytes(b"\0old")
    commit = code.commit("with a picture", **{"sub__a_dot_py": "1\n", "gone_dot_py": "2\n"})
    (code.root / "picture.bin").write_bytes(picture)
    (code.root / "gone.py").unlink()
    code.git("mv", "sub/a.py", "sub/b c.py")
    code.write(train_dot_py="print('changed')\n", untracked_dot_py="12345")
    code.git("config", "diff.noprefix", "true")
    code.git("config", "diff.external", "false")
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    found = noted(lab, "p/a")["code"]
    assert (found["commit"], found["dirty"], found["changes_count"]) == (commit, True, 4)
    assert found["untracked"] == [["untracked.py", 5]]
    code.write(train_dot_py="print('later')\n")
    patch = lab.exq("history", "a", "--full", "--patch").stdout
    assert f"attempt 1: changes to commit {commit}" in lab.exq("history", "a", "--full", "--patch").stderr
    other = lab.root / "other"
    code.git("worktree", "add", "-q", "--detach", str(other), commit)
    subprocess.run(["git", "apply"], input=patch, text=True, cwd=other, check=True, timeout=60)
    assert (other / "train.py").read_text() == "print('changed')\n"
    assert (other / "picture.bin").read_bytes() == picture
    assert sorted(path.name for path in other.rglob("*.py")) == ["b c.py", "train.py"]


def test_attempts_share_one_patch_and_one_listing(lab: Lab, code: Repository) -> None:
    code.write(train_dot_py="print('changed')\n")
    lab.spec(project({"a": "true", "b": "true"}, launcher="process"))
    lab.settle()
    for name in ("code.patch", "environment.json"):
        assert len({(noted(lab, key), (lab.attempt(key) / name).stat().st_ino)[1] for key in ("p/a", "p/b")}) == 1


def test_what_is_changed_after_the_start_is_said(lab: Lab, code: Repository) -> None:
    """The machine is looked at a moment later than the job starts; what changed meanwhile is told by its time."""
    lab.spec(project({"a": "echo x >>train.py; exec sleep 0.2"}, launcher="process"))
    lab.settle()
    found = noted(lab, "p/a")["code"]
    assert found["dirty"] is False or found["changed_after_start"] == ["train.py"]


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_the_environment_is_that_of_the_job(lab: Lab, code: Repository, shell: str, tmp_path: Path) -> None:
    assert shutil.which(shell) is not None, f"{shell} is not installed"
    env = tmp_path / "env"
    venv.create(env, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = env / "lib" / version / "site-packages"
    for name in ("Some_Thing-1.2.dist-info", "old.thing-0.9-py3.9.egg-info"):
        (site / name).mkdir()
    source = {"url": "https://ann:word@example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    (site / "Some_Thing-1.2.dist-info" / "direct_url.json").write_text(json.dumps(source))
    shells = lab.root / "shells"
    shells.mkdir()
    if shell == "dash":  # a host without bash
        for entry in Path("/usr/bin").iterdir():
            if entry.name != "bash":
                (shells / entry.name).symlink_to(entry)
        lab.env["PATH"] = f"{Path(sys.executable).parent}:{shells}"
    lab.spec(project({"a": "python -c 'import sys; print(sys.prefix)'"}, launcher="process", venv=str(env)))
    lab.settle()
    assert (lab.attempt("p/a") / "log").read_text() == f"{env}\n"
    found = noted(lab, "p/a")["environment"]
    assert (found["venv"], found["python"], found["packages"]) == (str(env), f"{env}/bin/python", 2)
    listing = json.loads((lab.attempt("p/a") / "environment.json").read_text())
    assert listing["packages"] == ["old-thing==0.9", "some-thing==1.2"]
    assert listing["sources"] == {"some-thing": "https://example.org/x.git@abc"}
    (site / "more-3.dist-info").mkdir()
    lab.exq("retry", "a", code=None)
    lab.spec(project({"b": "python -c 0"}, launcher="process", venv=str(env)))
    lab.settle()
    assert noted(lab, "p/b")["environment"]["packages"] == 3, "what is installed later is found"
    text = lab.exq("history", "b", "--full").stdout
    assert "more==3, old-thing==0.9" in text


def test_the_python_that_the_command_names(lab: Lab, code: Repository, tmp_path: Path) -> None:
    env = tmp_path / "env"
    venv.create(env, with_pip=False)
    lab.spec(project({"a": f"cd / && {env}/bin/python -c 0"}, launcher="process"))
    lab.settle()
    assert noted(lab, "p/a")["environment"]["python"] == f"{env}/bin/python"


def test_nothing_of_the_users_folder_is_imported(lab: Lab, code: Repository) -> None:
    code.write(json_dot_py="open('imported', 'w')\n", sitecustomize_dot_py="open('imported', 'w')\n")
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    assert noted(lab, "p/a")["environment"]["packages"] > 0
    assert not (code.root / "imported").exists()


@pytest.mark.parametrize("launcher", ["process", pytest.param("screen", marks=pytest.mark.needs("screen"))])
def test_notes_keep_nothing_alive_and_hold_no_lock(lab: Lab, code: Repository, launcher: str) -> None:
    """Git that never comes back: the job ends all the same, and its slot is free for the next."""
    slow = lab.root / "slow"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (slow / "git").chmod(0o755)
    lab.env["PATH"] = f"{slow}:{lab.env['PATH']}"
    lab.spec(project(dict.fromkeys("abc", "true"), launcher=launcher, max_parallel=1))
    lab.settle()
    found = noted(lab, "p/a", timeout_s=90)
    assert found["code"]["problem"] == "git gave no answer in time"
    assert found["environment"]["packages"] > 0


def test_what_cannot_be_noted_is_said(lab: Lab) -> None:
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    assert noted(lab, "p/a")["code"]["problem"] == f"{lab.work} is in no git repository"
    assert f"not known: {lab.work} is in no git repository" in lab.exq("history", "a", "--full").stdout
    assert "**Code**" not in lab.exq("report", "p").stdout


def test_a_repository_without_a_commit(lab: Lab) -> None:
    subprocess.run(["git", "init", "-q", str(lab.work)], check=True, timeout=60)
    (lab.work / "x.py").write_text("1")
    subprocess.run(["git", "-C", str(lab.work), "add", "x.py"], check=True, timeout=60)
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    found = noted(lab, "p/a")["code"]
    assert (found["commit"], found["dirty"]) == (None, True)
    assert "no commit yet" in found["patch"]["left_out"]


def test_a_large_patch_is_left_out(lab: Lab, code: Repository) -> None:
    (code.root / "big.bin").write_bytes(b"")
    code.commit("big")
    (code.root / "big.bin").write_bytes(os.urandom(14 << 20))
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    assert noted(lab, "p/a")["code"]["patch"] == {"left_out": "it is larger than 10 MiB"}
    refused = lab.exq("history", "a", "--full", "--patch", code=1).stderr
    assert "its changes were not kept: it is larger than 10 MiB" in refused


def test_git_is_missing(lab: Lab, code: Repository) -> None:
    tools = lab.root / "tools"
    tools.mkdir()
    for entry in Path("/usr/bin").iterdir():
        if entry.name != "git":
            (tools / entry.name).symlink_to(entry)
    lab.env["PATH"] = f"{Path(sys.executable).parent}:{tools}"
    assert shutil.which("git", path=lab.env["PATH"]) is None, "git is beside python: run the tests in a .venv"
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    assert noted(lab, "p/a")["code"]["problem"] == "git is not installed on this host"


def test_it_can_be_turned_off(lab: Lab, code: Repository) -> None:
    lab.spec(project({"a": "true"}, launcher="process", provenance=False))
    lab.settle()
    assert sorted(path.name for path in lab.attempt("p/a").iterdir()) == [
        "claim", "exit.json", "intent.json", "job.sh", "log", "started.json", "verdict.json",
    ]  # fmt: skip
    assert not (lab.state / "provenance").exists()
    assert "code         not noted" in lab.exq("history", "a", "--full").stdout


def test_no_value_of_a_variable_is_noted(lab: Lab, code: Repository) -> None:
    lab.spec(project({"a": {"cmd": "true", "env": {"HF_TOKEN": "hf_verysecretvalue"}}}, launcher="process"))
    lab.settle()
    noted(lab, "p/a")
    for path in lab.attempt("p/a").iterdir():
        assert path.name == "job.sh" or b"hf_verysecretvalue" not in path.read_bytes(), path
    text = lab.exq("history", "a", "--full").stdout
    assert "HF_TOKEN (values are in job.sh alone)" in text
    assert "hf_verysecretvalue" not in text + json.dumps(lab.json("history", "a", "--full"))


def test_a_run_by_hand_changes_no_note(lab: Lab, code: Repository) -> None:
    lab.spec(project({"a": "true"}, launcher="process"))
    lab.settle()
    noted(lab, "p/a")
    before = (lab.attempt("p/a") / "environment.txt").read_bytes()
    rerun = lab.json("history", "a", "--full")["attempts"][0]["rerun"]
    other = {**os.environ, "VIRTUAL_ENV": "/elsewhere"}
    subprocess.run(["sh", "-c", rerun], env=other, check=True, timeout=60)
    assert (lab.attempt("p/a") / "environment.txt").read_bytes() == before


def test_what_was_asked_for_survives_the_loop(lab: Lab, code: Repository) -> None:
    """Whoever was at it is gone with the loop: whoever settles the attempt has it done."""
    lab.spec(project({"a": UNTIL_GO}, launcher="process"))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["a"])
        noted(lab, "p/a")
    queue = lab.state / "provenance" / "queue"
    (lab.attempt("p/a") / "provenance.json").unlink()
    (queue / "p%a%1").write_text("p/a/1\n")
    (lab.work / "go").touch()
    lab.settle()
    assert noted(lab, "p/a")["code"]["commit"] == code.head()
