"""exq itself by `exq push`: installed, upgraded, not upgraded, and what it needs there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from reconciler import __version__
from tests.integration.ssh.far import ROOT, Far, Person, all_of, wait_for

pytestmark = pytest.mark.needs("ssh", "ssh-keygen", "/usr/sbin/sshd")


def another_exq(person: Person, version: str) -> list[str]:
    """The person has another version of exq: a copy of this one that says so; what runs it."""
    copy = person.home / "checkout"
    shutil.copytree(ROOT / "reconciler", copy / "reconciler", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    about = copy / "reconciler" / "__init__.py"
    about.write_text(about.read_text().replace(__version__, version))
    person.env["PYTHONPATH"] = str(copy)
    return [sys.executable, "-m", "reconciler"]


@pytest.mark.timeout(300)
def test_an_upgrade_and_one_that_fails(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("a")
    ann.push("")
    before = os.readlink(bare.data / "current")
    bob = bare.person("bob")
    bob.write("a")
    bare.command = another_exq(bob, "7.0.0")
    empty = bob.home / "nothing"
    empty.mkdir()
    shutil.copy(next(bare.wheels.glob("attrs-*")), empty)
    failed = bob.exq("push", "box:x", "--yes", "--no-service", "--wheels", str(empty), code=1).stderr
    assert "pip could not install exq" in failed and "--wheels" in failed
    assert os.readlink(bare.data / "current") == before
    assert [path.name for path in bare.data.iterdir() if path.name.startswith("7.")] == []
    assert bob.exq("--host", "box", "--version").stdout.startswith("exq 0.")

    note = bob.exq("--host", "box", "--version").stderr
    assert "exq push box upgrades it" in note
    bob.push("x")
    assert os.readlink(bare.data / "current").startswith("7.0.0-")
    assert bob.exq("--host", "box", "--version").stdout == "exq 7.0.0\n"

    ann.env["PYTHONPATH"] = str(ROOT)
    assert "has exq 7.0.0, this is the older" in ann.exq("--host", "box", "--version").stderr
    ann.write("a", "b")
    told = ann.json("push", "box", "--yes", "--no-service")
    assert (told["exq"]["action"], told["pushed"]) == ("newer", True)
    assert ann.exq("--host", "box", "--version").stdout == "exq 7.0.0\n"


@pytest.mark.timeout(300)
def test_an_upgrade_starts_the_loop_anew_and_the_jobs_go_on(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("long", command="until [ -e go ]; do sleep 0.1; done")
    ann.json("push", "box", "--yes", "--wheels", str(bare.wheels))
    (before,) = bare.loops()

    def job() -> dict[str, object]:
        found: dict[str, object] = ann.json("--host", "box", "status")["jobs"][0]
        return found

    wait_for(lambda: job()["status"] == "running", lambda: "the job runs")
    pid = job()["pid"]
    bare.command = another_exq(ann, "7.0.0")
    told = ann.json("push", "box", "--yes", "--wheels", str(bare.wheels))
    assert (told["exq"]["action"], told["loop"]["kind"]) == ("install", "detached")
    (after,) = bare.loops()
    assert after != before
    assert "/7.0.0-" in Path(f"/proc/{after}/cmdline").read_text()
    assert (job()["status"], job()["pid"], job()["attempts"]) == ("running", pid, 1)
    (bare.home / "exq/proj/go").touch()
    wait_for(lambda: job()["status"] == "completed", lambda: "the job ends well")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_is_too_old(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("a")
    real = sys.executable
    old = script(bare.folder / "python3.8", f'case "$1" in -I) exec {real} "$@";; esac; echo 3.8.10')
    refused = ann.push("", "--python", str(old), code=1).stderr
    assert f"exq needs Python 3.10 or newer on box: {old} is 3.8.10" in refused
    assert all_of(bare.home) == set()


def test_a_named_python_that_is_not_there(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("a")
    refused = ann.push("", "--python", "/nonexist/python3", code=1).stderr
    assert "/nonexist/python3 on box is not there" in refused and "install it there" not in refused


@pytest.mark.timeout(300)
def test_an_exq_whose_python_is_gone_is_mended_by_a_push(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("a")
    ann.push("")
    before = os.readlink(bare.data / "current")
    (bare.data / before / "bin/python").unlink()
    refused = ann.exq("--host", "box", "status", code=1).stderr
    assert "exq on box is broken" in refused and "exq push box" in refused
    told = ann.json("push", "box", "--dry-run")
    assert (told["exq"]["action"], told["exq"]["before"]) == ("install", __version__)
    ann.push("")
    assert os.readlink(bare.data / "current") == f"{before}.2"
    assert ann.json("--host", "box", "status")["jobs"][0]["key"] == "abc/a"


def test_no_python_at_all(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("a")
    bare.another("none", SetEnv=f"HOME={bare.home} PATH=/nonexistent")
    refused = ann.exq("push", "none", "--yes", code=1).stderr
    assert "there is no python3 to run on none" in refused


WITHOUT_ENSUREPIP = """\
if [ "$1 $2" = "-m venv" ] && [ "$3" != --without-pip ]; then
    echo "The virtual environment was not created successfully because ensurepip is not available." >&2
    exit 1
fi"""


def test_debian_without_python3_venv(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("a")
    real = os.path.realpath(sys.executable)
    no_pip = 'if [ "$1 $2" = "-m pip" ]; then echo "No module named pip" >&2; exit 1; fi'
    bad = script(bare.folder / "bad-python3", f'{WITHOUT_ENSUREPIP}\n{no_pip}\nexec {real} "$@"')
    refused = ann.push("", "--python", str(bad), code=1).stderr
    assert "ensurepip is not available" in refused and "sudo apt-get install python3-venv" in refused
    assert not [path for path in bare.data.iterdir() if path.name != "lock"]

    good = script(bare.folder / "good-python3", f'{WITHOUT_ENSUREPIP}\nexec {real} "$@"')
    ann.push("", "--python", str(good))
    assert ann.json("--host", "box", "status")["jobs"][0]["key"] == "abc/a"
