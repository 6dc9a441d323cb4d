"""Which commits jobs with `snapshot` would run: few git processes, and a slow repository keeps nobody waiting."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.host import agent
from tests.integration.repositories import Repository

pytestmark = pytest.mark.needs("git")

# Called by the agent, it notes when it begins and ends, and takes as long as the test wants.
GIT = """#!/bin/sh
PATH={path}
[ -n "$GIT_OPTIONAL_LOCKS" ] || exec git "$@"
echo begin >>{log}
while [ -e {hold} ]; do sleep 0.02; done
{pause}
git "$@"
code=$?
echo end >>{log}
exit $code
"""


class Bench:
    """An agent that finds a git of the test's own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.log, self.hold = root, root / "log", root / "hold"
        self.path = os.environ["PATH"]
        self.write_git()
        monkeypatch.setenv("PATH", f"{root / 'bin'}:{self.path}")
        self.log.touch()
        self.agent = agent.Agent(str(root / "state"), {})

    def write_git(self, pause: str = "") -> None:
        program = self.root / "bin" / "git"
        program.parent.mkdir(exist_ok=True)
        program.write_text(GIT.format(log=self.log, hold=self.hold, pause=pause, path=self.path))
        program.chmod(0o755)

    def look(self, *folders: Path, ref: str = "") -> list[dict[str, Any]]:
        wanted = {str(folder): [str(folder), ref] for folder in folders}
        return list(self.agent.handle({"op": "probe", "code": wanted})["code"].values())

    @property
    def began(self) -> int:
        return self.log.read_text().split().count("begin")

    def at_once(self) -> int:
        """How many ran side by side at most."""
        now = most = 0
        for word in self.log.read_text().split():
            now += 1 if word == "begin" else -1
            most = max(now, most)
        return most


@pytest.fixture
def code(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "work", train_dot_py="1\n")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(agent, "CODE_PATIENCE_S", 30.0)
    return Bench(tmp_path, monkeypatch)


@pytest.mark.parametrize("ref", ["", "main"])
def test_many_folders_of_one_repository_are_one_look(bench: Bench, code: Repository, ref: str) -> None:
    folders = [code.root / f"run{number}" for number in range(150)]
    for folder in folders:
        folder.mkdir()
    assert bench.look(*folders, ref=ref) == [{"root": str(code.root), "commit": code.head(), "changes": []}] * 150
    assert bench.began == 1


def test_a_few_repositories_at_once(bench: Bench, tmp_path: Path) -> None:
    bench.write_git(pause="sleep 0.1")
    many = [Repository(tmp_path / f"r{number}") for number in range(11)]
    found = bench.look(*(each.root for each in many))
    assert [each["commit"] for each in found] == [each.head() for each in many]
    assert bench.began == 11
    assert 1 < bench.at_once() <= agent.CODE_LOOKS_AT_ONCE


def test_what_holds_jobs_back_is_not_looked_at_each_time(
    bench: Bench, code: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.write(train_dot_py="2\n")
    monkeypatch.setattr(agent, "CODE_KEPT_S", 1000.0)
    assert [bench.look(code.root)[0]["changes"] for _ in range(5)] == [["train.py"]] * 5
    assert bench.began == 1
    monkeypatch.setattr(agent, "CODE_PAUSE_MAX_S", 0.0)
    commit = code.commit("second")
    before = bench.began
    assert bench.look(code.root)[0]["commit"] == commit
    assert bench.began == before + 1


def test_the_longer_it_takes_the_less_often(bench: Bench, code: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    code.write(train_dot_py="2\n")
    look = agent.CodeLook(str(code.root), "", None)
    agent.read_until([look.child], time.monotonic() + 30)
    look.follow(look.begun_at + 2.0)
    assert look.known["changes"] == ["train.py"] and look.ended_at is not None
    assert look.holds(look.ended_at + 2.0 * agent.CODE_PAUSE - 1)
    assert not look.holds(look.ended_at + 2.0 * agent.CODE_PAUSE + 1)


def test_a_commit_is_always_that_of_now(bench: Bench, code: Repository) -> None:
    """Jobs that are asked for later must not run an older one."""
    first = code.head()
    assert bench.look(code.root)[0]["commit"] == first
    second = code.commit("second", train_dot_py="2\n")
    assert bench.look(code.root)[0]["commit"] == second


def test_a_slow_repository_delays_nobody(bench: Bench, code: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.hold.touch()
    monkeypatch.setattr(agent, "CODE_PATIENCE_S", 0.01)
    for _ in range(3):
        assert bench.look(code.root) == [{"unknown": f"git is still looking at {code.root}"}]
    assert bench.log.read_text() in ("", "begin\n"), "it is not begun anew"
    bench.hold.unlink()
    for _ in range(600):
        found = bench.look(code.root)[0]
        if "commit" in found:
            break
        time.sleep(0.02)
    assert found["changes"] == []
    assert bench.log.read_text() == "begin\nend\n"


def test_one_that_never_ends_is_given_up(bench: Bench, code: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.hold.touch()
    monkeypatch.setattr(agent, "CODE_PATIENCE_S", 0.01)
    monkeypatch.setattr(agent, "CODE_DEADLINE_S", 0.0)
    assert bench.look(code.root) == [{"unknown": f"git gave no answer about {code.root} in time"}]
    bench.hold.unlink()


def test_while_it_is_looked_at_again_the_last_answer_stands(
    bench: Bench, code: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.write(train_dot_py="2\n")
    assert bench.look(code.root)[0]["changes"] == ["train.py"]
    bench.hold.touch()
    for name in ("CODE_PATIENCE_S", "CODE_PAUSE_MAX_S"):
        monkeypatch.setattr(agent, name, 0.01)
    time.sleep(0.05)
    assert bench.look(code.root)[0]["changes"] == ["train.py"]
    bench.hold.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda code: code.git("mv", "train.py", "other name.py"), ["other name.py"]),
        (lambda code: code.git("rm", "-q", "train.py"), ["train.py"]),
        (lambda code: code.write(untracked_dot_py="1"), []),
        (lambda code: code.write(**{f"f{n}": "" for n in range(7)}) or code.git("add", "."), [*"01234", "2 more"]),
    ],
    ids=["renamed", "removed", "untracked", "many"],
)
def test_changes(bench: Bench, code: Repository, change: Any, words: list[str]) -> None:
    change(code)
    found = bench.look(code.root)[0]["changes"]
    assert [name.removeprefix("f") for name in found] == words


def test_what_git_says_besides_never_counts_as_clean() -> None:
    said = b"warning: odd\n# branch.oid " + b"a" * 40 + b"\0# branch.head main\0warning: more\0"
    assert agent.changes_in(said) == ("a" * 40, ["warning: more"])


@pytest.mark.parametrize(
    ("ref", "words"),
    [("", "has no commit yet"), ("missing", "`missing` is no commit in"), ("no\nref", "is no commit in")],
)
def test_without_a_commit(bench: Bench, tmp_path: Path, ref: str, words: str) -> None:
    import subprocess

    subprocess.run(["git", "init", "-q", str(tmp_path / "empty")], check=True, timeout=60)
    assert words in bench.look(tmp_path / "empty", ref=ref)[0]["problem"]


def test_a_broken_repository(bench: Bench, code: Repository) -> None:
    (code.root / ".git" / "HEAD").write_text("")
    assert bench.look(code.root)[0]["problem"].startswith("git: ")
    assert bench.look(code.root / "missing") == [{"problem": f"{code.root}/missing does not exist"}]


class TestSnapshots:
    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        return tmp_path / "state"

    def test_one_that_is_refused_keeps_no_other_back(self, bench: Bench, code: Repository, state: Path) -> None:
        begun: list[tuple[str, ...]] = []
        bench.agent._helpers.start = lambda *words: begun.append(words)  # type: ignore[method-assign]
        commit = code.head()
        make = [["/nowhere", commit], [str(code.root), commit]]
        drop = [["../..", commit], ["0123456789ab", commit]]
        found = bench.agent.handle({"op": "snapshots", "make": make, "drop": drop})
        assert begun == [
            ("snapshot", "make", str(code.root), commit),
            ("snapshot", "drop", "0123456789ab", commit),
        ]
        assert found["begun"] and found["problems"] == ["/nowhere does not exist", f"not a snapshot: ../../{commit}"]

    @pytest.mark.parametrize("there", [["", ".users"], [""], [".users"]])
    @pytest.mark.parametrize("old", [True, False])
    def test_what_is_idle_is_offered_whole_or_not(self, bench: Bench, state: Path, there: list[str], old: bool) -> None:
        commit = "a" * 40
        for ending in there:
            path = state / "snapshots" / "0123456789ab" / f"{commit}{ending}"
            path.mkdir(parents=True)
            past = time.time() - 2 * agent.SNAPSHOT_UNUSED_S
            if old or (ending == "" and len(there) > 1):  # of one that is whole its users tell
                os.utime(path, (past, past))
        found = bench.agent.handle({"op": "probe", "strays": True})["old_snapshots"]
        assert found == ([["0123456789ab", commit]] if old else [])


class TestNotes:
    """An agent whose helper meets another one at work, and ends."""

    @pytest.fixture
    def ran(self, tmp_path: Path) -> Path:
        return tmp_path / "ran"

    @pytest.fixture
    def box(self, tmp_path: Path, ran: Path) -> agent.Agent:
        helper = f"open({str(ran)!r}, 'a').write('x')\n"
        found = agent.Agent(str(tmp_path / "state"), {"helpers": {"provenance": helper}})
        for name in ("provenance/queue", "attempts/p/a/1"):
            (tmp_path / "state" / name).mkdir(parents=True)
        (tmp_path / "state" / "provenance" / "queue" / "p%a%1").write_text("p/a/1\n")
        (tmp_path / "state" / "attempts" / "p" / "a" / "1" / "exit.json").write_text("{}")
        return found

    def test_it_is_started_once_and_then_waited_for(
        self, box: agent.Agent, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        marker = tmp_path / "state" / "provenance" / "queue" / "p%a%1"
        polls = iter(range(40))

        def sleep(_: float, real: Any = time.sleep) -> None:
            real(0.02)
            if next(polls) == 30:
                marker.unlink()

        monkeypatch.setattr(agent.time, "sleep", sleep)
        assert "notes" in box.handle({"op": "list_files", "cwd": "/", "path": "p/a/1"})
        assert next(polls) == 31, "until it was noted"
        box._helpers.reap()
        assert ran.read_text() == "x"

    @pytest.mark.parametrize("ended", ["long ago", "not yet"])
    def test_what_did_not_end_a_moment_ago_is_not_waited_for(
        self, box: agent.Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: str
    ) -> None:
        end = tmp_path / "state" / "attempts" / "p" / "a" / "1" / "exit.json"
        if ended == "not yet":
            end.unlink()
        else:
            os.utime(end, (time.time() - 60, time.time() - 60))

        def sleep(_: float) -> None:
            raise AssertionError("it waits")

        monkeypatch.setattr(agent.time, "sleep", sleep)
        assert box.handle({"op": "list_files", "cwd": "/", "path": "p/a/1"})["notes"] == []

    def test_many_that_end_at_once_start_one(self, box: agent.Agent, ran: Path, tmp_path: Path) -> None:
        for number in range(1, 9):
            (tmp_path / "state" / "provenance" / "queue" / f"p%a%{number}").touch()
            assert box.handle({"op": "settle", "path": f"p/a/{number}", "verdict": {}})["settled"]
            for child in list(box._helpers._running.values()):
                child.wait(30)
        assert ran.read_text() == "x"
