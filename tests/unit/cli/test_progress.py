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
from reconciler.model.facts import HostView, Observed, Unknown
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
    assert verb.exit_code(world) == code


@pytest.mark.parametrize(
    ("number", "until_settled", "code"),
    [(signal.SIGTERM, False, 0), (signal.SIGTERM, True, 143), (signal.SIGINT, False, 130), (signal.SIGINT, True, 130)],
)
def test_stopped(number: int, until_settled: bool, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    args = Namespace(until_settled=until_settled)
    assert verb._stopped(number, args, snapshot([COMPLETED, RUNNING])) == code
    assert "running jobs go on" in capsys.readouterr().err


def test_stopped_when_nothing_ran(capsys: pytest.CaptureFixture[str]) -> None:
    verb._stopped(signal.SIGTERM, Namespace(until_settled=False), snapshot([COMPLETED]))
    assert capsys.readouterr().err == "exq: stopped by SIGTERM; no job was running\n"
    launches = snapshot([COMPLETED])
    launches = replace(launches, plan=replace(launches.plan, actions=(LAUNCH,)))
    verb._stopped(signal.SIGTERM, Namespace(until_settled=False), launches)
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


GIVEN_UP = Action(ActionKind.FAIL, "a/two", 1, Reason.CODE_ERROR, "exit 1", "local")


@pytest.mark.parametrize(("quiet", "out", "err"), [(False, 1, 0), (True, 0, 1)])
def test_a_stuck_job_is_said_once(quiet: bool, out: int, err: int, capsys: pytest.CaptureFixture[str]) -> None:
    world = _alert(snapshot([STUCK]), "a/two is stuck: exit 1")
    world = replace(world, plan=replace(world.plan, actions=(GIVEN_UP,)))
    TextProgress(Style(), quiet=quiet).tick(world, [Done(GIVEN_UP, ok=True)])
    shown = capsys.readouterr()
    assert (shown.out.count("stuck: exit 1"), shown.err.count("stuck: exit 1")) == (out, err)


def test_an_alert_that_the_plan_showed_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TextProgress(Style(), quiet=False)
    world = _alert(snapshot([COMPLETED]), "no GPU 7")
    progress.plan(world)
    progress.tick(world, [])
    shown = capsys.readouterr()
    assert (shown.out.count("! no GPU 7"), shown.err) == (1, "")


@pytest.mark.parametrize(("quiet", "said"), [(False, "out"), (True, "err")])
def test_a_file_that_breaks_is_said_once(quiet: bool, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    world = snapshot([COMPLETED])
    file = replace(world.desired.files[0], broken=True, last_good=True)
    error = SpecError(file.path, 3, 5, "odd")
    worse = replace(world, desired=replace(world.desired, files=(file,), errors=(error,)))
    progress = TextProgress(Style(), quiet=quiet)
    progress.plan(world)
    capsys.readouterr()
    for each in (worse, worse):
        progress.tick(each, [])
    shown = capsys.readouterr()
    line = "specs/a.yaml is broken, the last version that loaded stays in force: specs/a.yaml:3:5: odd\n"
    assert getattr(shown, said).endswith(line)
    assert (shown.out + shown.err).count("odd") == 1


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


def test_a_host_that_falls_silent_and_comes_back_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TextProgress(Style(False), quiet=True)
    up, away = HostView("b", 1.0), Unknown("b (10.0.0.7) did not answer")
    for view in (up, Unknown("it was not looked at", quiet=True), away, away, up, up):
        progress.tick(replace(snapshot([COMPLETED]), observed=Observed({"b": view})), ())
    said = capsys.readouterr().err.splitlines()
    assert said == ["! b (10.0.0.7) did not answer; nothing is started there until it answers", "b answers again"]
