"""Where files belong in another place, by what the spec says and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.host.destination import anchored, fits, place_files
from reconciler.model.plan import Transfer
from reconciler.parse.fields import Malformed
from tests.unit.host.two_homes import collected, pushed


def listed(*files: tuple[int, str], bases: list[str], cwd: str = "/home/ann/exp", log: bool = False) -> dict[str, Any]:
    """What an agent answers."""
    rows = [[number, names, 1, 2, 3, 0o100644] for number, names in files]
    answer = {"files": rows, "bases": bases, "matched": [True] * len(bases), "cwd": cwd}
    return {**answer, "log": ["/s/log", 1, 2, 3, 0o100644]} if log else answer


@pytest.mark.parametrize(
    ("cwd", "pattern", "base", "names", "source", "target"),
    [
        ("~/exp", "out/*", "/home/ann/exp/out", "x", "/home/ann/exp/out/x", "~/exp/out/x"),
        ("~/exp", "x", "/home/ann/exp/x", "", "/home/ann/exp/x", "~/exp/x"),
        ("~/exp", "x", "/home/ann/exp/x", "deep/.y", "/home/ann/exp/x/deep/.y", "~/exp/x/deep/.y"),
        ("/exp", "x/", "/exp/x", "y", "/exp/x/y", "/exp/x/y"),
        ("/exp", "../x/*", "/exp/../x", "y", "/exp/../x/y", "/exp/../x/y"),
        ("~", "*", "/home/ann", "x", "/home/ann/x", "~/x"),
        ("~/exp", "~/out/*", "/home/ann/out", "x", "/home/ann/out/x", "~/out/x"),
        ("/exp", "~/out/*", "/home/ann/out", "x", "/home/ann/out/x", "~/out/x"),
        ("~/exp", "/home/ann/out/*", "/home/ann/out", "x", "/home/ann/out/x", "/home/ann/out/x"),
        ("/exp", "~bob/*", "/home/bob", "x", "/home/bob/x", "~bob/x"),
        ("/exp", "~x*", "/exp", "~x1", "/exp/~x1", "/exp/~x1"),
        ("/exp", "/*", "/", "x", "/x", "/x"),
        ("", "x", "/home/ann/x", "", "/home/ann/x", "~/x"),
        ("exp", "x", "/home/ann/exp/x", "", "/home/ann/exp/x", "~/exp/x"),
    ],
)
def test_another_host(cwd: str, pattern: str, base: str, names: str, source: str, target: str) -> None:
    (found,) = place_files(pushed(pattern, cwd=cwd), listed((0, names), bases=[base]))
    assert found.source == source
    assert found.target == target


@pytest.mark.parametrize(
    ("pattern", "base", "names", "target"),
    [
        ("out/*", "/home/ann/exp/out", "x", "/c/demo/job/out/x"),
        ("out", "/home/ann/exp/out", "deep/x", "/c/demo/job/out/deep/x"),
        ("~/exp/out/*", "/home/ann/exp/out", "x", "/c/demo/job/out/x"),
        ("/home/ann/exp/x", "/home/ann/exp/x", "", "/c/demo/job/x"),
        ("/data/x", "/data/x", "", "/c/demo/job/data/x"),
        ("../x", "/home/ann/exp/../x", "", "/c/demo/job/home/ann/x"),
        ("../../../../x", "/home/ann/exp/../../../../x", "", "/c/demo/job/x"),
        ("../exp/x", "/home/ann/exp/../exp/x", "", "/c/demo/job/x"),
        ("../experts/x", "/home/ann/exp/../experts/x", "", "/c/demo/job/home/ann/experts/x"),
    ],
)
def test_collected(pattern: str, base: str, names: str, target: str) -> None:
    (found,) = place_files(collected("/c", pattern), listed((0, names), bases=[base]))
    assert found.target == target


def test_a_file_that_two_patterns_find_comes_once() -> None:
    answer = listed((0, "x"), (1, ""), bases=["/home/ann/exp", "/home/ann/exp/x"])
    assert [found.target for found in place_files(pushed("*", "x"), answer)] == ["~/exp/x"]


def test_the_log_gives_way_to_outputs() -> None:
    answer = listed((0, ""), (1, "x"), bases=["/home/ann/exp/log", "/home/ann/exp/attempt-log"], log=True)
    found = place_files(collected("/c/demo", "log", "attempt-log"), answer)
    assert [each.target for each in found] == [
        "/c/demo/job/log",
        "/c/demo/job/attempt-log/x",
        "/c/demo/job/attempt-attempt-log",
    ]


@pytest.mark.parametrize("transfer", [pushed("out/*"), collected("/c", "out/*")])
@pytest.mark.parametrize("base", ["out", "", "~", "../x"])
def test_where_the_source_says_it_is_does_not_count(transfer: Transfer, base: str) -> None:
    """A base that is no absolute path is refused, or changes nothing."""
    try:
        (found,) = place_files(transfer, listed((0, "x"), bases=[base]))
    except Malformed:
        return
    assert found.target == "~/exp/out/x"


@pytest.mark.parametrize(
    ("stars", "path", "found"),
    [
        ([], "", True), ([], "a/.b", True),
        (["*"], "", False), (["*"], "a", True), (["*"], "a/b", True), (["*"], ".a", False), ([".*"], ".a", True),
        (["*.pt"], "a.pt", True), (["*.pt"], "a.sh", False), (["*.pt"], "a.pt/x", True), (["?", "b"], "a/b", True),
        (["[ab]", "c*"], "b/cd", True), (["[!a]"], "a", False), (["A"], "a", False),
        (["**"], "", False), (["**"], "a", True), (["**"], "a/b/c", True), (["**"], ".a/b", False),
        (["**", "x"], "x", True), (["**", "x"], "a/b/x", True), (["**", "x"], "a/.b/x", False),
        (["**", "x"], "a/y", False), (["a*", "**", "x", "**"], "ab/c/x/d", True), (["**", "**", "x"], "a/x", True),
        (["a**"], "abc", True), (["a**"], "b", False),
    ],
)  # fmt: skip
def test_what_a_pattern_asks_for(stars: list[str], path: str, found: bool) -> None:
    assert fits(stars, path.split("/") if path else []) is found


def test_many_stars_do_not_take_for_ever() -> None:
    assert not fits(["**", "a"] * 20 + ["b"], ["a"] * 2000)


@pytest.mark.parametrize(
    ("cwd", "path", "whole"),
    [("/exp", "x", "/exp/x"), ("~/exp", "x", "~/exp/x"), ("exp", "x", "~/exp/x"), ("~a*", "x", "~/~a*/x")],
)
def test_anchored(cwd: str, path: str, whole: str) -> None:
    assert anchored(cwd, path) == whole
