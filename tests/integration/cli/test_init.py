"""`exq init`: what it writes runs, and what was there stays as it was."""

from __future__ import annotations

import json
import os
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.box import Box

WRITTEN = [
    "specs/example.yaml",
    "specs/exq.yaml",
    "specs/spec.schema.json",
    "specs/settings.schema.json",
    ".gitignore",
]


def init(box: Box, *args: str) -> dict[str, Any]:
    done = box.exq("init", *args, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json
    assert found["schema"] == "exq.init/v1"
    return found


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def box(box: Box) -> Box:
    box.env["SCREEN"] = "/nonexistent/screen"
    box.env["NVIDIA_SMI"] = "/nonexistent/nvidia-smi"
    return box


def test_what_it_writes_is_valid_and_runs_to_the_end(box: Box) -> None:
    found = init(box)
    assert found["written"] == WRITTEN
    checked = box.exq("validate", "--json").json
    assert (checked["ok"], checked["errors"], checked["files"][0]["jobs"]) == (True, [], 4)
    assert box.exq("doctor").code == 0
    done = box.exq("run", "--until-settled")
    assert done.code == 0, done.out + done.err
    results = sorted((box.folder / "results" / "example").iterdir())
    assert [json.loads(path.read_text()) for path in results] == [
        {"lr": lr, "seed": seed} for lr in (0.01, 0.1) for seed in (1, 2)
    ]


def test_the_schema_is_found_without_a_network(box: Box) -> None:
    init(box)
    modeline = (box.folder / "specs" / "example.yaml").read_text().splitlines()[0]
    before, _, path = modeline.partition("$schema=")
    assert before == "# yaml-language-server: "
    assert (box.folder / "specs" / path).read_text() == box.exq("schema").out


def test_its_settings_say_nothing_until_they_are_uncommented(box: Box) -> None:
    init(box)
    settings = box.folder / "specs" / "exq.yaml"
    lines = settings.read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=./settings.schema.json"
    assert (box.folder / "specs" / "settings.schema.json").read_text() == box.exq("schema", "--settings").out
    assert all(line.startswith("#") or not line for line in lines)
    assert box.exq("settings", "--json").json["errors"] == []
    for number, line in enumerate(lines):
        key = line.removeprefix("# ")
        if key.startswith(("nvidia_smi:", "screen:", "host_names:", "ssh_config:", "remote_state:", "source: {")):
            settings.write_text(f"{key}\n")
            done = box.exq("validate")
            assert done.code == 0 or key.startswith("source"), (number, line, done.out)
            assert f"{settings.parent.name}/exq.yaml: ok" in done.out


def test_again_it_changes_nothing_and_says_so(box: Box) -> None:
    init(box)
    before = contents(box.folder)
    found = init(box)
    assert found["written"] == []
    assert [kept["path"] for kept in found["kept"]] == WRITTEN
    assert contents(box.folder) == before


def test_an_edited_example_stays(box: Box) -> None:
    init(box)
    example = box.folder / "specs" / "example.yaml"
    example.write_text("project: mine\njobs: [{id: a, cmd: 'true'}]\n")
    init(box)
    assert example.read_text().startswith("project: mine")


def test_no_example_is_put_beside_specs_that_are_there(box: Box) -> None:
    """A loop that runs would take it up at once."""
    box.spec("project: p\njobs: [{id: a, cmd: 'true'}]\n")
    found = init(box)
    names = ["exq.yaml", "p.yaml", "settings.schema.json", "spec.schema.json"]
    assert sorted(path.name for path in (box.folder / "specs").iterdir()) == names
    assert "p.yaml" in found["kept"][0]["message"]


def test_an_old_schema_is_told_and_kept(box: Box) -> None:
    init(box)
    schema = box.folder / "specs" / "spec.schema.json"
    schema.write_text("{}")
    (kept,) = [kept for kept in init(box)["kept"] if kept["path"].endswith("spec.schema.json")]
    assert "exq schema >specs/spec.schema.json" in kept["message"]
    assert schema.read_text() == "{}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("*.pt\n", "*.pt\n\n{why}experiment_queue/\ncollected/\n"),
        ("*.pt", "*.pt\n\n{why}experiment_queue/\ncollected/\n"),
        ("/collected\n", "/collected\n\n{why}experiment_queue/\n"),
        ("experiment_queue\ncollected/\n", "experiment_queue\ncollected/\n"),
        ("\udce9.pt\n", "\udce9.pt\n\n{why}experiment_queue/\ncollected/\n"),
    ],
)
def test_gitignore_is_only_ever_added_to(box: Box, before: str, after: str) -> None:
    ignore = box.folder / ".gitignore"
    ignore.write_text(before, errors="surrogateescape")
    for _ in range(2):
        init(box)
        why = "# what exq leaves beside a project: manifests and summaries of runs, outputs of other machines\n"
        assert ignore.read_text(errors="surrogateescape") == after.replace("{why}", why)


def test_another_folder_is_made(box: Box) -> None:
    found = init(box, "deep/distill")
    assert (box.folder / "deep" / "distill" / "specs" / "example.yaml").read_text().count("\nproject: distill\n") == 1
    for line in found["next"][1:]:
        assert line.startswith("exq --specs deep/distill/specs ")
    assert box.exq(*found["next"][1].split()[1:]).code == 0


@pytest.mark.parametrize("name", ["123", "no", "Yes!", "true", "a b", "-x-", "1e3", "ü", "x" * 100])
def test_any_folder_name_makes_a_project(box: Box, name: str) -> None:
    following = init(box, f"./{name}")["next"]
    assert box.exq(*shlex.split(following[1])[1:]).code == 0
    jobs = box.exq("--specs", f"./{name}/specs", "expand", "--json").json["jobs"]
    assert len(jobs) == 4


def test_two_folders_do_not_share_their_jobs(box: Box) -> None:
    init(box, "one")
    init(box, "two")
    assert box.exq("--specs", "one/specs", "run", "--until-settled").code == 0
    assert box.exq("--specs", "two/specs", "diff", "--json").json["summary"]["launch"] == 2


def test_nobody_else_may_write_where_it_writes(box: Box) -> None:
    before = os.umask(0)
    try:
        init(box, "new")
    finally:
        os.umask(before)
    for path in [box.folder / "new", *(box.folder / "new").rglob("*")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


@pytest.mark.parametrize("place", ["specs", "file/specs"])
def test_something_in_the_way_is_said(box: Box, place: str) -> None:
    way = box.folder / place.partition("/")[0]
    way.write_text("x")
    done = box.exq("init", *(["file"] if "/" in place else []))
    assert done.code == 1
    assert "is not a folder" in done.err
    assert "Traceback" not in done.err
    assert way.read_text() == "x"


def test_a_link_that_leads_nowhere_is_not_followed(box: Box) -> None:
    (box.folder / "specs").mkdir()
    (box.folder / "specs" / "example.yaml").symlink_to(box.folder / "elsewhere")
    init(box)
    assert not (box.folder / "elsewhere").exists()


def test_in_a_repository_git_init_is_not_asked_for(box: Box) -> None:
    (box.folder / ".git").mkdir()
    done = box.exq("init")
    assert "git init" not in done.out
    assert done.out.splitlines()[-5:] == [
        "Next:",
        "  exq validate",
        "  exq doctor",
        "  exq diff",
        "  exq run --until-settled",
    ]
