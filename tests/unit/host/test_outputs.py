"""Output patterns and preconditions on real folders."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.agent import Agent, Globber, complete_text, process_stat, star_matcher

FILES = [
    "a.json", "b.json", "run_1_seed3.json", "run_12_seed3.json", "run_12_seed34.json", ".hidden.json", "x[1].txt",
    "deep/a.json", "deep/er/a.json", "deep/er/.secret/a.json", "empty/", "aXbXc", "abc", "with space/out put.json",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "a.json", "missing.json", "*.json", "?.json", "[ab].json", "[!a].json", ".*.json", "run_*_seed3.json",
        "run_1*_seed3*.json", "*", "*/", "*/a.json", "**/a.json", "deep/**", "deep/**/a.json", "**/*.json", "empty",
        "a.json/", "deep/../a.json", "a*b*c", "*a*b*c*", "aX*X*c", "a*c", "*X*X*X*", "with*/*put*", "deep*/er/*.json",
        "x[[]1].txt", "[x", "**", "missing/*.json", "a.json/*", "run_1_seed3.json*", "**seed3.json",
    ],
)  # fmt: skip
def test_patterns_match_as_glob_does(tree: Path, pattern: str) -> None:
    wanted = str(tree / pattern) + "/" * pattern.endswith("/")
    expected = {os.path.normpath(path) for path in glob.glob(wanted, recursive=True)}
    expected -= {os.path.normpath(tree / pattern[:-2])} if pattern.endswith("**") else set()  # what is in it, not it
    found = {os.path.normpath(path) for path, _ in Globber().find(str(tree), pattern)}
    assert found == expected


@pytest.mark.parametrize("name", ["ab", "aab", "aba", "abab", "a", "", "axb", "xaxbx"])
@pytest.mark.parametrize("pattern", ["*", "a*", "*b", "a*b", "*a*", "*a*b*", "a*a*b", "ab*ab", "aba*ba"])
def test_star_matcher_agrees_with_fnmatch(pattern: str, name: str) -> None:
    import fnmatch

    assert star_matcher(pattern)(name) == fnmatch.fnmatchcase(name, pattern)


def probe(agent: Agent, cwd: Path, *patterns: str) -> dict[str, Any]:
    reply = agent.handle({"op": "probe", "outputs": {"p/j": {"cwd": str(cwd), "patterns": list(patterns)}}})
    answer: dict[str, Any] = reply["outputs"]["p/j"]
    return answer


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(str(tmp_path / "state"), {"deadline_s": 5})


def test_a_fingerprint_changes_with_any_of_its_files(tree: Path, agent: Agent) -> None:
    seen = {tuple(probe(agent, tree, "*.json")["fingerprints"])}
    changes = [
        lambda: (tree / "c.json").write_text("new"),
        lambda: (tree / "a.json").write_text("longer than before"),
        lambda: os.utime(tree / "a.json", ns=(1, 1)),
        lambda: ((tree / "tmp").write_text("b.json"), (tree / "tmp").replace(tree / "b.json")),
        (tree / "c.json").unlink,
    ]
    for change in changes:
        change()
        seen.add(tuple(probe(agent, tree, "*.json")["fingerprints"]))
    assert len(seen) == 1 + len(changes)
    assert probe(agent, tree, "*.json") == probe(agent, tree, "*.json")


def test_outputs_one_fingerprint_a_pattern_empty_where_nothing_matches(tree: Path, agent: Agent) -> None:
    (tree / "zero.json").touch()
    os.utime(tree / "zero.json", (2_000_000_000, 2_000_000_000))
    facts = probe(agent, tree, "zero.json", "nothing*", "a.json")
    assert [bool(fingerprint) for fingerprint in facts["fingerprints"]] == [True, False, True]
    assert facts["newest_at"] == 2_000_000_000
    assert facts["paths"] == [str(tree / "zero.json"), str(tree / "a.json")]
    assert probe(agent, tree / "gone", "*.json")["fingerprints"] == [""]


def test_tilde_and_absolute_patterns(tree: Path, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    assert all(probe(agent, Path("/"), "~/a.json", str(tree / "b.json"))["fingerprints"])
    assert all(probe(agent, Path("~/deep"), "a.json")["fingerprints"])


def test_a_folder_that_cannot_be_read_is_unknown(tree: Path, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot be listed: Permission denied" in probe(agent, tree, "*.json")["unknown"]
    assert probe(agent, tree, "a.json")["fingerprints"] != [""], "an exact path needs no listing"


def check(agent: Agent, cwd: Path, kind: str, subject: str, **env: str) -> dict[str, Any]:
    wanted = {"cwd": str(cwd), "env": env, "checks": [[kind, subject]]}
    (answer,) = agent.handle({"op": "probe", "preconditions": {"p/j": wanted}})["preconditions"]["p/j"]
    result: dict[str, Any] = answer
    return result


@pytest.mark.parametrize(
    ("kind", "subject", "message"),
    [
        ("checkpoint_exists", "a.json", ""),
        ("checkpoint_exists", "*.json", ""),
        ("checkpoint_exists", "deep", ""),
        ("checkpoint_exists", "zero.pt", "{}/zero.pt is empty"),
        ("checkpoint_exists", "empty", "{}/empty is empty"),
        ("checkpoint_exists", "ck/*_N64.pt", "no file matches {}/ck/*_N64.pt"),
        ("checkpoint_exists", "teacher.pt", "{}/teacher.pt does not exist"),
        ("file_exists", "zero.pt", ""),
        ("file_exists", "deep", "{}/deep is a folder, not a file"),
        ("file_exists", "nothing", "{}/nothing does not exist"),
        ("dir_exists", "deep", ""),
        ("dir_exists", "a.json", "there is no folder {}/a.json"),
        ("dir_exists", "nothing", "there is no folder {}/nothing"),
        ("command", "test -e a.json", ""),
        ("command", '[ "$WANTED" = yes ]', ""),
        ("command", "echo first; echo no licence >&2; exit 4", "no licence"),
    ],
)
def test_preconditions(tree: Path, agent: Agent, kind: str, subject: str, message: str) -> None:
    (tree / "zero.pt").touch()
    answer = check(agent, tree, kind, subject, WANTED="yes")
    assert answer["met"] is (not message)
    assert message.format(tree) in answer["message"]


def test_a_command_that_hangs_is_unknown_and_its_processes_end(tree: Path) -> None:
    agent = Agent(str(tree / "state"), {"deadline_s": 2})
    answer = check(agent, tree, "command", "sleep 61.25 & echo $! >child; wait")
    assert "no answer in 2 s" in answer["unknown"]
    pid = int((tree / "child").read_text())
    deadline = time.monotonic() + 30
    while (stat := process_stat(pid)) is not None and stat.alive:
        assert time.monotonic() < deadline, "its child lives on"
        time.sleep(0.01)


def test_the_same_command_is_run_once_for_many_jobs(tree: Path, agent: Agent) -> None:
    wanted = {"cwd": str(tree), "env": {}, "checks": [["command", "echo ran >>ran"]]}
    for _ in range(2):
        reply = agent.handle({"op": "probe", "preconditions": {f"p/j{number}": wanted for number in range(20)}})
        assert all(answers == [{"met": True, "message": ""}] for answers in reply["preconditions"].values())
    assert (tree / "ran").read_text() == "ran\n"


def test_a_command_in_a_missing_folder_is_not_met(tree: Path, agent: Agent) -> None:
    assert "does not exist" in check(agent, tree / "gone", "command", "true")["message"]


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"abc", b"abc"), ("é".encode(), "é".encode()), ("aé".encode()[:-1], b"a"), ("a€".encode()[:-1], b"a"),
        ("a😀".encode()[:-1], b"a"), ("a😀".encode()[:-3], b"a"), (b"a\x80\x80", b"a\x80\x80"), (b"", b""),
        (b"\xe2\x82", b"\xe2\x82"), ("€".encode(), "€".encode()),
    ],
)  # fmt: skip
def test_a_piece_of_text_ends_with_a_whole_character(data: bytes, whole: bytes) -> None:
    assert complete_text(data) == whole
