"""What is a part of a specs folder, and what is not; what the pieces are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.cli.exits import CliError
from reconciler.cli.push import pack as packing
from reconciler.cli.push.pack import digest_of, pack
from reconciler.cli.push.pushes import Pushed, pushed_to, remember
from reconciler.host.landing.names import is_sent


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("name", ["a.yaml", "exq.yaml", "spec.schema.json", "run.sh", "notes~.md"])
def test_sent(name: str) -> None:
    assert is_sent(name)


@pytest.mark.parametrize(
    "name", [".a.yaml.swp", ".git", "a.yaml~", "4913.tmp", "__pycache__", "experiment_queue", ".exq-revision"]
)
def test_not_sent(name: str) -> None:
    assert not is_sent(name)


def test_files_of_all_depths_with_their_rights(tmp_path: Path) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a", sub__b_yaml="b")
    (folder / "run.sh").write_text("x")
    (folder / "run.sh").chmod(0o755)
    (folder / ".hidden").write_text("no")
    (folder / "link.yaml").symlink_to("a.yaml")
    package = pack(folder)
    assert [(file.path, file.executable) for file in package.files] == [
        ("a.yaml", False),
        ("link.yaml", False),
        ("run.sh", True),
        ("sub/b.yaml", False),
    ]
    assert package.blob == b"aaxb"
    assert package.commit == ""


def test_a_revision_of_another_name_is_another_set() -> None:
    assert digest_of({"a": "1"}, "x") != digest_of({"a": "1"}, "y")
    assert digest_of({"a": "1", "b": "2"}, "x") == digest_of({"b": "2", "a": "1"}, "x")
    assert digest_of({"a": "1"}, "x") != digest_of({"b": "1"}, "x")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a")
    os.mkfifo(folder / "pipe.yaml")
    with pytest.raises(CliError, match=r"pipe\.yaml is no file"):
        pack(folder)


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a")
    (folder / "b.yaml").symlink_to("nowhere")
    with pytest.raises(CliError, match=r"b\.yaml is no file"):
        pack(folder)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a")
    (folder / "data").symlink_to(tmp_path)
    with pytest.raises(CliError, match="link to a folder"):
        pack(folder)


def test_a_folder_of_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BYTES_MAX", 10)
    with pytest.raises(CliError, match="more than specs"):
        pack(fill(tmp_path / "specs", a_yaml="a" * 20))


def test_a_folder_in_which_git_is_at_work_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "MERGE_HEAD").touch()
    with pytest.raises(CliError, match="merge is not finished"):
        pack(folder)


def test_files_that_change_while_they_are_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a", b_yaml="old")
    real, left = packing._read, [2]

    def read(where: Path, path: str) -> packing.File:
        found = real(where, path)
        if path == "a.yaml" and left[0]:
            left[0] -= 1
            (folder / "b.yaml").write_text(f"new {left[0]}")
            (folder / f"c{left[0]}.yaml").write_text("c")
        return found

    monkeypatch.setattr(packing, "_read", read)
    monkeypatch.setattr(packing, "PAUSE_S", 0)
    package = pack(folder)
    assert {file.path: file.data for file in package.files}["b.yaml"] == b"new 0"
    assert len(package.files) == 4


def test_files_that_change_all_the_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "specs", a_yaml="a")
    real, count = packing._read, iter(range(100))

    def read(where: Path, path: str) -> packing.File:
        (folder / f"n{next(count)}.yaml").touch()
        return real(where, path)

    monkeypatch.setattr(packing, "_read", read)
    monkeypatch.setattr(packing, "PAUSE_S", 0)
    with pytest.raises(CliError, match="change all the time"):
        pack(folder)


def test_what_was_pushed_where_is_remembered(tmp_path: Path) -> None:
    env = {"EXQ_STATE": str(tmp_path / "state")}
    place = Pushed("/home/ann/x", "/home/ann/x/specs")
    assert pushed_to("box", tmp_path / "specs", env) is None
    remember("box", tmp_path / "specs", place, env)
    remember("box", tmp_path / "other", Pushed("/y", "/y/other"), env)
    assert pushed_to("box", tmp_path / "specs", env) == place
    assert pushed_to("bax", tmp_path / "specs", env) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"box": []}', '{"box": {"/specs": {"folder": "x"}}}'])
def test_a_damaged_memory_knows_nothing(tmp_path: Path, text: str) -> None:
    env = {"EXQ_STATE": str(tmp_path)}
    (tmp_path / "pushes.json").write_text(text)
    assert pushed_to("box", Path("/specs"), env) is None
