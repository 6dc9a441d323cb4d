"""A part of a host's answer that cannot be read is not known, and takes no other along."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.doctor import FolderFacts, InotifyFacts, LoginFacts, MachineFacts
from reconciler.model.facts import Unknown
from reconciler.parse.doctor import parse_machine

FOLDER = {"path": "/s", "exists": True, "mode": 448, "mine": True, "owner": "me", "disk": "ext4", "mount": "/"}
REPLY: dict[str, Any] = {
    "python": "3.6.8",
    "nvidia_smi_s": 0.5,
    "state_folder": FOLDER,
    "screen_folder": None,
    "session_problem": "",
    "missing_programs": ["flock"],
    "folders": {"/a": "", "/b": "there is no folder /b"},
    "inotify": {"max_user_watches": 10, "max_user_instances": 20, "instances": 3},
    "login": {"systemd": True, "linger": None, "ends_processes": False},
    "environments": {"x": {"problem": ""}, "y": {"problem": "no\nsuch"}, "z": {"unknown": "slow"}},
}


def test_a_whole_answer() -> None:
    assert parse_machine(REPLY) == MachineFacts(
        python="3.6.8",
        state_folder=FolderFacts("/s", True, 0o700, True, "me", "ext4", "/"),
        screen_folder=None,
        inotify=InotifyFacts(10, 20, 3),
        login=LoginFacts(True, None, False),
        nvidia_smi_s=0.5,
        missing_programs=("flock",),
        folders={"/a": "", "/b": "there is no folder /b"},
        environments={"x": "", "y": "no such", "z": Unknown("slow")},
    )


@pytest.mark.parametrize("part", ["state_folder", "inotify", "login"])
@pytest.mark.parametrize("damage", [None, 3, {"unknown": "why"}, {"systemd": "x", "mode": "y"}])
def test_a_damaged_part_is_not_known(part: str, damage: object) -> None:
    found = parse_machine({**REPLY, part: damage})
    assert isinstance(found, MachineFacts)
    assert isinstance(getattr(found, part), Unknown)
    whole = parse_machine(REPLY)
    others = {"state_folder", "inotify", "login"} - {part}
    assert all(getattr(found, other) == getattr(whole, other) for other in others)


@pytest.mark.parametrize(
    "damage", [{"python": 3}, {"folders": []}, {"folders": {"/a": 1}}, {"missing_programs": "flock"}]
)
def test_an_answer_that_is_none(damage: dict[str, Any]) -> None:
    assert isinstance(parse_machine({**REPLY, **damage}), Unknown)


def test_one_environment_does_not_hide_the_others() -> None:
    found = parse_machine({**REPLY, "environments": {"x": {"problem": ""}, "y": 7}})
    assert isinstance(found, MachineFacts)
    assert found.environments["x"] == ""
    assert isinstance(found.environments["y"], Unknown)
