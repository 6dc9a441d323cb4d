"""Whatever a host says of its files, nothing is put where the spec does not say; what it says truly is found again."""

from __future__ import annotations

import os
import posixpath
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.host.agent import Agent
from reconciler.host.destination import collect_folder, place_files
from reconciler.model.plan import Transfer
from reconciler.parse.fields import Malformed
from tests.unit.host.two_homes import collected, pushed

NAME = st.text(st.sampled_from("ab.~*?[]é\n -\\"), min_size=1, max_size=5)
PLAIN = st.sampled_from(["a", "b", "ab", ".a", "a.b", "ä"])
HOSTILE = st.lists(st.one_of(NAME, st.sampled_from(["", ".", "..", "...", "~", "\0", "/etc"])), max_size=5).map(
    "/".join
)
COMPONENT = st.sampled_from(["a", "b", "ab", "*", "a*", "?", "[ab]", "**", ".*", ".a"])
PATTERN = st.tuples(st.sampled_from(["", "/", "~/", "/data/"]), st.lists(COMPONENT, min_size=1, max_size=4)).map(
    lambda parts: parts[0] + "/".join(parts[1])
)
CWD = st.sampled_from(["~/exp", "/exp", "~", "/"])


def answer(names: str, base: str) -> dict[str, Any]:
    return {"files": [[0, names, 1, 2, 3, 0o100644]], "bases": [base], "matched": [True], "cwd": "/home/ann/exp"}


def above_stars(cwd: str, pattern: str) -> str:
    whole = pattern if pattern[0] in "/~" else posixpath.join(cwd, pattern)
    return whole.split("*")[0].split("?")[0].split("[")[0].rpartition("/")[0] if set(whole) & set("*?[") else whole


@given(CWD, PATTERN, HOSTILE)
@example("~/exp", "*", "..")
@example("/", "**", "a/../../b")
def test_a_hostile_host_stays_below_the_pattern(cwd: str, pattern: str, names: str) -> None:
    try:
        (found,) = place_files(pushed(pattern, cwd=cwd), answer(names, "/somewhere"))
    except Malformed:
        return
    assert (found.target + "/").startswith(above_stars(cwd, pattern) + "/")
    assert ".." not in found.target.split("/")
    above, _, star = pattern.rpartition("/")
    if star.count("*") == 1 and not set(above) & set("*?["):
        assert fnmatch(names.partition("/")[0], star)


@given(CWD, PATTERN, HOSTILE, HOSTILE.map(lambda path: f"/{path}"), st.sampled_from(["/c", "/c/demo", "~/c", "/"]))
def test_a_hostile_host_stays_below_the_folder(cwd: str, pattern: str, names: str, base: str, folder: str) -> None:
    transfer = collected(folder, pattern, cwd=cwd)
    try:
        (found,) = place_files(transfer, answer(names, base))
    except Malformed:
        return
    assert found.target.startswith(collect_folder(transfer) + "/")
    assert ".." not in found.target.split("/")


@given(st.sets(st.lists(PLAIN, min_size=1, max_size=4).map("/".join), max_size=12), PATTERN)
def test_all_that_a_true_host_finds_is_placed(files: set[str], pattern: str) -> None:
    """The agent's matching and the controller's are of one mind, and the place is the same one below the folder."""
    with tempfile.TemporaryDirectory() as made:
        cwd = Path(made)
        for file in sorted(files):
            path = cwd / file
            if not any(above.is_file() for above in [path, *path.parents]) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file)
        relative = pattern.lstrip("~/") or "a"
        request = {"op": "list_files", "cwd": made, "patterns": [relative]}
        listed = Agent(str(cwd / "state"), {}).handle(request)
        transfer = Transfer("demo/job", 1, "a", "b", made, (relative,))
        for found in place_files(transfer, listed):
            assert found.target == posixpath.normpath(found.source)
            assert os.path.exists(found.target)
        to_folder = Transfer("demo/job", 1, "a", "", made, (relative,), "/c/demo")
        for found in place_files(to_folder, listed):
            assert found.target == f"/c/demo/job/{os.path.relpath(found.source, made)}"
