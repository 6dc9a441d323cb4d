"""The life of jobs as users see it: stopping, retrying, editing, hanging, cleaning up, and being told about it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.lab import FAKEBIN, Lab
from tests.integration.lab import project as spec

pytestmark = pytest.mark.needs("screen")

UNTIL_GO = "echo $EXQ_JOB >>ran; until [ -e go ]; do sleep 0.1; done"


def project(jobs: Mapping[str, str | Mapping[str, object]], name: str = "p", **settings: object) -> str:
    return spec(jobs, name, **{"gpus": "none", "max_parallel": 2, **settings})


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def actions(lab: Lab, key: str) -> list[tuple[str, str]]:
    """What the audit trail says was done to a job, in order: (action, reason)."""
    records = lab.json("history", key, "-n", "0")["records"]
    return [(r["action"], r["reason"]) for r in records if r.get("phase") == "outcome" and r["ok"]]


# --- requests


def test_stop_ends_what_runs_and_holds_back_what_waits(lab: Lab) -> None:
    lab.spec(project(dict.fromkeys("abc", UNTIL_GO), max_parallel=1))
    with lab.daemon():
        lab.wait("a runs", lambda: lab.ran() == ["a"] and lab.status()["p/a"]["pid"])
        pid = lab.status()["p/a"]["pid"]
        lab.exq("stop", "b")
        assert lab.wait_for_status("p/b", "stuck")["reason"] == "StoppedByUser"
        assert lab.ran() == ["a"]
        lab.exq("stop", "a")
        stopped = lab.wait_for_status("p/a", "stuck")
        assert (stopped["reason"], stopped["attempts"]) == ("StoppedByUser", 1)
        assert is_gone(pid)
        lab.wait("c has the slot", lambda: lab.ran() == ["a", "c"])
    (lab.work / "go").touch()
    lab.settle(code=3)
    assert lab.ran() == ["a", "c"], "what was stopped stays so when the loop is started again"
    lab.exq("retry", "a", "b")
    lab.settle()
    assert lab.ran() == ["a", "c", "a", "b"]


def test_what_ignores_term_is_killed_after_a_grace(lab: Lab) -> None:
    lab.spec(project({"a": "trap 'echo term >>ran' TERM; echo up >>ran; while :; do sleep 0.1; done"}))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["up"] and lab.status()["p/a"]["pid"])
        pid = lab.status()["p/a"]["pid"]
        lab.exq("stop", "a")
        lab.wait("it was asked to end", lambda: lab.ran() == ["up", "term"])
        assert lab.status()["p/a"]["reason"] == "Stopping"
        assert not is_gone(pid)
        stopped = lab.wait_for_status("p/a", "stuck", timeout_s=40)
    assert is_gone(pid)
    assert (stopped["reason"], stopped["exit_code"]) == ("StoppedByUser", 137)
    assert lab.ran() == ["up", "term"]


def test_retry_gives_a_stuck_job_another_try(lab: Lab) -> None:
    lab.spec(project({"a": "echo x >>ran; test -e mended"}))
    lab.settle(code=3)
    lab.exq("retry", "a")
    lab.settle(code=3)
    stuck = lab.status()["p/a"]
    assert (stuck["status"], stuck["reason"], stuck["attempts"]) == ("stuck", "CodeError", 2)
    (lab.work / "mended").touch()
    lab.settle(code=3)
    assert len(lab.ran()) == 2, "nobody asked for a third try yet"
    lab.exq("retry", "a")
    lab.settle()
    done = lab.status()["p/a"]
    assert (done["status"], done["attempts"], done["exit_code"]) == ("completed", 3, 0)
    lab.exq("retry", "a", code=1)
    lab.settle()
    assert len(lab.ran()) == 3, "what is completed is not run again"


def test_a_changed_command_gives_a_stuck_job_new_tries(lab: Lab) -> None:
    lab.spec(project({"a": "echo v1 >>ran; exit 1"}, failure_retry={"delay": 0, "max_attempts": 2}))
    lab.settle(code=3)
    assert lab.ran() == ["v1", "v1"]
    lab.spec(project({"a": "echo v2 >>ran; exit 1"}, failure_retry={"delay": 0, "max_attempts": 2}))
    (launch,) = lab.json("diff")["actions"]
    assert (launch["action"], launch["reason"], launch["attempt"]) == ("launch", "CommandChanged", 3)
    lab.settle(code=3)
    assert lab.ran() == ["v1", "v1", "v2", "v2"]
    lab.spec(project({"a": "echo v3 >>ran"}))
    lab.settle()
    assert lab.status()["p/a"]["status"] == "completed"


def test_requests_reach_a_job_that_waits_for_its_next_try(lab: Lab) -> None:
    policy = {"delay": "1h", "max_attempts": 3}
    lab.spec(project(dict.fromkeys("ab", "echo $EXQ_JOB >>ran; exit 1"), failure_retry=policy))
    with lab.daemon():
        lab.wait_for_status("p/a", "failed_other")
        lab.wait_for_status("p/b", "failed_other")
        assert lab.status()["p/a"]["until"]
        lab.exq("stop", "a")
        lab.exq("retry", "b")
        lab.wait("b is tried again at once", lambda: lab.ran().count("b") == 2)
        assert lab.wait_for_status("p/a", "stuck")["reason"] == "StoppedByUser"
        lab.exq("retry", "a")
        lab.wait("so is a, once it is asked for", lambda: lab.ran().count("a") == 2)


def test_pause_and_resume_of_a_job_and_of_a_project(lab: Lab) -> None:
    jobs = dict.fromkeys("abc", UNTIL_GO)
    lab.spec(project(jobs, max_parallel=3))
    lab.spec(project({"d": UNTIL_GO}, "q"), "q.yaml")
    lab.exq("pause", "p/b")
    lab.exq("pause", "q")
    with lab.daemon():
        lab.wait("the others run", lambda: sorted(lab.ran()) == ["a", "c"])
        status = lab.status()
        assert (status["p/b"]["reason"], status["q/d"]["reason"]) == ("Paused", "Paused")
        assert "exq resume p/b" in lab.exq("why", "b").stdout
        lab.exq("resume", "b")
        lab.wait("b runs", lambda: "b" in lab.ran())
        lab.exq("pause", "p")
        lab.wait("the request is taken", lambda: lab.json("status")["paused"] == ["p", "q"])
        lab.spec(project({**jobs, "e": UNTIL_GO}, max_parallel=9))
        assert lab.wait_for_status("p/e", "Paused")["status"] == "pending"
        assert [lab.status()[f"p/{job}"]["status"] for job in "abc"] == ["running"] * 3, "what runs goes on"
        lab.exq("resume")
        lab.wait("all run", lambda: sorted(lab.ran()) == ["a", "b", "c", "d", "e"])


# --- edits


def test_a_running_job_that_is_taken_out_is_left_alone(lab: Lab) -> None:
    lab.spec(project({"old": UNTIL_GO, "next": "echo next >>ran"}, max_parallel=1))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["old"])
        lab.spec(project({"next": "echo next >>ran"}, max_parallel=1))
        orphan = lab.wait_for_status("p/old", "Orphan")
        assert orphan["status"] == "running"
        assert "p/old" in lab.exq("diff", "--all").stdout
        assert lab.status()["p/next"]["reason"] == "NoFreeSlot"
        os.kill(orphan["pid"], 0)
        assert lab.json("diff")["actions"] == []
        (lab.work / "go").touch()
        lab.wait("the slot is given on", lambda: lab.ran() == ["old", "next"])
    lab.settle()
    assert (lab.verdict("p/old")["status"], lab.verdict("p/old")["exit_code"]) == ("completed", 0)
    assert "p/old" not in lab.status()


def test_a_job_that_is_taken_out_and_put_back_is_the_same(lab: Lab) -> None:
    path = lab.spec(project({"a": UNTIL_GO}))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["a"] and lab.status()["p/a"]["pid"])
        pid = lab.status()["p/a"]["pid"]
        path.unlink()
        lab.wait_for_status("p/a", "Orphan")
        lab.spec(project({"a": UNTIL_GO}))
        assert lab.wait_for_status("p/a", "Running")["pid"] == pid
        (lab.work / "go").touch()
        assert lab.wait_for_status("p/a", "completed", "stuck")["status"] == "completed"
    assert lab.ran() == ["a"]


def test_a_command_that_was_changed_as_it_ran_is_tried_when_the_old_one_failed(lab: Lab) -> None:
    lab.spec(project({"a": f"{UNTIL_GO}; exit 1"}))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["a"])
        lab.spec(project({"a": "echo new >>ran"}))
        lab.wait("the change is seen", lambda: lab.status()["p/a"]["drift"])
        assert lab.status()["p/a"]["status"] == "running"
        (lab.work / "go").touch()
        lab.wait_for_status("p/a", "completed")
    assert lab.ran() == ["a", "new"]


def test_an_edit_is_taken_up_at_once(lab: Lab) -> None:
    """Each well within the loop's timer (15 s), which starts anew with each look."""
    path = lab.spec(project({"j0": "echo j0 >>ran"}))
    with lab.daemon():
        lab.wait("the first ran", lambda: lab.ran() == ["j0"])
        for number in range(1, 4):
            lab.wait_for_status(f"p/j{number - 1}", "completed")
            jobs = {f"j{n}": f"echo j{n} >>ran" for n in range(number + 1)}
            path.write_text(project(jobs).replace("WORK", str(lab.work)))
            lab.wait(f"j{number} ran", lambda: lab.ran()[-1] == f"j{number}", timeout_s=10)  # noqa: B023
    assert lab.ran() == ["j0", "j1", "j2", "j3"]


def test_a_broken_edit_changes_nothing_and_other_files_go_on(lab: Lab) -> None:
    jobs = {"a": UNTIL_GO, "b": "echo b >>ran"}
    path = lab.spec(project(jobs, "one", max_parallel=1), "one.yaml")
    child = lab.start()
    lab.wait("a runs", lambda: lab.ran() == ["a"])
    lab.spec(project({"a": "exit 1"}, "one").replace('"id"', '"idd"'), "one.yaml")
    lab.spec(project({"t": "echo t >>ran"}, "two"), "two.yaml")
    lab.wait("the other file is taken up", lambda: lab.ran() == ["a", "t"])
    diff = lab.exq("diff", code=1).stdout
    assert re.search(rf"{path}:\d+:\d+: .*idd", diff), diff
    assert lab.status()["one/a"]["status"] == "running"
    assert lab.status()["one/b"]["status"] == "pending"
    lab.kill(child)
    with lab.daemon():
        (lab.work / "go").touch()
        lab.wait("b of the last good version runs", lambda: lab.ran() == ["a", "t", "b"])
        lab.spec(project({**jobs, "c": "echo c >>ran"}, "one"), "one.yaml")
        lab.wait("the mended file is taken up", lambda: lab.ran() == ["a", "t", "b", "c"])
        lab.wait_for_status("one/c", "completed")
    lab.exq("diff")


# --- outputs


def test_a_job_whose_output_is_there_is_not_launched(lab: Lab) -> None:
    (lab.work / "out_1.json").write_text("{}")
    lab.spec(project({"a": {"cmd": "echo a >>ran", "output_check": "out_*.json"}}))
    assert [action["reason"] for action in lab.json("diff")["actions"]] == ["OutputExists"]
    lab.settle()
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"], job["attempts"]) == ("completed", "OutputExists", 0)
    assert lab.ran() == []
    assert not lab.attempt("p/a").exists()


def test_the_output_of_a_failed_attempt_does_not_complete_the_next(lab: Lab) -> None:
    cmd = "echo $EXQ_ATTEMPT_NUMBER >>ran; case $EXQ_ATTEMPT_NUMBER in 1) echo x >out; exit 1;; 3) echo y >out;; esac"
    policy = {"delay": 0, "max_attempts": 2}
    lab.spec(project({"a": {"cmd": cmd, "output_check": "out"}}, failure_retry=policy))
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"], job["exit_code"]) == ("stuck", "OutputMissing", 0)
    assert "leftovers" in job["message"]
    lab.exq("retry", "a")
    lab.settle()
    assert lab.ran() == ["1", "2", "3"]
    assert lab.status()["p/a"]["status"] == "completed"


def test_a_hung_tail_is_ended_and_counts_as_completed(lab: Lab) -> None:
    cmd = "echo $BASHPID >pid; echo x >out; exec sleep 1000"
    lab.spec(project({"a": {"cmd": cmd, "output_check": "out"}}, linger="3s"))
    lab.settle()
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"]) == ("completed", "HungTail")
    assert is_gone(int((lab.work / "pid").read_text()))
    assert ("kill", "HungTail") in actions(lab, "p/a")
    assert lab.sessions() == []


def test_a_job_that_works_on_after_its_output_is_not_ended(lab: Lab) -> None:
    cmd = "echo x >out; for i in $(seq 40); do echo step $i; sleep 0.1; done; echo end >>ran"
    lab.spec(project({"a": {"cmd": cmd, "output_check": "out"}}, linger="1s"))
    lab.settle()
    job = lab.status()["p/a"]
    assert (job["status"], job["reason"], job["exit_code"]) == ("completed", "Succeeded", 0)
    assert lab.ran() == ["end"]
    assert not [action for action in actions(lab, "p/a") if action[0] == "kill"]


# --- screens and stragglers


@pytest.fixture
def zombies(lab: Lab) -> None:
    """Screens stay when what ran in them has ended: by the user's own settings, and by those of the whole machine."""
    for path in (lab.root / "home" / ".screenrc", lab.root / "screenrc"):
        path.write_text("zombie kr\n")
    lab.env["SYSSCREENRC"] = str(lab.root / "screenrc")


def start_screens(lab: Lab, *names: str) -> list[str]:
    """Sessions of the user that are none of exq's; their addresses."""
    for name in names:
        subprocess.run(["screen", "-dmS", name, "sleep", "600"], env=lab.env, check=True)
    lab.wait("they are there", lambda: len(lab.sessions()) == len(names))
    return lab.sessions()


@pytest.mark.usefixtures("zombies")
def test_a_stale_screen_is_quit_and_no_other(lab: Lab) -> None:
    others = start_screens(lab, "exq.p.good.10", "exq.p.good", "my.exq.p.good.1", "exq.p.good.1.mine")
    lab.spec(
        project(
            {
                "good": {"cmd": "echo x >good", "output_check": "good"},
                "bad": {"cmd": "true", "output_check": "bad"},
            }
        )
    )
    lab.settle(code=3)
    status = lab.status()
    assert (status["p/good"]["status"], status["p/good"]["reason"]) == ("completed", "Succeeded")
    assert (status["p/bad"]["status"], status["p/bad"]["reason"]) == ("stuck", "OutputMissing")
    assert lab.verdict("p/bad")["status"] == "failed_other"
    assert ("kill", "StaleScreen") in actions(lab, "p/good")
    assert ("kill", "StaleScreen") in actions(lab, "p/bad")
    assert lab.sessions() == others


@pytest.mark.usefixtures("zombies")
def test_a_screen_of_the_same_name_in_another_state_folder_is_left_alone(lab: Lab) -> None:
    """Two folders of specs may both have a project `p` with a job `a`; screen takes equal names."""
    lab.spec(project({"a": "echo first >>ran; sleep 600"}))
    lab.exq("run", "--once")
    lab.wait("it runs", lambda: lab.ran() == ["first"] and len(lab.sessions()) == 1)
    other = lab.sessions()
    lab.env["EXQ_STATE"] = str(lab.root / "state2")
    lab.spec(project({"a": "echo second >>ran"}))
    lab.settle()
    assert lab.ran() == ["first", "second"]
    assert lab.sessions() == other


def test_a_job_survives_that_its_screen_is_quit(lab: Lab) -> None:
    lab.spec(project({"a": f"{UNTIL_GO}; exit 0"}))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["a"] and len(lab.sessions()) == 1)
        subprocess.run(["screen", "-S", lab.sessions()[0], "-X", "quit"], env=lab.env, check=True)
        lab.wait("its screen is gone", lambda: not lab.sessions())
        lab.nudge()
        assert lab.wait_for_status("p/a", "ScreenGone")["status"] == "running"
        (lab.work / "go").touch()
        done = lab.wait_for_status("p/a", "completed", "stuck")
    assert (done["status"], done["exit_code"], done["attempts"]) == ("completed", 0, 1)
    assert lab.ran() == ["a"]


def test_what_a_job_leaves_running_is_said_and_ended_after_the_linger_time(lab: Lab) -> None:
    lab.spec(project({"a": "setsid sleep 1000 & echo $! >pid"}, linger="4s"))
    with lab.daemon():
        lab.wait_for_status("p/a", "completed")
        pid = int((lab.work / "pid").read_text())
        assert not is_gone(pid)
        lab.wait("it is ended", lambda: is_gone(pid))
        lab.wait("that is recorded", lambda: ("kill", "Stragglers") in actions(lab, "p/a"))
    assert f"left running after the job ended: pid {pid}" in lab.exq("history", "a").stdout
    lab.settle()


# --- the end of a project


@pytest.mark.parametrize("moment", ["p/a/1/exit.json", "p/a/1/verdict.json", "summary.md", "p/@analyze/1/intent.json"])
def test_the_analysis_runs_once_whenever_the_loop_is_killed(lab: Lab, moment: str) -> None:
    lab.spec(project({"a": "echo a >>ran"}, analyze_on_complete='echo "$EXQ_RUN_DIR" >>analysed'))
    child = lab.start()
    found: Callable[[], bool] = (lab.state / "attempts" / moment).exists
    if moment == "summary.md":
        found = lambda: any(lab.work.glob("experiment_queue/*/summary.md"))  # noqa: E731
    while not found():
        assert child.poll() is None
    lab.kill(child)
    lab.settle()
    lab.settle()
    lab.wait("the analysis", lambda: lab.ran("analysed"))
    assert lab.ran() == ["a"]
    (folder,) = lab.ran("analysed")
    assert (Path(folder) / "summary.md").exists()


def test_the_analysis_runs_again_for_the_next_run(lab: Lab) -> None:
    lab.spec(project({"a": "true"}, analyze_on_complete="echo x >>analysed"))
    lab.settle()
    lab.spec(project({"a": "true", "b": "true"}, analyze_on_complete="echo x >>analysed"))
    lab.settle()
    lab.wait("both analyses", lambda: len(lab.ran("analysed")) == 2)
    lab.settle()
    assert len(lab.ran("analysed")) == 2


def test_summary_and_manifest_say_what_was_run(lab: Lab) -> None:
    lab.spec(
        """
        project: distill
        cwd: WORK
        gpus: none
        max_parallel: 2
        oom_retry: {delay: 0s, max_attempts: 2}
        phases:
          - name: train_teachers
            grid: {N: [1, 2]}
            template:
              id: t${N}
              cmd: echo x > t${N}.pt
              output_check: t${N}.pt
          - name: distill_students
            depends_on: train_teachers
            jobs:
              - id: s1
                cmd: "[ $EXQ_ATTEMPT_NUMBER = 2 ] || { echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1; }"
              - {id: s2, cmd: exit 5}
        """
    )
    lab.settle(code=3)
    (folder,) = (lab.work / "experiment_queue").iterdir()
    summary = (folder / "summary.md").read_text()
    for words in (
        "# Experiment Queue Summary",
        "**Project**: distill",
        "**Jobs**: 2 completed, 1 OOM-retried then completed, 1 stuck",
        "| train_teachers | 2 | 2 | 0 |",
        "| distill_students | 2 | 1 | 1 |",
        "2 PT files in `t*.pt`",
        "distill/s2",
    ):
        assert words in summary, summary
    manifest = json.loads((folder / "manifest.json").read_text())
    jobs = [job for phase in manifest["phases"] for job in phase["jobs"]]
    assert [job["id"] for job in jobs] == ["t1", "t2", "s1", "s2"]
    assert (jobs[1]["cmd"], jobs[1]["params"], jobs[1]["cwd"]) == ("echo x > t2.pt", {"N": 2}, str(lab.work))
    assert manifest["phases"][1]["depends_on"] == ["train_teachers"]
    assert lab.exq("report", "distill").stdout.startswith("# Experiment Queue Summary")


# --- being told


def test_logs_follow_a_job_to_its_end(lab: Lab) -> None:
    lab.spec(project({"a": f"printf 'one\\ntwo \\303\\244\\n'; {UNTIL_GO}; printf 'three, no newline'; exit 4"}))
    with lab.daemon():
        lab.wait("it runs", lambda: lab.ran() == ["a"])
        follower = lab.start("logs", "a", "-f")
        lab.wait("what it wrote so far", lambda: "two" in lab.exq("logs", "a").stdout)
        assert follower.poll() is None
        (lab.work / "go").touch()
        assert follower.wait(timeout=30) == 0
        said = lab.kill(follower)
    assert "one\ntwo ä\nthree, no newline" in said
    assert "exit 4" in said
    assert lab.exq("logs", "a", "-n", "1").stdout == "three, no newline"


def test_why_and_history_tell_the_story(lab: Lab) -> None:
    lab.spec(project({"a": "echo 'ValueError: bad news' >&2; exit 3", "b": "true"}, max_parallel=1))
    lab.settle(code=3)
    lab.exq("retry", "a")
    lab.settle(code=3)
    why = lab.exq("why", "a").stdout
    assert why.startswith("p/a is stuck: CodeError")
    assert "bad news" in why
    assert "exq retry" in why
    assert [a["exit_code"] for a in lab.json("why", "a")["attempts"]] == [3, 3]
    assert lab.exq("why", "b").stdout.startswith("p/b is completed: Succeeded")
    told = [(r.get("action"), r.get("attempt")) for r in lab.json("history", "a", "-n", "0")["records"]]
    outcomes = [step for step in dict.fromkeys(told) if step[0] is not None]
    assert outcomes == [("launch", 1), ("fail", 1), ("retry", None), ("launch", 2), ("fail", 2)]
    lines = lab.exq("history", "a").stdout.splitlines()
    assert len(lines) == 5, lines


# --- the state folder


def damage(lab: Lab, how: str) -> None:
    """What a bad disk or a wrong command does to the ledger."""
    ledger = lab.state / "ledger.sqlite3"
    if how == "deleted":
        for path in lab.state.glob("ledger.sqlite3*"):
            path.unlink()
        return
    with closing(sqlite3.connect(ledger)) as connection:  # everything into the one file
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if how == "garbage":
        ledger.write_bytes(os.urandom(ledger.stat().st_size))
    else:
        os.truncate(ledger, ledger.stat().st_size // 2)


@pytest.mark.parametrize("alive", [False, True], ids=["loop down", "loop up"])
@pytest.mark.parametrize("how", ["deleted", "garbage", "truncated"])
def test_a_lost_ledger_is_rebuilt_while_jobs_run(lab: Lab, how: str, alive: bool) -> None:
    jobs = {"done": "echo done >>ran", "bad": "echo bad >>ran; exit 3", "a": UNTIL_GO, "b": "echo b >>ran"}
    lab.spec(project(jobs, max_parallel=1))
    child = lab.start()
    lab.wait("a runs", lambda: lab.ran() == ["done", "bad", "a"])
    lab.wait("its pid is known", lambda: lab.status()["p/a"]["pid"])
    pid = lab.status()["p/a"]["pid"]
    if not alive:
        lab.kill(child)
    damage(lab, how)
    if not alive:
        child = lab.start()
        lab.wait("a is known again", lambda: lab.status().get("p/a", {}).get("pid") == pid)
        assert lab.status()["p/bad"]["status"] == "stuck"
    (lab.work / "go").touch()
    lab.wait("b ran", lambda: "b" in lab.ran(), timeout_s=40)
    lab.kill(child)
    lab.settle(code=3)
    assert lab.ran() == ["done", "bad", "a", "b"]
    status = lab.status()
    assert {key: (job["status"], job["exit_code"], job["attempts"]) for key, job in status.items()} == {
        "p/done": ("completed", 0, 1),
        "p/bad": ("stuck", 3, 1),
        "p/a": ("completed", 0, 1),
        "p/b": ("completed", 0, 1),
    }
    kept = [path for path in lab.state.iterdir() if "damaged" in path.name]
    assert alive or bool(kept) == (how != "deleted"), kept


def test_a_second_loop_is_refused_by_name(lab: Lab) -> None:
    lab.spec(project({"a": UNTIL_GO}))
    with lab.daemon() as first:
        lab.wait("a runs", lambda: lab.ran() == ["a"])
        refused = lab.exq("run", code=75)
        assert f"pid {first.pid}" in refused.stderr
        assert first.poll() is None
        lab.kill(first)
        (lab.work / "go").touch()
        lab.settle()
    assert lab.ran() == ["a"]


# --- environments and parameters


def test_an_environment_that_cannot_be_set_up(lab: Lab) -> None:
    lab.env["FAKE_CONDA_ENVS"] = str(lab.work / "envs")
    (lab.work / "envs" / "good" / "bin").mkdir(parents=True)
    lab.spec(
        project(
            {
                "good": {"conda": "good", "cmd": "echo $CONDA_DEFAULT_ENV >>ran"},
                "none": {"conda": "nowhere", "cmd": "echo none >>ran"},
                "cwd": {"cwd": "WORK/missing", "cmd": "echo cwd >>ran"},
            },
            conda_hook=str(FAKEBIN / "conda"),
            failure_retry={"delay": 0, "max_attempts": 5},
        )
    )
    lab.settle(code=3)
    assert lab.ran() == ["good"]
    status = lab.status()
    assert status["p/good"]["status"] == "completed"
    for key, words in {"p/none": ("nowhere", "EnvironmentNameNotFound"), "p/cwd": (f"{lab.work}/missing",)}.items():
        assert (status[key]["status"], status[key]["reason"]) == ("stuck", "EnvironmentBroken")
        assert all(word in status[key]["message"] for word in words), status[key]["message"]
        assert not lab.attempt(key, 2).exists(), "the same would only happen again"


def test_folders_with_hostile_names(lab: Lab) -> None:
    lab.env["EXQ_STATE"] = str(lab.root / 'st ate\'s "x" %s')
    odd = lab.work / 'o\'dd "x" * %d'
    odd.mkdir()
    jobs = {"a": {"cmd": 'echo x >"out [1].json"', "cwd": str(odd), "output_check": "out*.json"}}
    lab.spec(project(jobs, env={"QUOTED": 'it\'s "x"'}))
    lab.settle()
    assert lab.status()["p/a"]["status"] == "completed"
    assert lab.sessions() == []
    lab.settle()


HOSTILE = [
    "plain",
    "two words",
    "'single' \"double\"",
    "$(touch pwned) `touch pwned` ${HOME} $HOME",
    "; touch pwned; #",
    "a && touch pwned || touch pwned",
    "*?[a-z]{a,b}",
    "back\\slash\\n",
    "line\nbreak",
    "-rf",
    "~",
    "%s%d%%",
    "ünïcode ✓",
    "!history",
]


def test_hostile_parameters_arrive_as_they_are(lab: Lab) -> None:
    (lab.work / "say").write_text('#!/bin/sh\nprintf \'%s\' "$2" >"value_$1"\n')
    (lab.work / "say").chmod(0o755)
    lab.spec(
        f"project: p\ncwd: WORK\ngpus: none\nmax_parallel: 4\nlauncher: screen\n"
        f"grid: {{value: {json.dumps(HOSTILE)}}}\n"
        "template: {cmd: './say $EXQ_JOB ${value}'}\n"
    )
    lab.settle(timeout_s=100)
    status = lab.status()
    assert len(status) == len(HOSTILE)
    assert {job["status"] for job in status.values()} == {"completed"}
    arrived = [path.read_text() for path in lab.work.glob("value_*")]
    assert sorted(arrived) == sorted(HOSTILE)
    assert not (lab.work / "pwned").exists()
