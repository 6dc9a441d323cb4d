"""The landing as it is sent: one source, an old Python, and a loop that it wakes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.host import landing
from reconciler.host.landing import builds, look, tools
from reconciler.host.landing.specs import Place
from reconciler.host.ssh import wire
from reconciler.host.ssh.courier import landing_source
from reconciler.host.watch import Waker
from reconciler.loop.run import watched_folders
from tests.unit.host.landing.test_whole_or_not import push

FOLDER = Path(landing.__file__).parent


def test_all_its_modules_are_sent() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {"__init__", *landing.MODULES}


@pytest.mark.parametrize("name", landing.MODULES)
def test_it_is_python_3_6(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text(), feature_version=(3, 6))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {module for module in imported if module and module.startswith("reconciler")}
    assert all(module.startswith(landing.__name__) for module in ours)


@pytest.mark.parametrize("module", ["reconciler.loop.run", "reconciler.cli.verbs.diff"])
def test_a_loop_does_without_it(module: str) -> None:
    script = f"import sys, {module}; print(*(name for name in sys.modules if 'host.landing.' in name))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"reconciler.host.landing.names"}


class Sent:
    """The source as a host gets it, in a process of its own without the project on its path."""

    def __init__(self, home: Path) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-I", "-c", wire.BOOTSTRAP],
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.write(wire.ship(landing_source()))
        assert self.child.stdout is not None
        assert self.child.stdout.readline() + self.child.stdout.readline() == b"\nEXQ-AGENT 1\n"

    def write(self, data: bytes) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def ask(self, op: str, blob: bytes = b"", **fields: Any) -> dict[str, Any]:
        assert self.child.stdout is not None
        self.write(b"".join(wire.pack({"op": op, **fields}, blob)))
        size = int(self.child.stdout.readline().split()[0])
        found: dict[str, Any] = json.loads(self.child.stdout.read(size))
        return found

    def end(self) -> int:
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.close()
        code = self.child.wait(timeout=20)
        self.child.stdout.close()
        return code


def asked(**fields: Any) -> dict[str, Any]:
    return {"folder": "", "alike": "", "project": "x", "name": "specs", "build": "0-a", "python": None, **fields}


def test_it_answers_and_changes_nothing(tmp_path: Path) -> None:
    sent = Sent(tmp_path)
    found = sent.ask("look", **asked())
    assert (found["specs"], found["kind"]) == (str(tmp_path / "exq/x/specs"), "nothing")
    assert found["exq"]["pythons"][0][1].startswith("3.")
    assert sent.ask("nonsense")["kind"] == "failed"
    done = sent.ask("run", argv=["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done["code"], done["out"], done["err"]) == (3, "out\n", "err\n")
    assert sent.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_what_it_runs_ends_with_whoever_asked(tmp_path: Path) -> None:
    sent = Sent(tmp_path)
    sent.write(b"".join(wire.pack({"op": "run", "argv": ["sh", "-c", "echo $$ >pid; exec sleep 600"]})))
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        assert sent.child.poll() is None
    number = int(pid.read_text())
    assert sent.end() == 0
    assert not os.path.exists(f"/proc/{number}")


@pytest.mark.parametrize(
    ("fields", "there", "folder"),
    [
        ({}, [], "exq/x"),
        ({"alike": "code/x"}, [], "exq/x"),
        ({"alike": "code/x"}, ["code/x"], "code/x"),
        ({"folder": "work"}, ["code/x"], "work"),
        ({"folder": "~/code/../y", "alike": "code/x"}, ["code/x"], "y"),
    ],
)
def test_which_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], there: list[str], folder: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in there:
        (tmp_path / name).mkdir(parents=True)
    assert look.chosen_folder(asked(**fields), str(tmp_path)) == str(tmp_path / folder)


def test_an_absolute_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert look.chosen_folder(asked(folder="/data/x"), str(tmp_path)) == "/data/x"


def build(home: Path, name: str, base: str = "/usr/bin/python3") -> None:
    folder = home / ".local/share/exq" / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "exq").write_text("#!/bin/sh\n")
    (folder / "bin" / "exq").chmod(0o755)
    tools.write_json(str(folder / builds.COMPLETE), {"version": name.partition("-")[0], "base": base})


def test_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = str(tmp_path / ".local/share/exq")
    assert look.exq_facts(asked())["complete"] is None
    build(tmp_path, "0-a")
    assert builds.free_name(data, "0-a") == "0-a.2"
    assert builds.activate({"build": "0-a"}) == {"active": "0-a"}
    assert os.path.realpath(tmp_path / ".local/bin/exq") == str(tmp_path / ".local/share/exq/0-a/bin/exq")
    facts = look.exq_facts(asked())
    assert (facts["complete"], facts["current"], facts["current_version"]) == ("0-a", "0-a", "0")
    assert look.exq_facts(asked(python="/other/python3"))["complete"] is None
    build(tmp_path, "0-a.2", "/other/python3")
    builds.activate({"build": "0-a.2"})
    assert look.exq_facts(asked())["complete"] == "0-a.2", "the one that counts stays"
    assert not look.exq_facts(asked())["foreign"]


def test_a_build_whose_python_is_gone_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    build(tmp_path, "0-a")
    builds.activate({"build": "0-a"})
    assert look.exq_facts(asked())["current_runs"]
    (tmp_path / ".local/share/exq/0-a/bin/exq").write_text(f"#!{tmp_path}/gone/python\n")
    facts = look.exq_facts(asked())
    assert (facts["complete"], facts["current"], facts["current_runs"]) == (None, "0-a", False)
    assert facts["pythons"]
    assert builds.free_name(str(tmp_path / ".local/share/exq"), "0-a") == "0-a.2"


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("new/one", ""),
        ("", ""),
        ("file", "/file is no folder"),
        ("file/x/y", "/file is no folder"),
        ("dangling/x", "/dangling is no folder"),
        ("/proc/nope", "/proc is the kernel's, and takes no files"),
    ],
)
def test_what_keeps_files_out_is_seen_first(tmp_path: Path, folder: str, words: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    found = look.obstacle(str(tmp_path / folder).rstrip("/"))
    assert found.removeprefix(str(tmp_path)) == words


def test_where_nobody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, rights: False)
    assert look.obstacle(str(tmp_path / "x")).endswith(f" may not write in {tmp_path}")


def test_whether_something_besides_the_specs_is_there(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "x"), "specs")
    assert not look.has_code(place)
    for name in ("specs", ".specs.pushed", ".specs.staged-r1"):
        (tmp_path / "x" / name).mkdir(parents=True)
        assert not look.has_code(place)
    (tmp_path / "x" / "train.py").touch()
    assert look.has_code(place)


def test_an_unfinished_build_never_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    build(tmp_path, "0-a")
    builds.activate({"build": "0-a"})
    build(tmp_path, "0-b")
    (tmp_path / ".local/share/exq/0-b" / builds.COMPLETE).unlink()
    with pytest.raises(tools.Refused):
        builds.activate({"build": "0-b"})
    assert look.exq_facts(asked(build="0-b"))["complete"] is None
    assert builds.build_now(str(tmp_path / ".local/share/exq")) == "0-a"


def test_an_exq_of_the_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    link = tmp_path / ".local/bin/exq"
    link.parent.mkdir(parents=True)
    link.symlink_to("/opt/mine/exq")
    build(tmp_path, "0-a")
    builds.activate({"build": "0-a"})
    assert os.readlink(link) == "/opt/mine/exq"
    assert look.exq_facts(asked())["foreign"]


def test_old_builds_are_taken_away_unless_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [f"0-{letter}" for letter in "abcdefg"]
    for number, name in enumerate(names):
        build(tmp_path, name)
        os.utime(tmp_path / ".local/share/exq" / name / builds.COMPLETE, (number, number))
    builds.activate({"build": "0-b"})
    running = {7: f"{tmp_path}/.local/share/exq/0-a/bin/python {tmp_path}/.local/share/exq/0-a/bin/exq run"}
    monkeypatch.setattr(builds, "commands", lambda: running)
    builds.prune({})
    left = {path.name for path in (tmp_path / ".local/share/exq").iterdir() if path.name.startswith("0-")}
    assert left == {*names} - {"0-c"}


def test_a_push_wakes_a_running_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    push(tmp_path, "r1")
    link = tmp_path / "work/x/specs"
    for name in ("spool", "requests"):
        (tmp_path / name).mkdir()
    paths = SimpleNamespace(spool=tmp_path / "spool", requests=tmp_path / "requests")
    world: Any = SimpleNamespace(specs=SimpleNamespace(folder=link), paths=paths)
    with Waker(watched_folders(world)) as waker:
        push(tmp_path, "r2", "pushed", "r1")
        woken: set[str] = set()
        while not (link / "c.yaml").exists() or "pushes" not in woken:
            heard = waker.wait(60)
            assert heard, "the loop was not woken"
            woken |= heard


def test_other_folders_are_watched_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    paths = SimpleNamespace(spool=tmp_path / "spool", requests=tmp_path / "requests")
    world: Any = SimpleNamespace(specs=SimpleNamespace(folder=tmp_path / "specs"), paths=paths)
    assert "pushes" not in watched_folders(world)
