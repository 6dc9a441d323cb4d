"""The layout of a state folder, and files that are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.store.atomic import store_error, write_atomic
from reconciler.store.errors import StoreError, StoreFull
from reconciler.store.paths import StatePaths, component


@pytest.mark.parametrize(("text", "name"), [("a", "a"), ("a/b", "a%2Fb"), ("50%", "50%25"), ("%2F", "%252F")])
def test_ids_become_one_file_name(text: str, name: str) -> None:
    assert component(text) == name


def test_the_layout(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    assert paths.attempt("p/a/2") == tmp_path / "attempts/p/a/2"
    assert paths.marker("p/50%/2") == tmp_path / "spool/p%50%25%2"


def test_the_folders_are_private(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "deep" / "state")
    paths.ensure()
    paths.ensure()
    folders = [paths.root, *(path for path in paths.root.rglob("*") if path.is_dir())]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert {folder.name for folder in folders[1:]} >= {"attempts", "spool", "locks", "bin", "requests", "accepted"}


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o700])
def test_a_folder_that_was_there_is_closed_to_others(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    StatePaths(tmp_path).ensure()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused_and_left_alone(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StoreError, match=r"everyone on this machine could write .* `chmod (o|go)-w "):
        StatePaths(tmp_path).ensure()
    assert tmp_path.stat().st_mode & 0o7777 == mode
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, -1)
    with pytest.raises(StoreError, match="its owner nobody could write to it"):
        StatePaths(tmp_path).check()


def test_looking_for_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    StatePaths(tmp_path / "none").check()
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("")
    with pytest.raises(StoreError, match="state folder"):
        StatePaths(tmp_path).ensure()


def test_a_file_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    goal = tmp_path / "file"
    for text in (b"one", b"two", b""):
        write_atomic(goal, text)
        assert goal.read_bytes() == text
    assert os.listdir(tmp_path) == ["file"]
    assert goal.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal" / "kept").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_atomic(tmp_path / "goal", b"data")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["goal", "kept"]


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (28, StoreFull, "free some space"),
        (122, StoreFull, "quota"),
        (30, StoreError, "read-only"),
        (5, StoreError, "check"),
    ],
)
def test_errors_become_sentences(number: int, kind: type[StoreError], words: str) -> None:
    error = store_error(OSError(number, os.strerror(number)), "write", Path("/s/x"))
    assert type(error) is kind
    assert "/s/x" in str(error) and words in str(error)
