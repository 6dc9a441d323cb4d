"""What is left when a job or a project ends: screens, processes, summaries, and the story to tell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.lab import UNTIL_GO, Lab, is_gone, project

pytestmark = pytest.mark.needs("screen")


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
    assert ("kill", "StaleScreen") in lab.done_to("p/good")
    assert ("kill", "StaleScreen") in lab.done_to("p/bad")
    assert lab.sessions() == others


@pytest.mark.usefixtures("zombies")
def test_a_wave_is_over_when_its_stale_screens_are_gone(lab: Lab) -> None:
    lab.spec(project({"a": "true", "b": "true", "c": 'ls "$SCREENDIR" >>ran'}, waves="barrier"))
    lab.settle()
    assert [name.partition(".")[2] for name in lab.ran()] == ["exq.p.c.1"]


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
        lab.wait("that is recorded", lambda: ("kill", "Stragglers") in lab.done_to("p/a"))
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
