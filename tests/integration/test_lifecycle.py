"""The life of jobs as users see it: stopping, retrying, pausing, editing, and what counts as done."""

from __future__ import annotations

import os
import re

import pytest

from tests.integration.lab import UNTIL_GO, Lab, is_gone, project

pytestmark = pytest.mark.needs("screen")


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
    assert ("kill", "HungTail") in lab.done_to("p/a")
    assert lab.sessions() == []


def test_a_job_that_works_on_after_its_output_is_not_ended(lab: Lab) -> None:
    cmd = "echo x >out; while :; do echo step; [ -e go ] && break; sleep 0.1; done; echo end >>ran"
    lab.spec(project({"a": {"cmd": cmd, "output_check": "out"}}, linger="1s"))
    with lab.daemon():
        lab.wait("its output", (lab.work / "out").exists)
        log = lab.attempt("p/a") / "log"
        for _ in range(4):  # looked at again and again, for longer than the linger time
            size = log.stat().st_size
            lab.wait("it works on", lambda size=size: log.stat().st_size > size + 25)
            lab.nudge()
            assert lab.status()["p/a"]["reason"] == "Running"
        (lab.work / "go").touch()
        job = lab.wait_for_status("p/a", "completed", "stuck")
    assert (job["status"], job["reason"], job["exit_code"]) == ("completed", "Succeeded", 0)
    assert lab.ran() == ["end"]
    assert not [done for done in lab.done_to("p/a") if done[0] == "kill"]
