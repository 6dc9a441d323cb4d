"""Whether a push may, and what it would change."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from reconciler.cli.exits import CliError
from reconciler.cli.push.decide import (
    Change,
    There,
    change_of,
    decide_exq,
    refuse_obstacle,
    refuse_other_service,
    refuse_overwriting,
    specs_differ,
)
from reconciler.cli.push.pack import File, Package

ME = {"by": "ann@laptop", "source": "/home/ann/x/specs"}
OTHER = {"by": "bob@desk", "source": "/home/bob/x/specs", "at": 1.0, "revision": "abc1234", "commit": "abc1234ff"}


def package(revision: str = "r2", **digests: str) -> Package:
    files = tuple(File(name, b"", digest, 0, False) for name, digest in (digests or {"a": "2"}).items())
    return Package(files, revision, "c2")


def there(kind: str = "pushed", **fields: Any) -> There:
    usual: dict[str, Any] = {
        "home": "/home/ann",
        "user": "ann",
        "hostname": "box",
        "folder": "/home/ann/x",
        "folder_exists": True,
        "specs": "/home/ann/x/specs",
        "kind": kind,
        "current": "r" if kind == "pushed" else None,
        "about": {**ME, "revision": "r1"} if kind == "pushed" else {},
        "files": {} if kind == "nothing" else {"a": "1"},
        "edited": (),
        "exq": {
            "current": "0.1.0-a",
            "current_version": "0.1.0",
            "current_base": "/usr/bin/python3.11",
            "current_runs": True,
            "complete": "0.1.0-a",
            "pythons": [],
        },
        "unit": {},
    }
    return There(**{**usual, **fields})


def never(_commit: str) -> bool:
    return False


def test_change() -> None:
    assert change_of({"a": "1", "b": "1", "c": "1"}, {"b": "1", "c": "2", "d": "1"}) == Change(("d",), ("c",), ("a",))
    assert not change_of({"a": "1"}, {"a": "1"})


@pytest.mark.parametrize(
    ("before", "differ"),
    [
        (there(), True),
        (there(files={"a": "2"}), True),  # the revision has another name
        (there(files={"a": "2"}, about={**ME, "revision": "r2"}), False),
        (there("folder", files={"a": "2"}), True),
        (there("nothing"), True),
    ],
)
def test_specs_differ(before: There, differ: bool) -> None:
    assert specs_differ(package(), before) is differ


@pytest.mark.parametrize(
    "before",
    [
        there("nothing"),
        there(),
        there(about={**OTHER}, files={"a": "2"}),  # the same files
        there("folder", files={"a": "2"}),
    ],
)
def test_nothing_of_anybody_else_is_in_the_way(before: There) -> None:
    assert refuse_overwriting("box", package(), before, ME, never, force=False) == ""


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            there(about=OTHER),
            r"pushed by bob@desk from /home/bob/x/specs at .* \(revision abc1234\), "
            r"and not from here \(ann@laptop:/home/ann/x/specs\)",
        ),
        (
            there(about={**ME, "source": "/home/ann/y/specs"}),
            r"pushed by ann@laptop from /home/ann/y/specs .* and not from here \(/home/ann/x/specs\)",
        ),
        (there(edited=("a",)), "was changed there after the push: a"),
        (there("folder"), "is a folder that no push has made"),
        (there("link"), "is a link that no push has made"),
        (there(about={}), "pushed by somebody"),
    ],
)
def test_what_is_in_the_way_is_refused_and_told_with_force(before: There, words: str) -> None:
    with pytest.raises(CliError, match=words) as refused:
        refuse_overwriting("box", package(), before, ME, never, force=False)
    assert "--force" in refused.value.hint
    assert refuse_overwriting("box", package(), before, ME, never, force=True)


def test_what_was_changed_there_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXQ_SSH_CONFIG", raising=False)
    with pytest.raises(CliError) as refused:
        refuse_overwriting("box", package(), there(edited=("it's.yaml",)), ME, never, force=False)
    command = refused.value.hint.removeprefix("compare it with yours: ").partition("; exq push")[0]
    words = shlex.split(command)
    assert (words[:2], words[3:]) == (["ssh", "box"], ["|", "diff", "/home/ann/x/specs/it's.yaml", "-"])
    assert shlex.split(words[2]) == ["cat", "/home/ann/x/specs/it's.yaml"]


def test_a_place_that_takes_no_files() -> None:
    refuse_obstacle("box", there())
    with pytest.raises(CliError, match="cannot go to /home/ann/x/specs: /home/ann/x is no folder"):
        refuse_obstacle("box", there(obstacle="/home/ann/x is no folder"))


def test_a_commit_that_ours_are_built_on_is_not_in_the_way() -> None:
    asked = []

    def follows(commit: str) -> bool:
        asked.append(commit)
        return True

    assert refuse_overwriting("box", package(), there(about=OTHER), ME, follows, force=False) == ""
    assert asked == ["abc1234ff"]
    dirty = there(about={**OTHER, "revision": "abc1234-dirty"})
    with pytest.raises(CliError, match="bob@desk"):
        refuse_overwriting("box", package(), dirty, ME, follows, force=False)


@pytest.mark.parametrize(
    ("exq", "version", "build", "action"),
    [
        ({}, "0.1.0", "0.1.0-a", "keep"),
        ({"complete": "0.1.0-a.2", "current": "0.1.0-a.2"}, "0.1.0", "0.1.0-a", "keep"),
        ({"complete": "0.1.0-b"}, "0.1.0", "0.1.0-b", "switch"),
        ({"complete": None, "pythons": [["/usr/bin/python3", "3.10.1"]]}, "0.1.0", "0.1.0-b", "install"),
        ({"complete": None, "pythons": [["/usr/bin/python3", "3.12.0"]]}, "0.2.0", "0.2.0-b", "install"),
        ({"complete": None, "current_version": "0.2.0"}, "0.1.0", "0.1.0-b", "newer"),
        ({"complete": "0.1.0-b", "current_version": "0.2.0"}, "0.1.0", "0.1.0-b", "newer"),
        (
            {"complete": None, "current": None, "current_version": None, "pythons": [["p", "3.11"]]},
            "0.1.0",
            "0.1.0-b",
            "install",
        ),
        ({"complete": None, "current_runs": False, "pythons": [["p", "3.11"]]}, "0.1.0", "0.1.0-a", "install"),
        (
            {"complete": None, "current_version": "9", "current_runs": False, "pythons": [["p", "3.11"]]},
            "1",
            "b",
            "install",
        ),
        ({"complete": "0.1.0-b", "current_version": "9", "current_runs": False}, "0.1.0", "0.1.0-b", "switch"),
    ],
)
def test_what_becomes_of_exq(exq: dict[str, Any], version: str, build: str, action: str) -> None:
    before = there(exq={**there().exq, **exq})
    decided = decide_exq("box", version, before, build)
    assert (decided.action, decided.broken) == (action, not exq.get("current_runs", True))


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9"])
def test_a_python_that_is_asked_for_and_not_needed_is_told(version: str) -> None:
    before = there(exq={**there().exq, "complete": "0.1.0-a" if version == "0.1.0" else None})
    assert decide_exq("box", version, before, "0.1.0-a", "python3").python == "/usr/bin/python3.11"
    assert decide_exq("box", version, before, "0.1.0-a").python == ""


@pytest.mark.parametrize(
    ("pythons", "words"),
    [([], "none was found"), ([["/usr/bin/python3", "3.8.10"]], "/usr/bin/python3 is 3.8.10")],
)
def test_no_python_that_can_run_it(pythons: list[list[str]], words: str) -> None:
    before = there(exq={**there().exq, "complete": None, "pythons": pythons})
    with pytest.raises(CliError, match=words) as refused:
        decide_exq("box", "0.2.0", before, "0.2.0-b")
    assert "--python" in refused.value.hint


def test_a_service_is_not_taken_from_another_folder() -> None:
    other = replace(there(), unit={"specs": "/home/ann/y/specs"})
    with pytest.raises(CliError, match="is for /home/ann/y/specs") as refused:
        refuse_other_service("box", other, True)
    assert "exq push box:/home/ann/y" in refused.value.hint
    refuse_other_service("box", other, False)
    refuse_other_service("box", replace(there(), unit={"specs": "/home/ann/x/specs"}), True)
    refuse_other_service("box", there(), True)
