"""The ten failures of the system that inspired exq, each with real screens and real processes."""

from __future__ import annotations

import os

import pytest

from tests.integration.lab import Lab

pytestmark = pytest.mark.needs("screen")

HEAD = """
    project: {project}
    cwd: WORK
    gpus: none
    max_parallel: 2
    launcher: screen
"""


def head(project: str = "p") -> str:
    return HEAD.format(project=project)


def test_1_a_glob_in_an_output_matches(lab: Lab) -> None:
    lab.spec(
        head()
        + """
    phases:
      - name: distill
        grid: {N: [384], seed: [42]}
        template:
          cmd: mkdir -p figures && echo '{}' > figures/pcdistill_sw_N${N}_lam0.5_seed${seed}.json
          output_check: figures/pcdistill_sw_N${N}_*_seed${seed}.json
    """
    )
    lab.settle()
    (job,) = lab.status().values()
    assert job["status"] == "completed"
    assert [os.path.basename(path) for path in job["output"]] == ["pcdistill_sw_N384_lam0.5_seed42.json"]


def test_2_a_live_screen_is_seen(lab: Lab) -> None:
    lab.spec(head() + "    jobs: [{id: a, cmd: 'echo a >> ran; sleep 60'}]\n")
    lab.exq("run", "--once")
    lab.wait("the job runs", lambda: lab.status()["p/a"]["pid"])
    job = lab.status()["p/a"]
    assert job["status"] == "running"
    assert job["session"] in lab.sessions()[0]
    lab.exq("run", "--once")
    assert lab.ran() == ["a"]
    assert lab.status()["p/a"]["status"] == "running"
    assert len(lab.sessions()) == 1


def test_3_a_failed_job_settles(lab: Lab) -> None:
    lab.spec(head() + "    jobs: [{id: bad, cmd: 'exit 3'}, {id: good, cmd: 'true'}]\n")
    lab.settle(code=3)
    status = lab.status()
    assert status["p/bad"]["status"] == "stuck"
    assert status["p/bad"]["exit_code"] == 3
    assert status["p/good"]["status"] == "completed"
    assert lab.json("diff")["actions"] == []


def test_4_students_do_not_start_after_a_stuck_teacher(lab: Lab) -> None:
    lab.spec(
        head()
        + """
    phases:
      - name: teachers
        jobs: [{id: t1, cmd: "exit 1"}, {id: t2, cmd: "true"}]
      - name: students
        depends_on: teachers
        jobs: [{id: s1, cmd: "echo s1 >> ran"}]
    """
    )
    lab.settle(code=3)
    student = lab.status()["p/s1"]
    assert (student["status"], student["reason"]) == ("pending", "NeedsStuck")
    assert "t1" in student["message"]
    assert lab.ran() == []


def test_5_an_early_output_does_not_kill_live_training(lab: Lab) -> None:
    lab.spec(
        head()
        + """
    jobs:
      - id: a
        cmd: echo early > out.json; sleep 3; echo end >> ran
        output_check: out.json
    """
    )
    with lab.daemon():
        lab.wait("the early output", (lab.work / "out.json").exists)
        lab.exq("status")
        lab.wait("the end of the training", lambda: lab.ran() == ["end"])
        lab.wait("completed", lambda: lab.status()["p/a"]["status"] == "completed")
    assert lab.status()["p/a"]["exit_code"] == 0


def test_6_the_exit_code_is_not_lost_in_a_pipe(lab: Lab) -> None:
    lab.spec(head() + "    jobs: [{id: a, cmd: '(echo training; exit 7) | tee train.log'}]\n")
    lab.settle(code=3)
    job = lab.status()["p/a"]
    assert (job["status"], job["exit_code"]) == ("stuck", 7)


def test_7_two_projects_with_one_job_id_do_not_touch_each_other(lab: Lab) -> None:
    lab.spec(head("one") + "    jobs: [{id: s1, cmd: 'echo one >> ran; sleep 60'}]\n", "one.yaml")
    two = "    jobs: [{id: s1, cmd: 'echo two >> ran; sleep 60'}, {id: s10, cmd: sleep 60}]\n"
    lab.spec(head("two") + two, "two.yaml")
    with lab.daemon():
        lab.wait("both run", lambda: sorted(lab.ran()) == ["one", "two"])
        lab.wait("all run", lambda: all(job["pid"] for job in lab.status().values()))
        pids = {key: job["pid"] for key, job in lab.status().items()}
        lab.exq("stop", "two/s1")
        lab.wait("two/s1 is stopped", lambda: lab.status()["two/s1"]["status"] == "stuck")
        status = lab.status()
    assert status["one/s1"]["status"] == "running"
    assert status["two/s10"]["status"] == "running"
    os.kill(pids["one/s1"], 0)
    os.kill(pids["two/s10"], 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pids["two/s1"], 0)


def test_8_depends_on_may_be_a_string(lab: Lab) -> None:
    lab.spec(
        head()
        + """
    phases:
      - name: teachers
        jobs: [{id: t, cmd: "sleep 0.5; echo t >> ran"}]
      - name: students
        depends_on: teachers
        jobs: [{id: s, cmd: "echo s >> ran"}]
    """
    )
    lab.settle()
    assert lab.ran() == ["t", "s"]


def test_9_a_changed_command_is_noticed(lab: Lab) -> None:
    lab.spec(head() + "    jobs: [{id: a, cmd: 'echo v1 >> ran'}, {id: b, cmd: 'sleep 60'}]\n")
    with lab.daemon():
        lab.wait("a is completed", lambda: lab.status()["p/a"]["status"] == "completed")
        lab.wait("b runs", lambda: lab.status()["p/b"]["pid"])
    lab.spec(head() + "    jobs: [{id: a, cmd: 'echo v2 >> ran'}, {id: b, cmd: 'sleep 61'}]\n")
    status = lab.status()
    assert status["p/a"]["drift"]
    assert status["p/b"]["drift"]
    assert (status["p/a"]["status"], status["p/b"]["status"]) == ("completed", "running")
    assert "changed" in lab.exq("diff").stdout
    assert lab.json("diff")["actions"] == []
    os.kill(status["p/b"]["pid"], 0)
    assert lab.ran() == ["v1"]


def test_10_preconditions_are_heeded(lab: Lab) -> None:
    lab.spec(
        head()
        + """
    preconditions:
      - {type: checkpoint_exists, path: "ckpt_N{N}.pt"}
    grid: {N: [1, 2]}
    template: {id: "s${N}", cmd: "echo s${N} >> ran"}
    """
    )
    (lab.work / "ckpt_N1.pt").write_text("weights")
    with lab.daemon():
        lab.wait("s1 ran", lambda: lab.ran() == ["s1"])
        held = lab.status()["p/s2"]
        assert (held["status"], held["reason"]) == ("pending", "PreconditionNotMet")
        assert str(lab.work / "ckpt_N2.pt") in held["message"]
        (lab.work / "ckpt_N2.pt").write_text("weights")
        lab.wait("s2 ran", lambda: lab.ran() == ["s1", "s2"])


def test_a_killed_loop_loses_and_repeats_nothing(lab: Lab) -> None:
    jobs = ", ".join(f"{{id: j{i}, cmd: 'echo j{i} >> ran; sleep 0.2'}}" for i in range(12))
    lab.spec(head() + f"    jobs: [{jobs}]\n")
    for ran in (1, 3, 5, 8, 10):
        with lab.daemon():
            lab.wait(f"{ran} jobs ran", lambda ran=ran: len(lab.ran()) >= ran)
    lab.settle()
    assert sorted(lab.ran()) == sorted(f"j{i}" for i in range(12))
    assert {job["exit_code"] for job in lab.status().values()} == {0}
