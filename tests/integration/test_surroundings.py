"""What jobs and loops live in: the state folder, environments, and names and values of any kind."""

from __future__ import annotations

import json
import os
import sqlite3
import venv
from contextlib import closing

import pytest

from tests.integration.lab import FAKEBIN, UNTIL_GO, Lab, project

pytestmark = pytest.mark.needs("screen")


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
    lab.start()
    lab.wait_for_status("p/good", "completed")
    told = {"p/none": ("nowhere", "EnvironmentNameNotFound"), "p/cwd": (f"{lab.work}/missing",)}
    for key, words in told.items():
        found = lab.wait_for_status(key, "stuck")
        assert found["reason"] == "EnvironmentBroken"
        assert all(word in found["message"] for word in words), found["message"]
    assert lab.ran() == ["good"]
    refused = lab.exq("retry", "p/good", code=1).stderr
    assert "completed" in refused

    (lab.work / "envs" / "nowhere" / "bin").mkdir(parents=True)
    (lab.work / "missing").mkdir()
    lab.exq("retry", "p/none", "p/cwd")
    for key in told:
        assert lab.wait_for_status(key, "completed")["attempts"] == 2, "one that told, and one that was asked for"


def test_one_broken_environment_and_many_jobs(lab: Lab) -> None:
    """What its first wave tells holds the others back: they are not tried, and all run once it is mended."""
    jobs = {f"j{number:02}": {"cmd": f"echo j{number:02} >>ran"} for number in range(40)}
    lab.spec(project(jobs, max_parallel=4, venv=".venv", launcher="process"))
    lab.start()
    held = lab.wait_for_status("p/j39", "EnvironmentBroken")
    assert "the virtual environment .venv is not there (attempt 1 of p/j0" in held["message"]
    lab.wait("it to be quiet", lambda: sum(job["attempts"] for job in lab.status().values()) == 4)
    lab.wait("all to be stuck", lambda: {job["status"] for job in lab.status().values()} == {"stuck"})
    why = lab.exq("why", "j39").stdout
    assert "a running loop looks whether that is mended at" in why and "exq doctor, exq retry j0" in why
    assert "has not been tried itself" in lab.exq("retry", "j39", code=1).stderr

    venv.create(lab.work / ".venv")
    lab.exq("retry", "j00")
    lab.wait("all to be completed", lambda: all(job["status"] == "completed" for job in lab.status().values()))
    assert sorted(lab.ran()) == sorted(jobs)
    assert all(job["attempts"] <= 2 for job in lab.status().values())


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


def test_a_project_for_another_host_runs_only_where_that_is_this_one(lab: Lab) -> None:
    lab.spec("project: p\nssh: gpu-box\ncwd: WORK\ngpus: none\njobs: [{id: a, cmd: echo a >> ran}]\n")
    held = lab.json("diff", "--exit-code", code=3)
    assert [hold["reason"] for hold in held["holds"]] == ["HostUnknown"]
    assert "gpu-box" in held["holds"][0]["message"]
    lab.env["EXQ_HOST"] = "box gpu-box"
    lab.settle()
    assert lab.ran() == ["a"]
