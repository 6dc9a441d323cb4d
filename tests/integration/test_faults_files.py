"""Damaged attempt folders and spec files of every odd kind: said with their place, and nobody else's trouble."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.lab import Lab
from tests.integration.test_faults import (
    WAIT,
    attempt,
    check_nothing_left,
    check_said,
    is_alive,
    let_go,
    project,
    started,
)

NOBODY = 65534

# --- attempt folders


@pytest.mark.parametrize("launcher", ["screen", "process"])
@pytest.mark.needs("screen")
def test_a_damaged_start_record_is_unknown_until_it_is_mended(lab: Lab, launcher: str) -> None:
    project(lab, f"{{id: a, cmd: 'echo a >> ran; {WAIT}'}}", launcher=launcher)
    with lab.daemon():
        pid = started(lab)["pid"]
        lab.wait("it runs", lambda: lab.status()["p/a"]["status"] == "running")
        file = attempt(lab) / "started.json"
        good = file.read_text()
        for bad in ("garbage\n", "[]\n", "\0" * 100 + "\n"):
            file.write_text(bad)
            check_said(lab, "p/a", "AttemptUnknown", "started.json is damaged")
            lab.exq("retry", "p/a", code=None)  # a look, and whatever a user may try
            assert is_alive(pid)
        file.write_text(good)
        lab.wait("it runs again", lambda: lab.status()["p/a"]["reason"] == "Running")
        let_go(lab)
        lab.wait("completed", lambda: lab.status()["p/a"]["status"] == "completed")
    job = lab.status()["p/a"]
    assert (job["exit_code"], job["attempts"]) == (0, 1)
    assert lab.ran() == ["a"]
    lab.settle()
    check_nothing_left(lab)


def test_a_start_record_that_names_no_process_is_the_trouble_of_its_attempt_alone(lab: Lab) -> None:
    project(lab, f"{{id: a, cmd: 'echo a >> ran; {WAIT}'}}", launcher="process")
    with lab.daemon():
        pid = started(lab)["pid"]
        (attempt(lab) / "started.json").write_text('{"boot_id": 7}\n')
        project(lab, "{id: b, cmd: 'echo b >> ran'}", "q", launcher="process")
        check_said(lab, "p/a", "AttemptUnknown", "started.json is damaged")
        lab.wait("the other job is completed", lambda: lab.status()["q/b"]["status"] == "completed")
        assert is_alive(pid)
    assert lab.ran() == ["a", "b"]


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_start_record_cut_short_costs_nothing(lab: Lab, cut: int) -> None:
    project(lab, f"{{id: a, cmd: 'echo a >> ran; {WAIT}'}}", launcher="process")
    with lab.daemon():
        pid = started(lab)["pid"]
        file = attempt(lab) / "started.json"
        file.write_text(file.read_text()[:cut])
        assert lab.status()["p/a"]["status"] == "running"
        assert lab.json("diff")["actions"] == []
        assert is_alive(pid)
        let_go(lab)
        lab.wait("completed", lambda: lab.status()["p/a"]["status"] == "completed")
    assert lab.status()["p/a"]["exit_code"] == 0
    assert lab.ran() == ["a"]
    lab.settle()
    check_nothing_left(lab)


@pytest.mark.parametrize("bad", ["garbage\n", "[1]\n", '{"code": "x"}\n', "{}\n", '{"code": 0\n'])
def test_a_damaged_exit_record_is_unknown_until_it_is_mended(lab: Lab, bad: str) -> None:
    project(lab, "{id: a, cmd: 'echo a >> ran'}", launcher="process")
    lab.exq("run", "--once")
    file = attempt(lab) / "exit.json"
    lab.wait("it has ended", lambda: file.exists() and file.read_text().endswith("\n") and lab.own_pids() == [])
    good = file.read_text()
    file.write_text(bad)
    check_said(lab, "p/a", "AttemptUnknown", "")
    assert lab.json("diff")["unknown"] != []
    lab.exq("run", "--once")
    assert lab.ran() == ["a"]
    assert file.read_text() == bad
    file.write_text(good)
    lab.settle()
    job = lab.status()["p/a"]
    assert (job["status"], job["exit_code"], job["attempts"]) == ("completed", 0, 1)
    assert lab.ran() == ["a"]


def test_an_exit_record_cut_short_is_none(lab: Lab) -> None:
    """A shim writes it in one piece: so it was cut by a power failure, and the outputs decide."""
    project(
        lab,
        "{id: a, cmd: 'echo a >> ran; echo > a.out', output_check: a.out}, {id: b, cmd: 'echo b >> ran'}",
        launcher="process",
    )
    lab.exq("run", "--once")
    for key in ("p/a", "p/b"):
        file = attempt(lab, key) / "exit.json"
        lab.wait("it has ended", lambda file=file: file.exists() and lab.own_pids() == [])
        file.write_text(file.read_text()[:9])
    lab.settle(code=3)
    reasons = {key: job["reason"] for key, job in lab.status().items()}
    assert reasons == {"p/a": "OutputFound", "p/b": "PayloadVanished"}
    assert sorted(lab.ran()) == ["a", "b"]


@pytest.mark.parametrize("name", ["claim", "intent.json", "job.sh"])
@pytest.mark.parametrize("text", [None, "", "garbage\n"])
def test_other_files_of_a_live_attempt_are_not_missed(lab: Lab, name: str, text: str | None) -> None:
    project(lab, f"{{id: a, cmd: 'echo a >> ran; {WAIT}'}}", launcher="process")
    with lab.daemon():
        pid = started(lab)["pid"]
        lab.wait("it runs", lambda: lab.status()["p/a"]["reason"] == "Running")
        if text is None:
            (attempt(lab) / name).unlink()
        else:
            (attempt(lab) / name).write_text(text)
        assert lab.status()["p/a"]["status"] == "running"
        assert lab.json("diff")["actions"] == []
        lab.exq("run", "--once", code=75)
        assert is_alive(pid)
        let_go(lab)
        lab.wait("completed", lambda: lab.status()["p/a"]["status"] == "completed")
    job = lab.status()["p/a"]
    assert (job["exit_code"], job["attempts"]) == (0, 1)
    assert lab.ran() == ["a"]


@pytest.mark.parametrize("launcher", ["screen", "process"])
@pytest.mark.needs("screen")
def test_a_folder_that_is_removed_under_a_running_attempt_ends_nothing(lab: Lab, launcher: str) -> None:
    other = "until [ -e go-b ]; do sleep 0.1; done"
    jobs = f"{{id: a, cmd: 'echo a >> ran; {WAIT}'}}, {{id: b, cmd: '{other}'}}"
    project(lab, jobs, launcher=launcher, more="linger: 1s")
    with lab.daemon():
        pid = started(lab)["pid"]
        started(lab, "p/b")
        lab.wait("it runs", lambda: lab.ran() and lab.status()["p/a"]["reason"] == "Running")
        shutil.rmtree(attempt(lab))
        (lab.work / "go-b").touch()  # the end of another job makes the loop look, though not at everything
        lab.wait("the other has ended", lambda: lab.status()["p/b"]["status"] == "completed")
    for _ in range(3):
        job = lab.status()["p/a"]
        assert (job["status"], "its attempt folder is gone" in job["message"]) == ("running", True)
        assert lab.json("diff")["actions"] == []
        lab.exq("run", "--once")
    assert is_alive(pid)
    let_go(lab)
    lab.settle(code=3)
    job = lab.status()["p/a"]  # its exit code was in that folder
    assert (job["status"], job["reason"]) == ("stuck", "PayloadVanished")
    assert not attempt(lab, number=2).exists()
    assert lab.ran() == ["a"]
    check_nothing_left(lab)


@pytest.mark.parametrize("part", ["locks", "spool", "bin", "ledger.sqlite3*", "daemon.lock", "specs-good", "requests"])
def test_a_part_of_the_state_folder_that_is_removed_costs_no_job(lab: Lab, part: str) -> None:
    jobs = ", ".join(f"{{id: {key}, cmd: 'echo {key} >> ran; {WAIT}'}}" for key in "abcdef")
    project(lab, jobs, launcher="process")  # four at a time
    with lab.daemon() as daemon:
        pids = [started(lab, f"p/{key}")["pid"] for key in "abcd"]
        for path in lab.state.glob(part):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert {lab.status()[f"p/{key}"]["status"] for key in "abcd"} == {"running"}
        assert lab.json("diff")["actions"] == []
        let_go(lab)
        lab.wait("those payloads have ended", lambda: not any(is_alive(pid) for pid in pids))
        lab.wait("the next one runs", lambda: len(lab.ran()) > 4)
        assert daemon.poll() is None
    lab.settle()
    assert sorted(lab.ran()) == list("abcdef")
    assert {job["exit_code"] for job in lab.status().values()} == {0}
    check_nothing_left(lab)


def test_a_lock_that_cannot_be_opened_is_a_lost_launch(lab: Lab) -> None:
    """Nothing of the job ran, and nothing is wrong with it: it is tried again."""
    project(lab, "{id: a, cmd: 'echo a >> ran'}", launcher="process")
    lock = lab.state / "locks" / "p%a.lock"
    lock.mkdir(parents=True)
    with lab.daemon():
        lab.wait("it is said", lambda: "lock file" in lab.status()["p/a"]["message"])
        job = lab.status()["p/a"]
        assert (job["status"], job["reason"]) == ("pending", "LaunchLost")
        lock.rmdir()
        lab.wait("it ran", lambda: lab.status()["p/a"]["status"] == "completed")
    assert lab.status()["p/a"]["attempts"] == 1
    assert lab.ran() == ["a"]


# --- spec files

GOOD = "{id: a, cmd: 'echo a >> ran'}"
JOBLESS = "project: other\ncwd: .\ngpus: none\njobs: [{id: x, cmd: 'echo x >> ran'"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.yaml")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def not_text(path: Path) -> None:
    path.write_bytes(b"project: other\njobs: [{id: x, cmd: \xff\xfe}]\n")


def huge(path: Path) -> None:
    path.write_text("# " + "x" * 78 + "\n" * 2, encoding="ascii")
    with path.open("a", encoding="ascii") as file:
        for _ in range(250_000):
            file.write("# " + "y" * 78 + "\n")


def half_written(path: Path) -> None:
    path.write_text(JOBLESS)


@pytest.mark.parametrize("make", [fifo, folder, dangling, circle, device, not_text, huge, half_written])
def test_an_odd_spec_file_is_reported_and_the_others_run(lab: Lab, make: object) -> None:
    project(lab, GOOD, launcher="process")
    odd = lab.specs / "odd.yaml"
    assert callable(make)
    make(odd)
    if odd.is_file():
        os.utime(odd, (1_700_000_000, 1_700_000_000))
    found = lab.exq("validate", code=1)
    assert f"{odd.name}:" in found.stdout + found.stderr
    told = lab.exq("diff", code=1).stdout
    assert f"{odd.name}:" in told
    assert "launch" in told  # what the other file asks for
    lab.settle(code=1)
    assert lab.status()["p/a"]["status"] == "completed"
    assert lab.ran() == ["a"]


def test_mistakes_are_told_with_their_place(lab: Lab) -> None:
    lab.spec("project: p\njobs:\n  - id: a\n    cmdd: echo\n  - {id: b, cmd: [1}\n", "cut.yaml")
    lab.spec("project: q\njobs:\n  - id: a\n    cmdd: echo\n  - {id: b, cmd: echo, outputs: 1}\n", "keys.yaml")
    lab.spec("project: r\njobs:\n  - id: a\n    cmd: echo ${nope}\n  - {id: a, cmd: echo}\n", "names.yaml")
    told = lab.exq("validate", code=1)
    text = told.stdout + told.stderr
    for place in ("cut.yaml:5:", "keys.yaml:4:5:", "keys.yaml:5:", "names.yaml:4:", "names.yaml:5:"):
        assert place in text


@pytest.mark.root
@pytest.mark.needs("setpriv")
def test_a_spec_that_may_not_be_read_is_reported_and_the_others_run(lab: Lab) -> None:
    project(lab, GOOD, launcher="process")
    secret = lab.spec("project: other\ngpus: none\njobs: [{id: x, cmd: 'echo x >> ran'}]\n", "secret.yaml")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(lab.root)], check=True)
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    lab.command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *lab.command]
    found = lab.exq("validate", code=1)
    assert "secret.yaml" in found.stdout + found.stderr
    assert "ermission denied" in found.stdout + found.stderr
    lab.settle(code=1)
    assert lab.ran() == ["a"]
    secret.chmod(0o644)
    lab.settle()
    assert lab.ran() == ["a"] or sorted(lab.ran()) == ["a", "x"]


def test_a_file_being_written_changes_nothing_until_it_is_whole(lab: Lab) -> None:
    project(lab, GOOD, launcher="process")
    with lab.daemon():
        lab.wait("a ran", lambda: lab.ran() == ["a"])
        text = f"project: q\ncwd: {lab.work}\ngpus: none\nlauncher: process\njobs:\n"
        lines = [f"  - {{id: j{i}, cmd: 'echo j{i} >> ran'}}\n" for i in range(20)]
        with (lab.specs / "q.yaml").open("w", buffering=1) as file:
            file.write(text)
            for line in lines:  # a slow editor
                file.write(line[:10])
                file.flush()
                lab.exq("validate", code=None)
                file.write(line[10:])
        lab.wait("all ran", lambda: len(lab.ran()) == 21)
    lab.settle()
    assert sorted(lab.ran()) == sorted(["a", *(f"j{i}" for i in range(20))])
