"""A folder of specs: what is broken, half-written or unreadable leaves everything else alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reconciler.model.spec import Desired
from reconciler.spec.files import SpecFolder, load_file, load_specs
from reconciler.spec.load import load_text
from reconciler.spec.reading import Unreadable, read_spec
from tests.unit.spec.kept import Kept

NOW = 1_800_000_000.0
LONG_AGO = NOW - 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "specs"
    made.mkdir()
    os.utime(made, (LONG_AGO, LONG_AGO))
    return made


def write(folder: Path, name: str, text: str, at: float = LONG_AGO) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    os.utime(path, (at, at))
    os.utime(folder, (at, at))
    return path


def spec(command: str, project: str = "") -> str:
    return (f"project: {project}\n" if project else "") + f"jobs: [{{id: j, cmd: {command}}}]\n"


def commands(desired: Desired) -> dict[str, str]:
    return {key: job.cmd for key, job in desired.index.items()}


def told(desired: Desired, folder: Path) -> list[str]:
    return [str(error).replace(f"{folder}/", "").replace(str(folder), "specs") for error in desired.errors]


@pytest.mark.parametrize("name", ["odd\udcff.yaml", "two\nlines.yaml", "\x1b[2J.yaml"])
def test_a_name_that_cannot_be_shown_is_said_and_leaves_the_others_alone(folder: Path, name: str) -> None:
    write(folder, "a.yaml", spec("a"))
    write(folder, name, spec("b", "b"))
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert commands(desired) == {"a/j": "a"}
    assert desired.errors[0].message.startswith("the name of this file is not UTF-8 text, or holds control characters")


def test_every_spec_of_the_folder_is_taken_in_order(folder: Path) -> None:
    write(folder, "b.yaml", spec("b"))
    write(folder, "a.yml", spec("a"))
    for name in ("exq.yaml", ".hidden.yaml", ".a.yaml.swp", "a.yaml~", "notes.txt", "#a.yaml#"):
        write(folder, name, "not: a spec")
    (folder / "inner").mkdir()
    write(folder / "inner", "c.yaml", spec("c"))
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert list(desired.projects) == ["a", "b"]
    assert commands(desired) == {"a/j": "a", "b/j": "b"}
    assert not desired.errors
    assert desired.projects["a"].cwd == str(folder.parent)
    assert [(Path(file.path).name, file.broken, file.unsettled) for file in desired.files] == [
        ("a.yml", False, False),
        ("b.yaml", False, False),
    ]


def test_a_broken_file_keeps_its_last_good_state(folder: Path) -> None:
    kept = Kept()
    write(folder, "a.yaml", spec("first"))
    write(folder, "b.yaml", spec("b"))
    looked = SpecFolder(folder, kept)
    looked.load(settle=False, now=NOW)
    write(folder, "a.yaml", "jobs: [{id: j, comand: x}]\n", LONG_AGO + 1)
    write(folder, "b.yaml", spec("b2"), LONG_AGO + 1)
    fresh = load_specs(folder, kept, settle=False, now=NOW)
    for desired in (looked.load(settle=False, now=NOW), fresh):
        assert commands(desired) == {"a/j": "first", "b/j": "b2"}
        assert told(desired, folder) == ["a.yaml:1:16: unknown key `comand` in entry 1 of `jobs` (did you mean `cmd`?)"]
        assert (desired.files[0].broken, desired.files[0].last_good, desired.files[1].broken) == (True, True, False)
    assert kept[str(folder / "a.yaml")] == spec("first")


def test_a_broken_file_that_never_loaded_is_absent(folder: Path) -> None:
    write(folder, "a.yaml", "jobs: [\n")
    write(folder, "b.yaml", spec("b"))
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert commands(desired) == {"b/j": "b"}
    assert (desired.files[0].broken, desired.files[0].last_good) == (True, False)


def test_two_files_with_one_project(folder: Path) -> None:
    write(folder, "a.yaml", spec("a", "same"))
    write(folder, "b.yaml", spec("b", "same"))
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert commands(desired) == {"same/j": "a"}
    assert told(desired, folder) == [
        "b.yaml: the project `same` is in a.yaml already: give this one another name with `project:`"
    ]
    assert [file.broken for file in desired.files] == [False, True]


def obstacles(folder: Path) -> dict[str, str]:
    os.mkfifo(folder / "fifo.yaml")
    (folder / "dir.yaml").mkdir()
    (folder / "dangling.yaml").symlink_to(folder / "nothing")
    (folder / "loop.yaml").symlink_to(folder / "loop.yaml")
    (folder / "device.yaml").symlink_to("/dev/zero")
    (folder / "latin.yaml").write_bytes(b"jobs: []\n# caf\xe9\n")
    with (folder / "huge.yaml").open("wb") as huge:
        huge.truncate(17 << 20)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{os.open(folder, os.O_RDONLY)}/socket.yaml")
    return {
        "dangling.yaml": "it is a link to a file that does not exist",
        "device.yaml": "this is a pipe, a socket or a device, not a file",
        "dir.yaml": "this is a folder, not a file",
        "fifo.yaml": "this is a pipe, a socket or a device, not a file",
        "huge.yaml": "the file is larger than 16 MiB: use a grid, or split it",
        "latin.yaml": "the file is not UTF-8 text: byte 0xe9 on line 2",
        "loop.yaml": "the file cannot be read: Too many levels of symbolic links",
        "socket.yaml": "this is a pipe, a socket or a device, not a file",
    }


def test_settings_that_are_too_large(tmp_path: Path) -> None:
    with (tmp_path / "exq.yaml").open("wb") as huge:
        huge.truncate(17 << 20)
    with pytest.raises(Unreadable, match="larger than 16 MiB: no settings are"):
        read_spec(tmp_path / "exq.yaml")


def test_what_is_no_readable_file_is_said(folder: Path) -> None:
    expected = obstacles(folder)
    write(folder, "ok.yaml", spec("x"))
    desired = load_specs(folder, Kept(), settle=True, now=NOW)
    assert told(desired, folder) == [f"{name}: {words}" for name, words in expected.items()]
    assert commands(desired) == {"ok/j": "x"}
    project, errors = load_file(folder / "fifo.yaml")
    assert project is None
    assert errors[0].message == expected["fifo.yaml"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so root becomes somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_said() -> None:
    with TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        write(folder, "a.yaml", spec("x")).chmod(0)
        with as_nobody():
            desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert told(desired, folder)[0] == "a.yaml: the file cannot be read: Permission denied"


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    write(folder, "a.yaml", f"\ufeff{spec('x')}")
    assert commands(load_specs(folder, Kept(), settle=False, now=NOW)) == {"a/j": "x"}


def test_no_folder_and_no_specs_say_what_to_do(folder: Path) -> None:
    assert told(load_specs(folder, Kept(), settle=False, now=NOW), folder) == [
        "specs: there is no spec in this folder: write one, such as `experiments.yaml` with `jobs:` or `grid:` in it"
    ]
    folder.rmdir()
    assert told(load_specs(folder, Kept(), settle=False, now=NOW), folder) == [
        "specs: there is no such folder: create it and write a spec into it, such as `experiments.yaml`"
    ]


def test_a_folder_that_cannot_be_listed_any_more_asks_for_what_it_asked_before(folder: Path) -> None:
    write(folder, "a.yaml", spec("a"))
    looked = SpecFolder(folder, Kept())
    looked.load(settle=True, now=NOW)
    folder.rename(folder.with_name("away"))
    desired = looked.load(settle=True, now=NOW + 1)
    assert commands(desired) == {"a/j": "a"}
    assert len(desired.errors) == 1
    assert looked.load(settle=True, now=NOW + 2) is desired
    folder.with_name("away").rename(folder)
    assert not looked.load(settle=True, now=NOW + 3).errors


def test_nothing_changed_gives_the_same_object_without_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "a.yaml", spec("a"))
    write(folder, "b.yaml", "jobs: [\n")
    looked = SpecFolder(folder, Kept())
    first = looked.load(settle=True, now=NOW)
    reads: list[Path] = []
    real = read_spec

    def watched(path: Path) -> str:
        reads.append(path)
        return real(path)

    monkeypatch.setattr("reconciler.spec.files.read_spec", watched)
    assert looked.load(settle=True, now=NOW + 15) is first
    assert reads == []
    write(folder, "a.yaml", spec("z"), LONG_AGO + 5)
    second = looked.load(settle=True, now=NOW + 30)
    assert commands(second) == {"a/j": "z"}
    assert second.version != first.version
    assert [path.name for path in reads] == ["a.yaml"]


def test_a_change_within_the_grain_of_the_clock_is_seen(folder: Path) -> None:
    path = write(folder, "a.yaml", spec("x"), NOW - 1)
    looked = SpecFolder(folder, Kept())
    first = looked.load(settle=True, now=NOW)
    path.write_text(spec("y"), encoding="utf-8")
    os.utime(path, (NOW - 1, NOW - 1))
    assert commands(first) == {"a/j": "x"}
    assert commands(looked.load(settle=True, now=NOW + 0.1)) == {"a/j": "y"}


def test_touching_a_file_changes_nothing(folder: Path) -> None:
    path = write(folder, "a.yaml", spec("a"))
    looked = SpecFolder(folder, Kept())
    first = looked.load(settle=True, now=NOW)
    os.utime(path, (NOW + 5, NOW + 5))
    assert looked.load(settle=True, now=NOW + 5) is first


def test_a_text_that_passed_the_schema_is_not_checked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: set[str] = set()
    write(folder, "a.yaml", spec("a"))
    load_specs(folder, Kept(), settle=False, now=NOW, passed=passed)
    checked: list[bool] = []
    real = load_text

    def watched(text: str, path: str, base: str, *, schema_checked: bool = False) -> object:
        checked.append(schema_checked)
        return real(text, path, base, schema_checked=schema_checked)

    monkeypatch.setattr("reconciler.spec.intake.load_text", watched)
    load_specs(folder, Kept(), settle=False, now=NOW, passed=passed)
    write(folder, "a.yaml", spec("b"))
    load_specs(folder, Kept(), settle=False, now=NOW, passed=passed)
    assert checked == [True, False]
    assert len(passed) == 2
