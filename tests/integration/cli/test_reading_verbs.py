"""The verbs that only read: exit codes, streams and JSON, from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.box import ROOT, Box

SPEC = """\
project: demo
gpus: none
max_parallel: 2
launcher: process
phases:
  - name: one
    grid: {n: [1, 2]}
    template: {id: "t_${n}", cmd: "echo hi ${n}", output_check: "t_${n}.out"}
  - name: two
    depends_on: one
    jobs:
      - {id: last, cmd: "echo done"}
"""
BROKEN = "project: other\njbos: []\nmax_parallel: many\n"


def test_validate_counts_jobs_and_phases(box: Box) -> None:
    box.spec(SPEC)
    ended = box.exq("validate")
    assert (ended.code, ended.out, ended.err) == (0, "specs/p.yaml: ok, 3 jobs in 2 phases\n", "")


def test_validate_shows_every_mistake_of_every_file(box: Box) -> None:
    box.spec(SPEC)
    box.spec(BROKEN, "q.yaml")
    ended = box.exq("validate")
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert lines[0] == "specs/p.yaml: ok, 3 jobs in 2 phases"
    assert any(line.startswith("specs/q.yaml:2:1: ") for line in lines)
    assert any(line.startswith("specs/q.yaml:3:") for line in lines)
    assert "Traceback" not in ended.out + ended.err


def test_validate_one_file_as_json(box: Box) -> None:
    box.spec(BROKEN, "q.yaml")
    ended = box.exq("validate", "specs/q.yaml", "--json")
    assert ended.code == 1
    found = ended.json
    assert (found["schema"], found["ok"]) == ("exq.validate/v1", False)
    assert {error["line"] for error in found["errors"]} >= {2, 3}


def test_expand(box: Box) -> None:
    box.spec(SPEC)
    jobs = box.exq("expand", "--json").json["jobs"]
    assert [job["key"] for job in jobs] == ["demo/t_1", "demo/t_2", "demo/last"]
    assert (
        jobs[0].items()
        >= {
            "project": "demo",
            "id": "t_1",
            "phase": "one",
            "cmd": "echo hi 1",
            "output_check": "t_1.out",
            "params": {"n": 1},
            "cwd": str(box.folder),
        }.items()
    )
    assert jobs[0]["generation"] != jobs[1]["generation"]
    assert jobs[2]["output_check"] is None


def test_expand_keeps_what_loads_and_fails_for_what_does_not(box: Box) -> None:
    box.spec(SPEC)
    box.spec(BROKEN, "q.yaml")
    ended = box.exq("expand")
    assert ended.code == 1
    assert "demo/t_1" in ended.out
    assert "specs/q.yaml:2:1" in ended.err


def test_schema_is_the_one_that_ships(box: Box) -> None:
    assert box.exq("schema").json == json.loads((ROOT / "schemas/spec.schema.json").read_text())


@pytest.mark.parametrize(
    "words",
    [("diff",), ("status",), ("why", "a"), ("run", "--once"), ("report",), ("retry", "a"), ("expand",), ("validate",)],
    ids=lambda words: words[0],
)
def test_no_specs_folder_is_an_error_that_says_what_to_type(words: tuple[str, ...], box: Box) -> None:
    ended = box.exq(*words)
    assert ended.code == 1
    assert "there is no specs folder specs" in ended.err
    assert "--specs DIR" in ended.err
    assert not ended.out
    assert not box.state.exists()


def test_hosts_says_that_a_broken_file_may_name_more(box: Box) -> None:
    box.spec(SPEC)
    assert not box.exq("hosts").err
    box.spec(BROKEN, "q.yaml")
    ended = box.exq("hosts")
    assert ended.code == 0
    assert "exq validate" in ended.err
    assert not box.exq("hosts", "local").err


def test_service_logs_says_where_no_service_prints(box: Box, tmp_path: Path) -> None:
    journal = tmp_path / "bin" / "journalctl"
    journal.parent.mkdir()
    journal.write_text('#!/bin/sh\necho "$@"\n')
    journal.chmod(0o755)
    unit = tmp_path / "config" / "systemd" / "user" / "exq.service"
    box.env.update(PATH=f"{journal.parent}:{os.environ['PATH']}", XDG_CONFIG_HOME=str(tmp_path / "config"))
    ended = box.exq("service", "logs")
    assert (ended.code, ended.out) == (0, "--user --unit=exq.service --lines=100\n")
    assert f"there is no {unit}" in ended.err
    assert f"{box.state}/loop.log" in ended.err
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert not box.exq("service", "logs").err


def test_options_before_and_after_the_verb_and_from_the_environment(box: Box) -> None:
    box.spec(SPEC)
    (box.folder / "specs").rename(box.folder / "other")
    for words in (("--specs", "other", "validate"), ("validate", "--specs=other")):
        assert box.exq(*words).code == 0
    box.env["EXQ_SPECS"] = "other"
    assert box.exq("validate").code == 0


def test_looking_writes_nothing(box: Box) -> None:
    box.spec(SPEC)
    for words in (("diff",), ("status",), ("why", "t_1"), ("report",), ("history",)):
        assert box.exq(*words).code == 0, words
    assert not box.state.exists()


@pytest.mark.parametrize(("args", "code"), [((), 0), (("--exit-code",), 2)])
def test_diff_with_changes(args: tuple[str, ...], code: int, box: Box) -> None:
    box.spec(SPEC)
    ended = box.exq("diff", "--json", *args)
    assert ended.code == code
    found = ended.json
    assert found["schema"] == "exq.diff/v1"
    launches = [action for action in found["actions"] if action["action"] == "launch"]
    assert [launch["job"] for launch in launches] == ["demo/t_1", "demo/t_2"]
    assert {"reason", "message", "host", "gpus", "attempt"} <= launches[0].keys()
    (hold,) = [hold for hold in found["holds"] if hold["job"] == "demo/last"]
    assert hold["reason"] == "PhaseNotReady"
    assert found["plan_id"]
    assert found["unknown"] == []


def test_diff_of_broken_specs_shows_the_rest_and_fails(box: Box) -> None:
    box.spec(SPEC)
    box.spec(BROKEN, "q.yaml")
    ended = box.exq("diff")
    assert ended.code == 1
    assert "t_1" in ended.out
    assert "specs/q.yaml:2:1" in ended.out
    assert box.exq("diff", "--exit-code").code == 1


def test_diff_of_a_failed_probe_is_incomplete(box: Box) -> None:
    failing = box.folder / "nvidia-smi"
    failing.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    failing.chmod(0o755)
    box.env["NVIDIA_SMI"] = str(failing)
    box.spec("project: g\ngpus: [0]\njobs:\n  - {id: a, cmd: 'true'}\n")
    ended = box.exq("diff", "--exit-code", "--json")
    assert ended.code == 3
    assert ended.json["unknown"]
    assert ended.json["actions"] == []
    assert ended.json["holds"][0]["reason"] == "GpuUnknown"


def test_an_empty_specs_folder_is_said(box: Box) -> None:
    (box.folder / "specs").mkdir()
    for words in (("diff",), ("validate",), ("run", "--once")):
        ended = box.exq(*words)
        assert ended.code == 1
        assert "there is no spec" in ended.out


def test_why_names_the_reason(box: Box) -> None:
    box.spec(SPEC)
    ended = box.exq("why", "last")
    assert ended.code == 0
    assert ended.out.startswith("demo/last is pending: PhaseNotReady")
    assert box.exq("why", "demo/last", "--json").json["reason"] == "PhaseNotReady"


@pytest.mark.parametrize("words", [("why", "lsat"), ("logs", "lsat"), ("retry", "lsat"), ("attach", "lsat")])
def test_a_misspelt_job_is_suggested(words: tuple[str, str], box: Box) -> None:
    box.spec(SPEC)
    ended = box.exq(*words)
    assert ended.code == 1
    assert "did you mean demo/last?" in ended.err


def test_logs_of_a_job_without_an_attempt_say_why(box: Box) -> None:
    box.spec(SPEC)
    ended = box.exq("logs", "last")
    assert ended.code == 1
    assert "no attempt yet: it is pending (PhaseNotReady)" in ended.err


def test_attaching_to_what_does_not_run(box: Box) -> None:
    box.spec(SPEC)
    ended = box.exq("attach", "last")
    assert ended.code == 1
    assert "does not run now: it is pending" in ended.err


def test_status_as_json(box: Box) -> None:
    box.spec(SPEC)
    found = box.exq("status", "--json").json
    assert found["schema"] == "exq.status/v1"
    assert [job["key"] for job in found["jobs"]] == ["demo/t_1", "demo/t_2", "demo/last"]
    assert found["daemon"] is None


def test_a_closed_pipe_is_quiet(box: Box) -> None:
    box.spec(SPEC)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*box.command, "expand", "--json"],
        cwd=box.folder,
        env=box.environment(),
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert done.returncode == 141
    assert done.stderr == ""


def test_text_that_the_terminal_cannot_show(box: Box) -> None:
    box.spec("project: p\ngpus: none\njobs:\n  - {id: a, cmd: 'echo größe'}\n")
    box.env["PYTHONIOENCODING"] = "ascii"
    ended = box.exq("expand")
    assert ended.code == 0
    assert "gr\\xf6\\xdfe" in ended.out


@pytest.mark.parametrize("words", [["--help"], ["help", "diff"], ["--version"]])
def test_help_loads_no_heavy_module(words: list[str]) -> None:
    program = (
        "import sys, contextlib\nfrom reconciler.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main({words!r})\n"
        "heavy = {'yaml', 'jsonschema', 'structlog', 'watchdog', 'sqlite3', 'subprocess', 'json', 'logging'}\n"
        "loaded = heavy & set(sys.modules)\nsys.exit(repr(loaded) if loaded else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_color_in_a_pipe_unless_asked_for(box: Box) -> None:
    box.spec(SPEC)
    assert "\x1b[" not in box.exq("diff").out
    assert "\x1b[" in box.exq("diff", "--color", "always").out


def test_the_crash_log_is_named(box: Box, tmp_path: Path) -> None:
    box.spec(SPEC)
    box.state.mkdir()
    program = (
        "import sys\nfrom reconciler.cli import look, main\n"
        "def broken(*_, **__): raise ValueError('boom')\n"
        "look.look_in = broken\nsys.exit(main.main(['status']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=box.folder,
        env=box.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (log,) = box.state.glob("crash-*.log")
    assert done.returncode == 70
    assert done.stderr == f"exq: internal error: ValueError: boom; details in {log}\n"


def test_settings_that_name_what_is_not_there(box: Box) -> None:
    box.spec("screen: /nope/screen\nssh_config: nope\n", "exq.yaml")
    box.spec("gpus: none\njobs: [{id: a, cmd: 'true'}]\n")
    ended = box.exq("settings")
    assert ended.code == 0
    assert "specs/exq.yaml:1: `screen`: there is no program /nope/screen on this machine\n" in ended.err
    assert f"specs/exq.yaml:2: `ssh_config`: there is no file {box.folder}/specs/nope\n" in ended.err
    found = {row["name"]: row["problem"] for row in box.exq("settings", "--json").json["settings"]}
    assert [name for name, problem in found.items() if problem] == ["screen", "ssh_config"]
    assert box.exq("validate").code == 0  # it may be checked on another machine
    checks = [check for check in box.exq("doctor", "--json").json["checks"] if check["status"] != "ok"]
    told = {check["name"]: check["mend"] for check in checks if check["name"] in ("settings", "screen")}
    assert told == {
        "settings": "correct `ssh_config` in specs/exq.yaml:2",
        "screen": "correct `screen` in specs/exq.yaml:1",
    }
    box.env.update({"SCREEN": "sh", "EXQ_SSH_CONFIG": "/dev/null"})
    assert box.exq("settings").err == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--specs", "nowhere"), 1, "--specs: `specs`: there is no folder nowhere\n"),
        (("--specs", "specs/p.yaml"), 1, "--specs: `specs`: specs/p.yaml is not a folder\n"),
        ((), 0, ""),
    ],
)
def test_settings_of_no_folder(words: tuple[str, ...], code: int, said: str, box: Box) -> None:
    box.spec("jobs: [{id: a, cmd: 'true'}]\n")
    ended = box.exq(*words, "settings")
    assert (ended.code, ended.err) == (code, said)


def test_settings_before_there_are_specs(box: Box) -> None:
    ended = box.exq("settings")
    assert (ended.code, ended.err) == (0, "default: `specs`: there is no folder specs\n")
