"""What `exq run` prints, and the code it ends with."""

from __future__ import annotations

import json
import signal
from argparse import Namespace
from dataclasses import replace

import pytest

from reconciler.cli.progress import JsonProgress, TextProgress
from reconciler.cli.verbs import run as verb
from reconciler.loop.done import Done
from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.plan import Action
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import SpecError
from reconciler.view.style import Style
from tests.unit.cli.worlds import snapshot, state

LAUNCH = Action(ActionKind.LAUNCH, "a/one", 1, Reason.NEW_IN_SPEC, "new in spec", "local")
COMPLETED = state("a/one", JobStatus.COMPLETED, Reason.SUCCEEDED, 1)
STUCK = state("a/two", JobStatus.STUCK, Reason.CODE_ERROR, 1)
RUNNING = state("a/two", JobStatus.RUNNING, Reason.RUNNING, 1)
ORPHAN = state("a/old", JobStatus.RUNNING, Reason.ORPHAN, 1)


def _settled(world: Snapshot, settled: bool = True) -> Snapshot:
    return replace(world, plan=replace(world.plan, settled=settled))


def _alert(world: Snapshot, *alerts: str) -> Snapshot:
    return replace(world, plan=replace(world.plan, alerts=alerts))


def _mistake(world: Snapshot, *, warning: bool) -> Snapshot:
    return replace(world, desired=replace(world.desired, errors=(SpecError("s.yaml", 1, 1, "odd", warning),)))


@pytest.mark.parametrize(
    ("world", "code"),
    [
        (_settled(snapshot([COMPLETED])), 0),
        (_settled(snapshot([COMPLETED, STUCK])), 3),
        (_settled(snapshot([COMPLETED, ORPHAN], orphans=["a/old"])), 0),
        (_settled(snapshot([COMPLETED, RUNNING]), settled=False), 0),
        (_mistake(_settled(snapshot([COMPLETED])), warning=False), 1),
        (_mistake(_settled(snapshot([COMPLETED])), warning=True), 0),
        (_settled(snapshot([])), 0),
    ],
)
def test_exit_code(world: Snapshot, code: int) -> None:
    assert verb.exit_code(world, Namespace(once=False, until_settled=True)) == code


@pytest.mark.parametrize(
    ("number", "until_settled", "code"),
    [(signal.SIGTERM, False, 0), (signal.SIGTERM, True, 143), (signal.SIGINT, False, 130), (signal.SIGINT, True, 130)],
)
def test_stopped(number: int, until_settled: bool, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb._stopped(number, Namespace(until_settled=until_settled)) == code
    assert "running jobs go on" in capsys.readouterr().err


def test_an_action_is_a_line_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    TextProgress(Style(), quiet=False).tick(snapshot([COMPLETED]), [Done(LAUNCH, ok=True)])
    shown = capsys.readouterr()
    assert "a/one" in shown.out
    assert shown.out.count("\n") == 1
    assert not shown.err


def test_a_failed_action_is_a_message_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TextProgress(Style(), quiet=True)
    for _ in range(3):
        progress.tick(snapshot([COMPLETED]), [Done(LAUNCH, ok=False, message="no room")])
    shown = capsys.readouterr()
    assert shown.err == "! launch a/one/1 failed: no room\n"
    assert not shown.out


def test_an_alert_is_said_again_only_after_it_was_over(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TextProgress(Style(), quiet=False)
    world = snapshot([COMPLETED])
    for alerts in (["full"], ["full"], [], ["full"]):
        progress.tick(_alert(world, *alerts), [])
    assert capsys.readouterr().err == "! full\n! full\n"


def test_a_new_mistake_in_the_specs_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TextProgress(Style(), quiet=True)
    world = snapshot([COMPLETED])
    progress.plan(world)
    for each in (world, _mistake(world, warning=False), _mistake(world, warning=False), world):
        progress.tick(each, [])
    assert capsys.readouterr().err == "s.yaml:1:1: odd\n"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = JsonProgress()
    world = _settled(snapshot([COMPLETED, STUCK]))
    progress.plan(world)
    progress.tick(world, [Done(LAUNCH, ok=True)])
    progress.end(world, [("a", "# text", "/x/summary.md")])
    plan, action, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert {each["schema"] for each in (plan, action, end)} == {"exq.run/v1"}
    assert plan["plan"]["schema"] == "exq.diff/v1"
    assert (action["action"], action["job"], action["ok"]) == ("launch", "a/one", True)
    assert end["counts"] == {"completed": 1, "stuck": 1}
    assert end["summaries"] == {"a": "/x/summary.md"}
