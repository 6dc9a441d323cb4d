"""`exq doctor` against what is really there: screen folders, conda, nvidia-smi, hosts that cannot be reached."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.lab import FAKEBIN, Lab, project

Found = dict[str, Any]


def doctor(lab: Lab, *args: str, code: int | None = None) -> dict[tuple[str | None, str], list[Found]]:
    """The lines by host and name."""
    answer = lab.json("doctor", *args, code=code)
    assert answer["schema"] == "exq.doctor/v1"
    assert answer["ok"] == (not any(check["status"] == "error" for check in answer["checks"]))
    lines: dict[tuple[str | None, str], list[Found]] = {}
    for check in answer["checks"]:
        lines.setdefault((check["host"], check["name"]), []).append(check)
    return lines


def errors(lines: dict[tuple[str | None, str], list[Found]]) -> list[Found]:
    return [check for checks in lines.values() for check in checks if check["status"] == "error"]


def state_of(lines: dict[tuple[str | None, str], list[Found]], name: str, host: str | None = "local") -> Found:
    (check,) = lines[host, name]
    return check


@pytest.mark.needs("screen")
def test_a_fit_machine_ends_with_0_and_is_left_as_it_was(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    before = sorted(lab.root.rglob("*"))
    lines = doctor(lab, code=0)
    assert errors(lines) == []
    assert state_of(lines, "specs", None)["message"] == f"1 file, 1 job in {lab.specs}"
    assert state_of(lines, "cwd")["message"] == str(lab.work)
    assert state_of(lines, "git", None)["mend"] == f"git init {lab.root}"
    assert sorted(lab.root.rglob("*")) == before


@pytest.mark.needs("screen")
def test_the_text_has_a_line_each(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    out = lab.exq("doctor").stdout
    assert "specs and exq\n  = ok       exq" in out
    assert "\nthis machine\n  = ok       programs" in out
    assert out.endswith("ok\nNext: exq diff\n")


def test_no_specs_yet(lab: Lab) -> None:
    lab.specs.rmdir()
    lines = doctor(lab, code=1)
    assert [check["mend"] for check in errors(lines)] == ["exq init"]
    assert state_of(lines, "jobs")["status"] == "ok"


def test_a_broken_spec(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    lab.spec("project: q\nfrobs: 3\n", "broken.yaml")
    found = doctor(lab, code=1)[None, "specs"]
    assert all("broken.yaml" in check["message"] for check in found)
    assert {check["status"] for check in found} == {"error"}


@pytest.mark.needs("git")
def test_the_repository(lab: Lab) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(lab.root), *words], check=True, capture_output=True, env=lab.env)

    lab.spec(project({"a": "true"}))
    git("init", "-q")
    assert "nothing is committed yet" in state_of(doctor(lab), "git", None)["message"]
    git("add", "specs")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "specs")
    assert state_of(doctor(lab), "git", None)["status"] == "ok"
    lab.spec(project({"a": "false"}))
    assert "-dirty" in state_of(doctor(lab), "git", None)["message"]
    (lab.root / ".git" / "MERGE_HEAD").touch()
    assert "merge" in state_of(doctor(lab), "git", None)["message"]


@pytest.mark.parametrize(("revision", "status"), [("3f2c1d9", "ok"), ("3f2c1d9-dirty", "warning")])
def test_specs_that_were_pushed(lab: Lab, revision: str, status: str) -> None:
    lab.spec(project({"a": "true"}))
    (lab.specs / ".exq-revision").write_text(revision + "\n")
    line = state_of(doctor(lab), "git", None)
    assert line["status"] == status
    assert f"pushed from another machine, where they were at {revision}" in line["message"]


@pytest.mark.needs("screen")
def test_a_socket_folder_of_the_wrong_mode_is_mended_by_what_is_said(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    lab.screens.chmod(0o755)
    (found,) = errors(doctor(lab, code=1))
    assert (found["name"], found["mend"]) == ("screen", f"chmod 700 {lab.screens}")
    assert "mode 755" in found["message"]
    subprocess.run(found["mend"], shell=True, check=True)
    assert errors(doctor(lab, code=0)) == []


@pytest.mark.needs("screen")
def test_a_socket_folder_with_too_long_a_path(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    deep = lab.root / ("deep" * 20)
    deep.mkdir(mode=0o700)
    lab.env["SCREENDIR"] = str(deep)
    found = state_of(doctor(lab, code=1), "screen")
    assert "too long" in found["message"]
    assert "SCREENDIR" in found["mend"]


def test_no_screen(lab: Lab) -> None:
    lab.env["SCREEN"] = "/nonexistent/screen"
    lab.spec(project({"a": "true"}))
    assert state_of(doctor(lab, code=1), "screen")["status"] == "error"
    lab.spec(project({"a": "true"}, launcher="auto"))
    assert state_of(doctor(lab, code=0), "screen")["status"] == "warning"


@pytest.mark.needs("bash")
def test_conda_environments(lab: Lab) -> None:
    """The one that is there can be set up, the other is told in conda's own words, and no attempt is spent on it."""
    conda = lab.root / "home" / "miniconda3" / "bin" / "conda"
    conda.parent.mkdir(parents=True)
    conda.symlink_to(FAKEBIN / "conda")
    lab.env["FAKE_CONDA_ENVS"] = str(lab.root / "envs")
    (lab.root / "envs" / "good").mkdir(parents=True)
    jobs = {"a": {"conda": "good"}, "b": {"conda": "bad"}, "c": {"conda": "bad"}, "d": {}}
    lab.spec(project({key: {"cmd": "true", **fields} for key, fields in jobs.items()}))
    bad, good = doctor(lab, code=1)["local", "environment"]
    assert (good["status"], good["message"]) == ("ok", "good can be set up")
    assert "EnvironmentNameNotFound: Could not find conda environment: bad" in bad["message"]
    assert (bad["jobs"], bad["mend"]) == (["p/b", "p/c"], "conda create --name bad")
    assert not lab.state.exists()
    (lab.root / "envs" / "bad").mkdir()
    assert errors(doctor(lab, code=0)) == []


def test_no_conda_at_all(lab: Lab) -> None:
    lab.spec(project({"a": {"cmd": "true", "conda": "torch", "conda_hook": "/nonexistent/conda"}}))
    (found,) = errors(doctor(lab, code=1))
    assert "conda was not found (/nonexistent/conda)" in found["message"]
    assert found["mend"] == f"set `conda_hook` in {lab.specs}/exp.yaml"


def test_a_missing_folder_is_mended_by_what_is_said(lab: Lab) -> None:
    lab.spec(project({"a": "true", "b": {"cmd": "true", "cwd": f"{lab.root}/not yet"}}))
    (found,) = errors(doctor(lab, code=1))
    assert (found["name"], found["jobs"]) == ("cwd", ["p/b"])
    subprocess.run(found["mend"], shell=True, check=True)
    assert errors(doctor(lab, code=0)) == []


def test_preconditions_and_the_jobs_they_block(lab: Lab) -> None:
    lab.spec("""\
        project: p
        cwd: WORK
        gpus: none
        launcher: process
        phases:
          - name: teach
            preconditions: [{type: file_exists, path: data.bin}]
            jobs: [{id: t1, cmd: "true"}, {id: t2, cmd: "true"}]
          - name: learn
            depends_on: teach
            preconditions: [{type: checkpoint_exists, path: "t.pt"}]
            jobs: [{id: s1, cmd: "true"}]
        """)
    (found,) = errors(doctor(lab, code=1))
    assert found["jobs"] == ["p/t1", "p/t2"]
    assert found["message"] == f"{lab.work}/data.bin does not exist"
    (lab.work / "data.bin").write_text("x")
    lines = doctor(lab, code=0)
    assert [check["jobs"] for check in lines["local", "preconditions"]] == [[], ["p/s1"]]


def test_gpus(lab: Lab) -> None:
    lab.gpus(2)
    lab.spec(project({"a": "true", "b": "true"}, gpus="all"))
    lines = doctor(lab)
    assert state_of(lines, "nvidia-smi")["message"].startswith("2 GPUs, in ")
    assert state_of(lines, "GPUs for p")["status"] == "ok"
    with lab.foreign(1, 9000) as (child, _):
        found = state_of(doctor(lab), "GPUs for p")
        assert found["status"] == "warning"
        assert f"pid {child.pid}" in found["message"]
    lab.spec(project({"a": "true"}, gpus=[0, 5]))
    assert state_of(doctor(lab, code=1), "GPUs for p")["message"] == "it has no GPU 5; there are 0, 1"


def test_a_hanging_nvidia_smi_hides_nothing_else(lab: Lab) -> None:
    lab.gpus(2, mode="hang")
    lab.spec(project({"a": "true"}, gpus="all"))
    lines = doctor(lab, code=1)
    assert [check["name"] for check in errors(lines)] == ["nvidia-smi"]
    assert "did not answer in time" in state_of(lines, "nvidia-smi")["message"]
    assert state_of(lines, "cwd")["status"] == "ok"


def test_a_state_folder_that_others_may_write_to(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    lab.state.mkdir()
    lab.state.chmod(0o777)
    found = errors(doctor(lab, code=1))
    assert {check["name"] for check in found} == {"ledger", "state folder"}
    assert {check["mend"] for check in found} == {f"chmod 700 {lab.state}"}


def test_a_ledger_that_cannot_be_read_leaves_the_rest(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    lab.state.mkdir(mode=0o700)
    (lab.state / "ledger.sqlite3").mkdir()
    lines = doctor(lab)
    assert state_of(lines, "disk")["status"] == "ok"
    assert state_of(lines, "state folder")["message"].startswith(str(lab.state))


@pytest.mark.needs("screen")
def test_completed_jobs_need_nothing(lab: Lab) -> None:
    lab.spec(project({"a": "true"}))
    lab.settle()
    (lab.work / "experiment_queue").rename(lab.root / "runs")
    lab.work.rmdir()
    assert state_of(doctor(lab, code=0), "jobs")["message"] == "no job waits to run here"


# --- hosts behind SSH


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def ssh_config(lab: Lab, **ports: int) -> None:
    path = lab.root / "ssh_config"
    path.write_text("".join(f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n" for name, port in ports.items()))
    path.chmod(0o600)
    lab.env["EXQ_SSH_CONFIG"] = str(path)


def test_a_host_that_refuses(lab: Lab, closed_port: int) -> None:
    ssh_config(lab, gpu1=closed_port)
    lab.spec(project({"a": "true"}, launcher="auto", hosts=["local", "gpu1"]))
    lines = doctor(lab, code=1)
    (found,) = errors(lines)
    assert (found["host"], found["name"]) == ("gpu1", "ssh")
    assert "refuses connections" in found["message"]
    assert "ssh" in found["mend"]
    assert state_of(lines, "cwd")["status"] == "ok"


def test_a_host_that_no_spec_names_can_be_looked_at(lab: Lab, closed_port: int) -> None:
    ssh_config(lab, newbox=closed_port)
    assert {host for host, _ in doctor(lab, "newbox", code=1)} == {"newbox"}


def test_a_silent_host_holds_up_nobody(lab: Lab, silent_port: int) -> None:
    """What this machine answers is there while the other one is still waited for."""
    ssh_config(lab, slow=silent_port)
    lab.spec(project({"a": "true"}, launcher="auto", hosts=["slow", "local"]))
    child = lab.start("doctor")
    assert child.stdout is not None
    seen = []
    for line in child.stdout:
        seen.append(line.rstrip("\n"))
        if line.startswith("  = ok       cwd") or line.startswith("slow"):
            break
    assert "this machine" in seen
    assert "slow" not in seen
    assert child.poll() is None
    lab.kill(child)


def test_control_characters_are_shown_not_sent(lab: Lab) -> None:
    jobs = [{"id": "a", "cmd": "true", "cwd": "/\x1b[31m"}]
    (lab.specs / "a.yaml").write_text(json.dumps({"project": "p", "jobs": jobs}))
    out = lab.exq("doctor", code=None).stdout
    assert "\x1b" not in out


def test_the_path_of_the_state_is_not_made(lab: Lab) -> None:
    lab.env["EXQ_STATE"] = str(lab.root / "a" / "b")
    lab.spec(project({"a": "true"}, launcher="auto"))
    doctor(lab)
    assert not (lab.root / "a").exists()


def test_help_tells_of_it(lab: Lab) -> None:
    assert "doctor [HOST...]" in lab.exq("--help").stdout
    assert "did you mean `exq doctor`" in lab.exq("preflight", code=2).stderr
    assert "exq doctor && exq run" in lab.exq("doctor", "--help").stdout
