"""A spec that others could write to is not run: the file counts as broken, the folder brings nothing new."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.spec.files import SpecFolder, load_file, load_specs
from tests.unit.spec.kept import Kept
from tests.unit.spec.test_files import NOW, commands, folder, spec, told, write

__all__ = ["folder"]

REFUSED = "the file is not taken: everyone on this machine could write to it"


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o602])
def test_a_shared_file_counts_as_broken_and_leaves_the_others_alone(folder: Path, mode: int) -> None:
    write(folder, "a.yaml", spec("a"))
    write(folder, "b.yaml", spec("b")).chmod(mode)
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert commands(desired) == {"a/j": "a"}
    (message,) = told(desired, folder)
    assert message.startswith(f"b.yaml: {REFUSED}")
    assert f"-w {folder}/b.yaml`" in str(desired.errors[0])
    assert [file.broken for file in desired.files] == [False, True]


def test_what_a_file_said_before_it_was_shared_stays(folder: Path) -> None:
    path = write(folder, "a.yaml", spec("good"))
    looked = SpecFolder(folder, Kept())
    assert commands(looked.load(settle=True, now=NOW)) == {"a/j": "good"}
    path.chmod(0o666)  # neither its time nor its size changes
    again = looked.load(settle=True, now=NOW + 60)
    assert commands(again) == {"a/j": "good"}
    assert told(again, folder)[0].startswith(f"a.yaml: {REFUSED}")
    write(folder, "a.yaml", spec("changed"))
    assert commands(looked.load(settle=True, now=NOW + 120)) == {"a/j": "good"}
    path.chmod(0o644)
    mended = looked.load(settle=True, now=NOW + 180)
    assert commands(mended) == {"a/j": "changed"} and not mended.errors


def test_a_shared_folder_brings_nothing_new(folder: Path) -> None:
    write(folder, "a.yaml", spec("good"))
    looked = SpecFolder(folder, Kept())
    looked.load(settle=True, now=NOW)
    folder.chmod(0o777)
    write(folder, "a.yaml", spec("changed"))
    write(folder, "b.yaml", spec("changed"))
    shared = looked.load(settle=True, now=NOW + 60)
    assert commands(shared) == {"a/j": "good"}
    (message,) = told(shared, folder)
    assert message.startswith("specs: nothing new is taken from the specs folder: everyone on this machine")
    assert looked.load(settle=True, now=NOW + 61) is shared
    folder.chmod(0o755)
    assert commands(looked.load(settle=True, now=NOW + 120)) == {"a/j": "changed", "b/j": "changed"}


def test_nothing_is_known_of_a_folder_that_was_shared_from_the_start(folder: Path) -> None:
    write(folder, "a.yaml", spec("a"))
    folder.chmod(0o777)
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert not desired.projects and len(desired.errors) == 1


def test_the_file_that_a_link_leads_to_counts(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.yaml"
    target.write_text(spec("a"))
    target.chmod(0o666)
    (folder / "a.yaml").symlink_to(target)
    assert not load_specs(folder, Kept(), settle=False, now=NOW).projects
    target.chmod(0o644)
    assert load_specs(folder, Kept(), settle=False, now=NOW).projects


def test_a_single_file_is_judged_alike(folder: Path) -> None:
    path = write(folder, "a.yaml", spec("a"))
    path.chmod(0o666)
    project, errors = load_file(path)
    assert project is None and REFUSED in str(errors[0])


@pytest.mark.root
def test_the_file_of_another_user_is_not_taken(folder: Path) -> None:
    path = write(folder, "a.yaml", spec("a"))
    os.chown(path, 65534, 65534)
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert not desired.projects
    assert "its owner nobody could write to it" in str(desired.errors[0])


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o600, 0o444])
def test_ordinary_modes_are_fine(folder: Path, mode: int) -> None:
    write(folder, "a.yaml", spec("a")).chmod(mode)
    folder.chmod(0o775)
    assert commands(load_specs(folder, Kept(), settle=False, now=NOW)) == {"a/j": "a"}
