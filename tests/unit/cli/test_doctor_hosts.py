"""Hosts are asked side by side: whatever one of them does, the others' answers are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import doctor_hosts
from reconciler.cli.context import Context
from reconciler.cli.doctor_hosts import answers, doctors_world, patients
from reconciler.host.reply import HostAgent, Reply
from reconciler.loop.world import World
from reconciler.model.doctor import Check, Patient
from reconciler.model.spec import Placement
from tests.unit.view.factories import desired, project

FOLDER = {"path": "/s", "exists": True, "mode": 448, "mine": True, "owner": "me", "disk": "ext4", "mount": "/"}
FIT: dict[str, Any] = {
    "now": 0.0,
    "boot_id": "b",
    "screen_installed": True,
    "python": "3.9.1",
    "missing_programs": [],
    "state_folder": FOLDER,
    "screen_folder": FOLDER,
    "inotify": {"max_user_watches": 99999, "max_user_instances": 128, "instances": 0},
    "login": {"systemd": False},
}


class Answers:
    """A host that gives this answer; None: never."""

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self._answer = answer

    def send(self, _request: dict[str, Any]) -> Reply:
        return Reply(self._answer)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.send(request).wait() or {}


class Fails(Answers):
    def send(self, _request: dict[str, Any]) -> Reply:
        raise RuntimeError("a bug")


def context(tmp_path: Path, env: Mapping[str, str]) -> Context:
    return Context(tmp_path / "specs", tmp_path / "state", False, False, env)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with doctors_world(context(tmp_path, {"EXQ_HOST": "this-box"})) as (made, problem):
        assert problem is None
        yield made


def told(world: World, agents: Mapping[str, HostAgent]) -> list[tuple[str, list[Check]]]:
    world.agents.update(agents)
    return [(patient.host, checks) for patient, checks in answers(world, [Patient(host, False) for host in agents])]


def test_one_that_never_answers_is_told_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_hosts, "PATIENCE_S", 1.0)
    found = told(world, {"silent": Answers(None), "fit": Answers(FIT)})
    assert [host for host, _ in found] == ["fit", "silent"]
    (check,) = found[1][1]
    assert (str(check.status), check.message) == ("error", "silent gave no answer within 1 s")


@pytest.mark.parametrize(
    ("agent", "status", "said"),
    [
        (Fails({}), "error", "the check failed (RuntimeError: a bug)"),
        (Answers({}), "error", "cannot be read"),
        (Answers({"error": "it is down", "kind": "unreachable"}), "error", "it is down"),
        (Answers({**FIT, "python": 3}), "warning", "not known: its answer cannot be read"),
        (Answers({**FIT, "now": "soon"}), "error", "cannot be read"),
    ],
)
def test_an_odd_answer_is_a_line_and_no_traceback(world: World, agent: Answers, status: str, said: str) -> None:
    found = dict(told(world, {"odd": agent, "fit": Answers(FIT)}))
    (check,) = found["odd"]
    assert str(check.status) == status
    assert said in check.message
    assert len(found["fit"]) > 5


def test_hosts_are_asked_side_by_side(world: World) -> None:
    """Each answers only once all have been asked."""
    together = threading.Barrier(3, timeout=30)

    class Waits(Answers):
        def send(self, request: dict[str, Any]) -> Reply:
            together.wait()
            return super().send(request)

    found = told(world, {name: Waits(FIT) for name in "abc"})
    assert all(len(checks) > 5 for _, checks in found)


def test_this_machine_has_one_name(world: World) -> None:
    spec = project("p", {"main": ["a"]}, placements=(Placement("this-box"), Placement("far")))
    found = patients(world, desired(spec), [])
    assert [(each.host, each.local, [job.key for job in each.jobs]) for each in found] == [
        ("local", True, ["p/a"]),
        ("far", False, ["p/a"]),
    ]
    assert [each.host for each in patients(world, desired(spec), ["this-box", "local", "new"])] == ["local", "new"]


def test_jobs_of_a_closed_phase_come_later(world: World) -> None:
    spec = project("p", {"teach": ["t"], "learn": ["s"]}, {"learn": ["teach"]})
    (found,) = patients(world, desired(spec), [])
    assert ([job.key for job in found.jobs], [job.key for job in found.later]) == (["p/t"], ["p/s"])


def test_a_state_that_cannot_be_trusted_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    with doctors_world(context(tmp_path, {})) as (world, problem):
        assert problem is not None
        assert problem.mend == f"chmod 700 {tmp_path}/state"
        ((_, checks),) = answers(world, patients(world, desired(), []))
        assert {check.name: str(check.status) for check in checks}["state folder"] == "error"
