"""What the agent tells `exq doctor` of a host, and what it is asked."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.host import agent
from reconciler.host.doctor import environment_key, environments_of, examined, needs_of, request_of
from reconciler.host.observe import Asked
from reconciler.host.reply import Reply
from reconciler.model.doctor import MachineFacts, Patient
from reconciler.model.enums import PreconditionKind
from reconciler.model.facts import HostView, Unknown
from reconciler.model.spec import Precondition
from tests.unit.view.factories import job

SECRET = "hunter2-hunter2"


def ask(state: Path, **fields: Any) -> dict[str, Any]:
    return agent.Agent(str(state), {"nvidia_smi": "/nonexistent/nvidia-smi"}).handle({"op": "doctor", **fields})


def test_it_makes_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    reply = ask(state, disk=True, folders=[str(tmp_path / "x")], environments={"e": "true"})
    assert "error" not in reply
    assert list(tmp_path.iterdir()) == []
    assert reply["state_folder"]["exists"] is False
    assert reply["state_folder"]["path"] == str(state)


def test_a_folder_is_told_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o751)
    found = agent.folder_facts(str(tmp_path))
    assert (found["exists"], found["mode"], found["mine"]) == (True, 0o751, True)
    assert found["disk"]


def test_the_innermost_mount_counts() -> None:
    assert agent.mount_of("/proc/self/status") == ("/proc", "proc")
    assert agent.mount_of("/")[0] == "/"


@pytest.mark.parametrize(
    ("kind", "said"), [("folder", ""), ("file", "is not a folder"), ("none", "there is no folder")]
)
def test_working_folders(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    found = agent.working_folder_problem(str(path))
    assert said in found
    assert bool(found) == bool(said)


def test_a_relative_folder_is_one_of_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "exp").mkdir()
    assert agent.working_folder_problem("~/exp") == ""
    assert agent.working_folder_problem("~/none") == f"there is no folder {tmp_path}/none"


def test_inotify_instances_are_counted() -> None:
    before = agent.inotify_facts()
    assert min(before["max_user_watches"], before["max_user_instances"]) > 0
    watch = agent.SpoolWatch("/tmp")
    assert watch.fd is not None
    try:
        own = [os.readlink(f"/proc/self/fd/{watch.fd}")]
        assert own == ["anon_inode:inotify"]
        assert agent.inotify_facts()["instances"] >= 1
    finally:
        os.close(watch.fd)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("true", {"problem": ""}),
        ("exit 3", {"problem": "setting it up ended with exit code 3: no word"}),
        ("echo a; echo b >&2; exit 1", {"problem": "setting it up ended with exit code 1: b"}),
        ("echo 'no such env' >$EXQ_ATTEMPT_DIR/setup_failed; exit 96", {"problem": "no such env"}),
        ("mkdir $EXQ_ATTEMPT_DIR/setup_failed; exit 96", {"unknown": ""}),
        ("sleep 60", {"unknown": "took longer"}),
    ],
)
def test_setting_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: dict[str, str]) -> None:
    monkeypatch.setattr(agent, "SETUP_DEADLINE_S", 0.5 if "sleep" in script else 40.0)
    found = ask(tmp_path / "state", environments={"e": script})["environments"]["e"]
    assert found.keys() == expected.keys()
    key = next(iter(expected))
    assert expected[key] in found[key]
    assert expected[key] == "" or found[key]


def test_environments_are_set_up_side_by_side_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    places = tmp_path / "places"
    wanted = {str(i): f'echo "$EXQ_ATTEMPT_DIR" >>{places}; exit {i % 2}' for i in range(20)}
    found = ask(tmp_path / "state", environments=wanted)["environments"]
    assert [bool(found[str(i)]["problem"]) for i in range(20)] == [bool(i % 2) for i in range(20)]
    assert len(set(places.read_text().split())) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["places"]


def test_variables_stand_in_no_command_line(tmp_path: Path) -> None:
    script = f"# {SECRET}\nmode=$(stat -c %a $EXQ_ATTEMPT_DIR/..); tr '\\0' ' ' </proc/$$/cmdline; echo $mode; exit 1"
    found = ask(tmp_path / "state", environments={"e": script})["environments"]["e"]["problem"]
    assert SECRET not in found
    assert found.endswith("700")


@pytest.mark.parametrize(
    ("linger", "ends", "expected"),
    [
        ("Linger=yes", "KillUserProcesses=no", (True, False)),
        ("Linger=no", "KillUserProcesses=yes", (False, True)),
        ("Failed to get user: no such user\n", "what?", (False, None)),
    ],
)
def test_the_login_manager(tmp_path: Path, linger: str, ends: str, expected: tuple[bool, bool | None]) -> None:
    tools = {"linger": agent.Child(["echo", linger]), "ends_processes": agent.Child(["echo", ends])}
    found = agent.login_facts(tools, "no-such-user")
    assert (found["linger"], found["ends_processes"]) == expected


def test_no_login_manager() -> None:
    assert agent.login_facts({}, "me") == {"systemd": False}


# --- the question


def test_equal_environments_are_tried_once() -> None:
    jobs = [job(f"p/{i}", conda="torch", env={"SEED": str(i)}) for i in range(50)]
    jobs += [job("p/other", conda="jax"), job("p/elsewhere", conda="torch", cwd="/elsewhere"), job("p/plain")]
    assert [each.key for each in environments_of(jobs).values()] == ["p/0", "p/other", "p/elsewhere"]


def test_what_is_asked() -> None:
    check = Precondition(PreconditionKind.FILE_EXISTS, "x")
    a = job("p/a", conda="torch", env={"A": "it's"}, preconditions=(check,))
    b = job("p/b-with-a-longer-name", cwd="/b", outputs=())
    patient = Patient("gpu1", False, jobs=(a,), later=(b,))
    request = request_of(patient, needs_of(patient))
    assert (request["op"], request["gpus"], request["sessions"], request["disk"]) == ("doctor", True, True, True)
    assert request["folders"] == ["/b", "/home/me/exp"]
    assert list(request["preconditions"]) == ["p/a"]
    assert list(request["outputs"]) == ["p/a"]
    assert request["session"] == "exq.p.b-with-a-longer-name.99"
    (script,) = request["environments"].values()
    assert "export A='it'\"'\"'s'\n" in script
    assert "exq_activate torch\n" in script
    assert a.cmd not in script


def answer(patient: Patient, **fields: Any) -> Any:
    folder = {"path": "/s", "exists": True, "mode": 448, "mine": True, "owner": "me", "disk": "ext4", "mount": "/"}
    reply = {
        "now": 1000.0,
        "boot_id": "b",
        "screen_installed": True,
        "python": "3.9.1",
        "missing_programs": [],
        "state_folder": folder,
        **fields,
    }
    asked = Asked(patient.host, needs_of(patient), 1000.0, Reply())
    return examined(asked, reply, patient, 1000.0)


def test_secrets_are_not_quoted() -> None:
    one = job("p/a", conda="torch", env={"HF_TOKEN": SECRET})
    patient = Patient("gpu1", False, jobs=(one,))
    found = answer(patient, environments={environment_key(one): {"problem": f"hook said {SECRET}"}})
    assert isinstance(found.machine, MachineFacts)
    assert found.machine.environments == {"p/a": "hook said ***"}


def test_every_job_of_an_environment_hears_of_it() -> None:
    both = [job(f"p/{i}", conda="torch", env={"SEED": i}) for i in "ab"]
    patient = Patient("gpu1", False, jobs=tuple(both), later=(job("p/plain"), replace(both[0], key="p/c", conda="jax")))
    found = answer(patient, environments={environment_key(both[0]): {"problem": "no"}}).machine
    assert found.environments == {"p/a": "no", "p/b": "no", "p/c": Unknown("the host has not said")}


def test_an_error_is_no_answer() -> None:
    found = answer(Patient("gpu1", False), error="it is down", kind="unreachable")
    assert isinstance(found.view, Unknown)
    assert isinstance(found.machine, Unknown)
    assert found.view.message == "it is down"


def test_a_clock_that_is_ahead() -> None:
    found = answer(Patient("gpu1", False), now=1090.0)
    assert isinstance(found.view, HostView)
    assert found.view.clock_ahead_s == 90.0
    assert answer(Patient("local", True), now=1090.0).view.clock_ahead_s == 0.0


def test_the_mode_of_a_socket_folder_is_told(screen_dir: Path) -> None:
    screen_dir.chmod(0o755)
    found = ask(screen_dir / "none", sessions=True)["screen_folder"]
    assert (found["path"], stat.S_IMODE(found["mode"])) == (str(screen_dir), 0o755)
