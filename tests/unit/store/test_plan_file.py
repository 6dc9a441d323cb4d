"""The file of a saved plan: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.saved import Origin, SavedAction, SavedPlan
from reconciler.store.errors import StoreError
from reconciler.store.plan_file import PlanUnreadable, read_plan, why_not_replaced, write_plan

ACTION = SavedAction(
    "launch", "p/a", 1, "NewInSpec", "new", "gpu1", ("launch", "p/a/1"), ("GPU-0", "GPU-1"), (0, 1), "8b84"
)
PLAN = SavedPlan(
    plan_id="5d0c7e21b9f4",
    made_at=1_000_000.25,
    made_by="ann@box",
    exq="1.0",
    origin=Origin("box", "ann", "/home/ann/state", "/home/ann/späße\udcff"),
    revision="3f2c1d9",
    version="v",
    base="/home/ann",
    texts={"specs/p.yaml": "jobs:\n  - {id: ä, cmd: 'x'}\n"},
    actions=(ACTION, replace(ACTION, kind="kill", generation="", gpus=(), gpu_indices=())),
    others=(("begin_run", "p"), ("bring", "p/a/1", "gpu1", "")),
    hosts={"gpu1": "", "gpu2": "it did not answer"},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "plan.json"
    write_plan(found, PLAN)
    return found


def test_what_is_written_is_read(path: Path) -> None:
    assert read_plan(path) == PLAN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["plan.json"]
    assert json.loads(path.read_text())["schema"] == "exq.plan/v1"


def test_it_replaces_what_was_there(path: Path) -> None:
    path.chmod(0o644)
    write_plan(path, replace(PLAN, plan_id="other"))
    assert read_plan(path).plan_id == "other"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        write_plan(tmp_path / "none" / "plan.json", PLAN)


def changed(path: Path, **fields: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {"plan_id": "000000000000"},
        {"actions": []},
        {"texts": {"specs/p.yaml": "jobs: []"}},
        {"hosts": {}},
        {"others": []},
        {"more": 1},
        {"made_at": 0},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"plan_id": 7},
        {"plan_id": None},
        {"made_at": True},
        {"made_at": "now"},
        {"actions": {}},
        {"actions": [7]},
        {"actions": [{"kind": "launch"}]},
        {"others": [["begin_run", 1]]},
        {"others": "p"},
        {"hosts": []},
        {"hosts": {"gpu1": None}},
        {"texts": None},
        {"origin": None},
        {"origin": {"machine": 1}},
    ],
    ids=str,
)
def test_a_plan_that_was_edited(path: Path, fields: dict[str, Any]) -> None:
    changed(path, **fields)
    with pytest.raises(PlanUnreadable, match="it was changed after it was made"):
        read_plan(path)


def test_a_plan_that_was_only_laid_out_anew_is_the_same(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert read_plan(path) == PLAN


@pytest.mark.parametrize("name", ["schema", "plan_id", "origin", "actions", "others", "hosts", "texts", "made_at"])
def test_a_plan_without_a_part(path: Path, name: str) -> None:
    document = json.loads(path.read_text())
    del document[name]
    path.write_text(json.dumps(document))
    with pytest.raises(PlanUnreadable):
        read_plan(path)


def test_a_plan_that_was_cut_short_anywhere(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(PlanUnreadable, match=r"it is empty|cut short"):
            read_plan(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff\xfe", "no whole JSON document"),
        (b"[1]", "it holds no JSON object"),
        (b"7", "it holds no JSON object"),
        (b"{}", "it is no plan"),
        (b'{"schema": 7}', "it is no plan"),
        (b'{"schema": "exq.diff/v1"}', "it is no plan: it is exq.diff/v1"),
        (b'{"schema": "exq.plan/v2"}', "exq.plan/v2, which another version of exq wrote"),
        (b'{"schema": "exq.plan/v1", "made_at": 1e999}', "it was changed"),
        (b'{"schema": "exq.plan/v1", "made_at": NaN}', "no whole JSON document"),
        (b"[" * 100_000, "no whole JSON document"),
    ],
    ids=range(12),
)
def test_a_file_that_is_no_plan(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(text)
    with pytest.raises(PlanUnreadable, match=words):
        read_plan(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PlanUnreadable, match="there is no such file"):
        read_plan(tmp_path / "none")
    with pytest.raises(PlanUnreadable, match="it is a folder"):
        read_plan(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlanUnreadable, match="not a file"):
        read_plan(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        (None, True),
        ("", True),
        (" \n", True),
        ('{"schema":"exq.plan/v1","plan', True),
        ('{\n  "schema": "exq.plan/v7"\n}', True),
        ('{"schema":"exq.diff/v1"}', False),
        ("jobs: []\n", False),
        ("\0\0", False),
    ],
)
def test_what_a_plan_may_replace(text: str | None, replaced: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if text is not None:
        path.write_text(text)
    assert (why_not_replaced(path) == "") is replaced


def test_a_plan_replaces_a_plan(path: Path) -> None:
    assert why_not_replaced(path) == ""
