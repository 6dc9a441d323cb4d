"""The verbs that act, with real processes: run, logs, retry, stop, pause, resume, history, report, attach."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.integration.cli.box import PATIENCE_S, Box, eventually

TWO_PHASES = """\
project: demo
gpus: none
max_parallel: 2
launcher: process
phases:
  - name: one
    grid: {n: [1, 2]}
    template: {id: "t_${n}", cmd: "echo hi ${n}; touch t_${n}.out", output_check: "t_${n}.out"}
  - name: two
    depends_on: one
    jobs:
      - {id: last, cmd: "echo done"}
"""
FAILS = """\
project: demo
gpus: none
max_parallel: 2
launcher: process
jobs:
  - {id: good, cmd: "true"}
  - {id: bad, cmd: "echo broken; test -e repaired"}
"""
# it runs until the file `go` is there, or until the test is over
WAITS = """\
project: demo
gpus: none
max_parallel: 1
launcher: process
jobs:
  - id: slow
    cmd: "echo begun; for i in $(seq 1200); do test -e go && break; sleep 0.05; done; echo over"
  - {id: next, cmd: "true"}
"""


def _jobs(box: Box) -> dict[str, dict[str, object]]:
    ended = box.exq("status", "--json")
    assert ended.code == 0, ended.err
    return {job["id"]: job for job in ended.json["jobs"]}


def _begun(box: Box, job: str = "slow") -> bool:
    return "begun" in box.exq("logs", job).out


def test_run_until_settled_then_nothing_is_left_to_do(box: Box) -> None:
    box.spec(TWO_PHASES)
    ended = box.exq("run", "--until-settled")
    assert ended.code == 0, ended.err
    assert ended.out.index("Plan: ") < ended.out.index("demo/t_1") < ended.out.index("# Experiment Queue Summary")
    (summary,) = box.folder.glob("experiment_queue/*/summary.md")
    assert f"written to {summary}" in ended.out
    assert {job["status"] for job in _jobs(box).values()} == {"completed"}
    assert box.exq("diff", "--exit-code").code == 0
    again = box.exq("run", "--until-settled")
    assert again.code == 0
    assert "launched" not in again.out


def test_run_as_json_lines(box: Box) -> None:
    box.spec(TWO_PHASES)
    ended = box.exq("run", "--until-settled", "--json")
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert {event["schema"] for event in events} == {"exq.run/v1"}
    assert (events[0]["event"], events[-1]["event"]) == ("plan", "end")
    launched = [event["job"] for event in events if event["event"] == "action" and event["action"] == "launch"]
    assert launched == ["demo/t_1", "demo/t_2", "demo/last"]
    assert events[-1]["counts"] == {"completed": 3}


def test_a_stuck_job_is_3_and_a_retry_of_it_repairs_that(box: Box) -> None:
    box.spec(FAILS)
    ended = box.exq("run", "--until-settled", "--quiet")
    assert ended.code == 3
    assert _jobs(box)["bad"]["status"] == "stuck"

    asked = box.exq("retry", "bad")
    assert asked.code == 0
    assert "no loop is running" in asked.err
    assert box.exq("diff", "--exit-code").code == 2
    (box.folder / "repaired").touch()
    assert box.exq("run", "--until-settled").code == 0
    assert _jobs(box)["bad"]["status"] == "completed"

    listed = box.exq("history", "bad", "--json").json["records"]
    assert any(record.get("by", "").startswith("ann@") for record in listed)
    assert "by ann@" in box.exq("history", "bad", "-n", "0").out


def test_a_retry_of_the_whole_project_takes_what_failed(box: Box) -> None:
    box.spec(FAILS)
    box.exq("run", "--until-settled", "--quiet")
    asked = box.exq("retry", "demo", "--json")
    assert asked.code == 0
    assert [request["target"] for request in asked.json["requests"]] == ["demo/bad"]


@pytest.mark.parametrize(
    ("words", "message"),
    [(("retry", "good"), "is completed"), (("stop", "good"), "is completed"), (("pause", "good"), "is completed")],
)
def test_requests_that_make_no_sense_are_refused(words: tuple[str, str], message: str, box: Box) -> None:
    box.spec(FAILS)
    box.exq("run", "--until-settled", "--quiet")
    asked = box.exq(*words)
    assert asked.code == 1
    assert message in asked.err
    assert not list((box.state / "requests").glob("*.json"))


def test_a_spec_that_is_broken_all_along_is_1(box: Box) -> None:
    box.spec(FAILS.replace("jobs:", "jbos:"))
    ended = box.exq("run", "--until-settled")
    assert ended.code == 1
    assert "specs/p.yaml:" in ended.out + ended.err


def test_run_once_ends_after_one_step(box: Box) -> None:
    box.spec(WAITS)
    assert box.exq("run", "--once").code == 0
    eventually(lambda: _begun(box), "the job has begun")
    assert _jobs(box)["slow"]["status"] == "running"
    (box.folder / "go").touch()
    assert box.exq("run", "--until-settled").code == 0


def test_a_second_loop_is_75_and_names_the_first(box: Box) -> None:
    box.spec(WAITS)
    with box.started("run") as first:
        eventually(lambda: _begun(box), "the job has begun")
        second = box.exq("run")
        assert second.code == 75
        assert f"pid {first.pid} on " in second.err
        assert not second.out
        assert box.exq("status", "--json").json["daemon"]["pid"] == first.pid
        asked = box.exq("stop", "slow")
        assert f"(pid {first.pid} on " in asked.err
        eventually(lambda: _jobs(box)["slow"]["status"] == "stuck", "the job was stopped")
        assert _jobs(box)["slow"]["reason"] == "StoppedByUser"
        first.send_signal(signal.SIGTERM)
        first.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (signal.SIGTERM, ("run",), 0),
        (signal.SIGTERM, ("run", "--until-settled"), 143),
        (signal.SIGINT, ("run",), 130),
    ],
)
def test_a_signal_ends_the_loop_and_not_the_job(
    number: signal.Signals, words: tuple[str, ...], code: int, box: Box
) -> None:
    box.spec(WAITS)
    with box.started(*words) as loop:
        eventually(lambda: _begun(box), "the job has begun")
        loop.send_signal(number)
        _, err = loop.communicate(timeout=PATIENCE_S)
    assert loop.returncode == code
    assert err == f"exq: stopped by {number.name}; running jobs go on, and the next exq run takes them up again\n"
    assert _jobs(box)["slow"]["status"] == "running"
    (box.folder / "go").touch()
    ended = box.exq("run", "--until-settled")
    assert ended.code == 0
    assert _jobs(box)["slow"]["attempts"] == 1


def test_logs_follow_to_the_end_of_the_attempt(box: Box) -> None:
    box.spec(WAITS)
    box.exq("run", "--once")
    eventually(lambda: _begun(box), "the job has begun")
    with box.started("logs", "slow", "-f") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "begun\n"
        (box.folder / "go").touch()
        rest, err = following.communicate(timeout=PATIENCE_S)
    assert rest == "over\n"
    assert following.returncode == 0
    assert "demo/slow, attempt 1" in err
    assert "attempt 1 has ended: exit 0" in err


def test_logs_of_an_attempt(box: Box) -> None:
    box.spec(FAILS)
    box.exq("run", "--until-settled", "--quiet")
    assert box.exq("logs", "bad").out == "broken\n"
    assert box.exq("logs", "demo/bad", "--attempt", "1", "-n", "0").out == ""
    found = box.exq("logs", "bad", "--json").json
    assert (found["attempt"], found["text"], found["ended"]) == (1, "broken\n", True)
    missing = box.exq("logs", "bad", "--attempt", "7")
    assert missing.code == 1
    assert "its attempts: 1" in missing.err


def test_ctrl_c_while_following_is_130_in_one_line(box: Box) -> None:
    box.spec(WAITS)
    box.exq("run", "--once")
    eventually(lambda: _begun(box), "the job has begun")
    with box.started("logs", "slow", "-f") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "begun\n"
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 130
    assert err.splitlines()[-1] == "exq: interrupted"
    assert "Traceback" not in err


def test_pause_and_resume(box: Box) -> None:
    box.spec(TWO_PHASES)
    assert box.exq("pause", "demo").code == 0
    assert box.exq("diff", "--exit-code").code == 0
    assert _jobs(box)["t_1"]["reason"] == "Paused"
    assert box.exq("pause", "demo").code == 0  # asking twice is no mistake
    assert len(list((box.state / "requests").glob("*.json"))) == 1
    assert box.exq("run", "--once").code == 0
    assert _jobs(box)["t_1"]["reason"] == "Paused"
    assert box.exq("resume").code == 0
    assert box.exq("run", "--until-settled").code == 0


def test_report(box: Box, tmp_path: Path) -> None:
    box.spec(FAILS)
    before = box.exq("report")
    assert before.code == 0
    assert before.out.startswith("# Experiment Queue Summary")
    box.exq("run", "--until-settled", "--quiet")
    page, text = tmp_path / "page.html", tmp_path / "summary.md"
    ended = box.exq("report", "demo", "--html", str(page), "--out", str(text))
    assert (ended.code, ended.out) == (0, "")
    assert "demo/bad" in text.read_text()
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    found = box.exq("report", "--json").json["projects"]
    assert [(each["project"], each["settled"]) for each in found] == [("demo", True)]


def test_a_report_of_what_never_ran_here_gives_no_time(box: Box) -> None:
    box.spec(FAILS)
    assert "**Started**: not run here\n" in box.exq("report").out


def test_the_report_of_a_second_run_is_of_that_run_alone(box: Box) -> None:
    box.spec(FAILS)
    box.exq("run", "--until-settled", "--quiet")
    (box.folder / "repaired").touch()
    box.exq("retry", "bad")
    ended = box.exq("run", "--until-settled", "--quiet")
    assert "**Project**: demo (run 2)\n" in ended.out
    assert "**Jobs**: 2 completed, 0 OOM-retried then completed, 0 stuck\n" in ended.out


def test_the_loop_says_what_changed_in_the_specs(box: Box) -> None:
    def told() -> list[str]:
        records = box.exq("history", "--json").json["records"]
        return [record["message"] for record in records if record["event"] == "specs"]

    box.spec(WAITS)
    with box.started("run") as loop:
        eventually(lambda: _begun(box), "the job has begun")
        box.spec(WAITS + "  - {id: more, cmd: 'true'}\n")
        eventually(lambda: len(told()) == 1, "the change was taken")
        box.spec(WAITS + "  - {id: more, comand: 'true'}\n")
        eventually(lambda: len(told()) == 2, "the mistake was seen")
        box.spec(WAITS + "  - {id: more, cmd: 'true'}\n")
        eventually(lambda: len(told()) == 3, "it was mended")
        loop.send_signal(signal.SIGTERM)
        out, _ = loop.communicate(timeout=PATIENCE_S)
    changed, broken, mended = told()
    assert changed == "specs/p.yaml: 3 jobs (1 new)"
    assert broken.startswith("specs/p.yaml is broken, the last version that loaded stays in force: specs/p.yaml:9:")
    assert mended == "specs/p.yaml loads again: 3 jobs"
    for text in (changed, broken, mended):
        assert f"  {text}\n" in out
    assert mended in box.exq("history").out


def test_diff_knows_that_a_loop_runs(box: Box) -> None:
    box.spec(WAITS)
    with box.started("run") as loop:
        eventually(lambda: _begun(box), "the job has begun")
        loop.send_signal(signal.SIGSTOP)
        box.spec(WAITS.replace("max_parallel: 1", "max_parallel: 2"))
        ended = box.exq("diff", "demo")
        loop.send_signal(signal.SIGCONT)
    assert ended.err.endswith(f"The loop (pid {loop.pid}) will carry it out.\n")


def test_attach_without_screen_suggests_logs(box: Box) -> None:
    box.spec(WAITS)
    box.exq("run", "--once")
    eventually(lambda: _begun(box), "the job has begun")
    ended = box.exq("attach", "slow")
    assert ended.code == 1
    assert "exq logs demo/slow -f" in ended.err


@pytest.mark.needs("screen")
def test_attach_names_the_one_session(box: Box, screen_dir: Path) -> None:
    box.env["SCREENDIR"] = str(screen_dir)
    box.spec(WAITS.replace("launcher: process", "launcher: screen"))
    box.exq("run", "--once")
    eventually(lambda: _begun(box), "the job has begun")
    ended = box.exq("attach", "slow", "--json")
    assert ended.code == 0, ended.err
    (socket,) = [path.name for path in screen_dir.iterdir()]
    assert ended.json["session"] == socket
    assert ended.json["command"] == ["screen", "-r", socket]
    assert "needs a terminal" in box.exq("attach", "slow").err
    (box.folder / "go").touch()
    assert box.exq("run", "--until-settled").code == 0


def test_a_request_without_room_to_write_is_a_sentence(box: Box) -> None:
    box.spec(TWO_PHASES)
    box.state.write_text("not a folder")
    ended = box.exq("pause", "demo")
    assert ended.code == 1
    assert str(box.state) in ended.err
    assert "Traceback" not in ended.err
