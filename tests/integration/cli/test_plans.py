"""Saved plans with real processes and screens: carried out as they are, or refused with what has moved."""

from __future__ import annotations

import json
import os
import pty
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.box import PATIENCE_S, Box, Ended, eventually

GATED = """\
project: demo
gpus: none
max_parallel: 2
launcher: {launcher}
jobs:
  - id: one
    cmd: "for i in $(seq 1200); do test -e go && break; sleep 0.05; done"
  - {{id: two, cmd: "echo two"}}
  - {{id: three, cmd: "echo three"}}
"""
QUICK = GATED.format(launcher="process")
FAILS = """\
project: demo
gpus: none
launcher: process
max_parallel: 2
failure_retry: {delay: 1h, max_attempts: 3}
jobs:
  - {id: bad, cmd: "false"}
  - {id: good, cmd: "true"}
"""


def audit(box: Box) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (box.state / "audit.jsonl").read_text().splitlines()]


def save(box: Box) -> str:
    """The id of the plan, which is in plan.json now."""
    ended = box.exq("diff", "--out", "plan.json", "--json")
    assert ended.code == 0, ended.err
    assert json.loads((box.folder / "plan.json").read_text())["plan_id"] == ended.json["plan_id"]
    return str(ended.json["plan_id"])


def refused(box: Box) -> Ended:
    """The plan is refused; nothing is done, and the audit trail tells of nothing."""
    before = len(audit(box)) if (box.state / "audit.jsonl").exists() else 0
    ended = box.exq("apply", "plan.json", "--yes", "--json")
    assert ended.code == 1
    assert "is not carried out" in ended.err
    assert "Traceback" not in ended.err
    assert ended.json["applied"] is False
    assert ended.json["actions"] == []
    after = audit(box) if (box.state / "audit.jsonl").exists() else []
    assert after[before:] == []
    return ended


def moved(ended: Ended) -> list[tuple[str, str]]:
    return [(item["what"], item["name"]) for item in ended.json["moved"]]


def settled(box: Box, *jobs: str) -> bool:
    found = {job["id"]: job for job in box.exq("status", "--json").json["jobs"]}
    return all(found[job]["exit_code"] is not None for job in jobs)


def test_a_plan_is_carried_out_once_and_as_it_is(box: Box) -> None:
    box.spec(QUICK)
    plan_id = save(box)
    assert stat.S_IMODE((box.folder / "plan.json").stat().st_mode) == 0o600
    assert not box.state.exists()
    ended = box.exq("apply", "plan.json", "--yes")
    assert ended.code == 0, ended.err
    assert f"launched (attempt 1)  [plan {plan_id}]" in ended.out
    acted = [(r["phase"], r["job"], r["plan_id"]) for r in audit(box) if r["event"] == "action"]
    assert acted == [(p, j, plan_id) for p in ("intent", "outcome") for j in ("demo/one", "demo/two")]
    (applied,) = [record for record in audit(box) if record["event"] == "apply"]
    assert (applied["plan_id"], applied["by"].partition("@")[0]) == (plan_id, "ann")
    assert "apply" in box.exq("history").out
    again = refused(box)
    assert ("gone", "demo/one") in moved(again)
    assert "attempt 1 is there already" in again.err
    (box.folder / "go").touch()


@pytest.mark.needs("screen")
def test_in_real_screens(box: Box, screen_dir: Path) -> None:
    box.spec(GATED.format(launcher="screen"))
    box.env["SCREENDIR"] = str(screen_dir)
    plan_id = save(box)
    ended = box.exq("apply", "plan.json", "--yes", "--json")
    assert (ended.code, ended.json["applied"], ended.json["plan_id"]) == (0, True, plan_id)
    assert [(a["action"], a["job"], a["ok"]) for a in ended.json["actions"]] == [
        ("launch", "demo/one", True),
        ("launch", "demo/two", True),
    ]
    assert any("exq.demo.one.1" in socket.name for socket in screen_dir.iterdir())
    (box.folder / "go").touch()
    eventually(lambda: settled(box, "one", "two"), "both ended")
    save(box)
    assert box.exq("apply", "plan.json", "--yes").code == 0
    assert {job["id"]: job["status"] for job in box.exq("status", "--json").json["jobs"]}["one"] == "completed"


def test_one_plan_has_one_name_everywhere(box: Box) -> None:
    """diff, the saved plan, what the loop prints, and the audit trail."""
    box.spec(QUICK)
    first = save(box)
    shown = box.exq("diff")
    assert "Plan: 2 to launch" in shown.out and f"({first})" in shown.out
    only = box.exq("run", "--plan-only", "--json")
    assert only.json["plan"]["plan_id"] == first
    with box.started("--specs", str(box.folder / "specs"), "run", "--json") as running:
        assert running.stdout is not None
        plan = json.loads(running.stdout.readline())
        events = [json.loads(running.stdout.readline()) for _ in range(2)]
    assert plan["plan"]["plan_id"] == first, "the specs folder is spelled in another way"
    assert {(event["event"], event["plan_id"]) for event in events} == {("action", first)}
    acts = [
        record for record in audit(box) if record["event"] == "action" and record["job"] in ("demo/one", "demo/two")
    ]
    assert {record["plan_id"] for record in acts if record["action"] == "launch"} == {first}
    (box.folder / "go").touch()


def test_the_next_plan_of_a_loop_is_that_of_a_diff_beside_it(box: Box) -> None:
    """What a diff says while nothing acts is what the next loop does."""
    box.spec(QUICK)
    assert box.exq("run", "--once").code == 0
    (box.folder / "go").touch()
    eventually(lambda: settled(box, "one", "two"), "both ended")
    expected = box.exq("diff", "--json").json
    ended = box.exq("run", "--once", "--json")
    events = [json.loads(line) for line in ended.out.splitlines()]
    done = [event for event in events if event["event"] == "action"]
    assert {event["plan_id"] for event in done} == {expected["plan_id"]}
    assert {(e["action"], e["job"]) for e in done} == {(a["action"], a["job"]) for a in expected["actions"]}
    assert [r["plan_id"] for r in audit(box) if r["event"] == "tick"][-1] == expected["plan_id"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("echo two", "echo 2", "demo/two cmd: echo two -> echo 2"),
        ("echo three", "echo 3", "demo/three cmd: echo three -> echo 3"),
        ("max_parallel: 2", "max_parallel: 3", "demo max_parallel: 2 -> 3"),
        ("max_parallel: 2", "max_parallel: 2\nlinger: 1m", "linger: 5 min -> 1 min"),
        ('  - {id: two, cmd: "echo two"}\n', "", "demo/two it is gone"),
        ("jobs:", "jobs: 7\nx:", "specs/p.yaml:5:7"),
    ],
)
def test_specs_that_moved(old: str, new: str, words: str, box: Box) -> None:
    box.spec(QUICK)
    save(box)
    assert old in QUICK
    box.spec(QUICK.replace(old, new))
    ended = refused(box)
    assert words in " ".join(ended.err.split()), ended.err
    assert "specs" in {what for what, _ in moved(ended)}


def test_a_comment_and_time_do_not_matter(box: Box) -> None:
    box.spec(QUICK)
    plan_id = save(box)
    box.spec("# to be continued\n\n" + QUICK)
    ended = box.exq("apply", "plan.json", "--yes")
    assert (ended.code, f"[plan {plan_id}]" in ended.out) == (0, True), ended.err
    (box.folder / "go").touch()


def test_a_job_that_was_stopped_meanwhile(box: Box) -> None:
    box.spec(QUICK)
    save(box)
    assert box.exq("stop", "two").code == 0
    ended = refused(box)
    assert ("gone", "demo/two") in moved(ended)
    assert "stopped by ann@" in ended.err
    assert ("new", "demo/three") in moved(ended)


def test_a_retry_that_was_asked_for_is_an_action_more(box: Box) -> None:
    box.spec(FAILS)
    assert box.exq("run", "--once").code == 0
    eventually(lambda: settled(box, "bad", "good"), "both ended")
    plan_id = save(box)
    ended = box.exq("apply", "plan.json", "--yes", "--json")
    assert (ended.code, ended.json["plan_id"]) == (0, plan_id)
    assert {(a["action"], a["job"]) for a in ended.json["actions"]} == {
        ("requeue", "demo/bad"),
        ("complete", "demo/good"),
    }
    save(box)
    assert box.exq("retry", "bad").code == 0
    assert moved(refused(box)) == [("new", "demo/bad")]


def test_another_gpu(box: Box) -> None:
    box.spec("gpus: all\nmax_parallel: 1\nlauncher: process\njobs:\n  - {id: a, cmd: 'true'}\n")
    machine = box.folder / "machine.json"
    smi = Path(__file__).parents[2] / "fakebin" / "nvidia-smi"
    box.env.update({"NVIDIA_SMI": str(smi), "FAKE_NVIDIA_SMI": str(machine)})
    gpus = [{"index": n, "uuid": f"GPU-{n}", "total_mib": 80_000} for n in range(2)]
    machine.write_text(json.dumps({"mode": "ok", "gpus": gpus}))
    plan_id = save(box)
    machine.write_text(json.dumps({"mode": "ok", "gpus": [{**gpus[0], "base_used_mib": 70_000}, gpus[1]]}))
    ended = refused(box)
    assert moved(ended) == [("different", "p/a")]
    assert "launch on GPU 1 instead of GPU 0" in ended.err
    machine.write_text(json.dumps({"mode": "ok", "gpus": [gpus[0], {**gpus[1], "base_used_mib": 70_000}]}))
    done = box.exq("apply", "plan.json", "--yes")
    assert (done.code, f"launched on GPU 0 (attempt 1)  [plan {plan_id}]" in done.out) == (0, True), done.err


def test_gpus_that_cannot_be_seen_any_more(box: Box) -> None:
    box.spec("gpus: all\nlauncher: process\njobs:\n  - {id: a, cmd: 'true'}\n")
    machine = box.folder / "machine.json"
    smi = Path(__file__).parents[2] / "fakebin" / "nvidia-smi"
    box.env.update({"NVIDIA_SMI": str(smi), "FAKE_NVIDIA_SMI": str(machine)})
    machine.write_text(json.dumps({"mode": "ok", "gpus": [{"index": 0, "uuid": "GPU-0", "total_mib": 80_000}]}))
    save(box)
    box.env["NVIDIA_SMI"] = "/no/such/program"
    ended = refused(box)
    assert moved(ended) == [("gone", "p/a")]
    assert "GpuUnknown" in ended.err


def test_a_loop_that_holds_the_state_needs_no_apply(box: Box) -> None:
    box.spec(QUICK)
    save(box)
    with box.started("run") as running:
        eventually(lambda: box.exq("status", "--json").json["daemon"] is not None, "the loop runs")
        ended = box.exq("apply", "plan.json", "--yes")
        assert (ended.code, ended.out) == (75, "")
        assert f"a loop (pid {running.pid} on" in ended.err
        assert "it does by itself what the specs ask for" in ended.err
        assert box.exq("pause", "demo").code == 0
        paused = box.exq("apply", "plan.json", "--yes")
        assert (paused.code, "but for what is paused: exq resume demo" in paused.err) == (75, True)
        running.terminate()
        running.wait(PATIENCE_S)
    (box.folder / "go").touch()


def test_an_empty_plan_is_a_plan(box: Box) -> None:
    box.spec("gpus: none\nlauncher: process\njobs:\n  - {id: a, cmd: 'true'}\n")
    assert box.exq("run", "--until-settled").code == 0
    save(box)
    ended = box.exq("apply", "plan.json", "--yes")
    assert (ended.code, "Nothing to do" in ended.out) == (0, True), ended.err


def test_a_plan_is_not_saved_of_broken_specs_nor_of_one_project(box: Box) -> None:
    box.spec(QUICK)
    box.spec("jobs: 7\n", "q.yaml")
    ended = box.exq("diff", "--out", "plan.json")
    assert (ended.code, (box.folder / "plan.json").exists()) == (1, False)
    assert "plan.json is not written: some spec has mistakes" in ended.err
    assert "Plan: " in ended.out
    (box.folder / "specs" / "q.yaml").unlink()
    assert box.exq("diff", "demo", "--out", "plan.json").code == 2
    assert box.exq("diff", "--rev", "HEAD", "--out", "plan.json").code == 2
    none = box.exq("diff", "--out", "none/plan.json")
    assert (none.code, "cannot write none/plan.json" in none.err) == (1, True)


def test_files_that_are_no_plan_of_this_place(box: Box, tmp_path: Path) -> None:
    box.spec(QUICK)
    save(box)
    plan = box.folder / "plan.json"
    whole = json.loads(plan.read_text())
    cases = {
        "there is no such file": None,
        "cut short": plan.read_text()[:200],
        "it is empty": "",
        "another version of exq wrote": json.dumps({**whole, "schema": "exq.plan/v9"}),
        "it was changed after it was made": json.dumps({**whole, "plan_id": "0" * 12}),
        "it is no plan: it is exq.diff/v1": box.exq("diff", "--json").out,
    }
    for words, text in cases.items():
        plan.unlink(missing_ok=True)
        if text is not None:
            plan.write_text(text)
        ended = box.exq("apply", "plan.json", "--yes")
        assert (ended.code, words in ended.err, "Traceback" in ended.err) == (1, True, False), ended.err
    plan.unlink()
    save(box)
    other = box.exq("--state", str(tmp_path / "other"), "apply", "plan.json", "--yes")
    assert other.code == 1
    assert f"exq --state {os.path.realpath(box.state)} apply plan.json" in other.err
    assert not (tmp_path / "other").exists()
    shutil.copytree(box.folder / "specs", box.folder / "more")
    elsewhere = box.exq("--specs", "more", "apply", "plan.json", "--yes")
    assert (elsewhere.code, "it was made for the specs folder" in elsewhere.err) == (1, True)


def test_without_a_terminal_it_has_to_be_confirmed(box: Box) -> None:
    box.spec(QUICK)
    save(box)
    ended = box.exq("apply", "plan.json")
    assert (ended.code, ended.out) == (1, "")
    assert "exq apply plan.json --yes" in ended.err
    assert not box.state.exists()


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
def test_a_terminal_is_asked(answer: str, code: int, box: Box) -> None:
    box.spec(QUICK)
    save(box)
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*box.command, "apply", "plan.json"],
            cwd=box.folder,
            env=box.environment(),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.write(ours, answer.encode())
        out, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == code
    assert ("launched" in out) == (code == 0)
    (box.folder / "go").touch()


def test_a_plan_alone_changes_nothing_and_minds_no_loop(box: Box) -> None:
    box.spec("gpus: all\nlauncher: process\njobs:\n  - {id: a, cmd: 'true'}\n")
    box.env["NVIDIA_SMI"] = "/no/such/program"
    ended = box.exq("run", "--plan-only")
    assert (ended.code, "not known now" in ended.out) == (0, True), ended.err
    assert ended.out.splitlines()[-2].startswith("Nothing to do now")
    assert box.exq("run", "--plan-only", "--exit-code").code == 3
    assert box.exq("run", "--exit-code").code == 2
    assert box.exq("run", "--plan-only", "--once").code == 2
    assert box.exq("run", "--plan-only", "--detach").code == 2
    box.spec(QUICK)
    assert box.exq("run", "--plan-only", "--exit-code").code == 2
    assert box.exq("run", "--plan-only").out.strip() == box.exq("diff").out.strip()
    box.spec("jobs: 7\n")
    assert box.exq("run", "--plan-only").code == 1
    assert not box.state.exists()
    assert not (box.folder / "experiment_queue").exists()


def test_no_colour_code_is_written_out_where_colours_are_wanted(box: Box) -> None:
    box.spec(QUICK)
    save(box)
    box.spec(QUICK.replace("echo two", "echo 2"))
    ended = box.exq("--color", "always", "apply", "plan.json", "--yes")
    assert (ended.code, "\\x1b" in ended.err, "\x1b" in ended.err) == (1, False, False), ended.err


def test_a_plan_replaces_nothing_but_a_plan(box: Box) -> None:
    box.spec(QUICK)
    (box.folder / "notes.txt").write_text("mine")
    (box.folder / "link.json").symlink_to("nowhere")
    os.mkfifo(box.folder / "pipe")
    refusals = {
        "specs/p.yaml": "it would be taken as a spec",
        "specs/new.yml": "it would be taken as a spec",
        "specs/../specs/exq.yaml": "it would be taken as a spec",
        "notes.txt": "it holds something else than a saved plan",
        "pipe": "it is a pipe, a socket or a device, not a file",
        "/dev/null": "it is a pipe, a socket or a device, not a file",
        "specs": "it is a folder",
        "link.json": "it is a link to a file that does not exist",
        "-": "--out needs the name of a file",
        "": "--out needs the name of a file",
    }
    for file, words in refusals.items():
        ended = box.exq("diff", "--out", file)
        assert (ended.code in (1, 2), ended.out, words in ended.err) == (True, "", True), (file, ended.err)
    assert (box.folder / "specs" / "p.yaml").read_text() == QUICK
    assert (box.folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in box.folder.iterdir()) == ["link.json", "notes.txt", "pipe", "specs"]
    (box.folder / "plan.json").touch()  # as mktemp leaves it
    first = save(box)
    box.spec(QUICK.replace("two", "zwei"))
    assert save(box) != first
    (box.folder / "plan.json").write_text((box.folder / "plan.json").read_text()[:60])
    save(box)


def test_a_file_that_is_not_there_is_said_before_anything_is_asked(box: Box) -> None:
    box.spec(QUICK)
    (box.folder / "loop").symlink_to("loop")
    (box.folder / "link").symlink_to("nowhere")
    for file, words in {
        "none.json": "there is no such file",
        "loop": "it cannot be read: Too many levels of symbolic links",
        "link": "it is a link to a file that does not exist",
        "specs": "it is a folder",
    }.items():
        ended = box.exq("apply", file)
        assert (ended.code, words in ended.err, "confirmed" in ended.err) == (1, True, False), ended.err


def test_nothing_is_asked_for_nothing(box: Box) -> None:
    box.spec("gpus: none\nlauncher: process\njobs:\n  - {id: a, cmd: 'true'}\n")
    assert "Next: exq apply plan.json" in box.exq("diff", "--out", "plan.json").err
    assert box.exq("run", "--until-settled").code == 0
    ended = box.exq("diff", "--out", "plan.json")
    assert ended.err == "plan.json has no action in it: there is nothing to apply.\n"
    applied = box.exq("apply", "plan.json")
    assert (applied.code, "Nothing to do" in applied.out) == (0, True), applied.err
