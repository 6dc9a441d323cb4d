"""Hostile text in every place of a spec that job.sh or a shell gets to see: it arrives as it is, or is refused.

The real renderer, the real agent and the real bash; what would break out touches a canary file."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from reconciler.host.agent import Agent
from reconciler.host.observe import probe_request
from reconciler.host.script import render_analysis_script, render_job_script
from reconciler.model.ledger import AttemptRecord
from reconciler.model.names import AttemptRef, session_name
from reconciler.model.needs import Needs
from reconciler.model.spec import Job, Project
from reconciler.spec.load import load_text
from tests.property.test_spec_quoting import hostile, nasty, values, yaml_text

BREAKOUTS = [
    "$(touch canary)", "`touch canary`", "'; touch canary; '", '"; touch canary; "', "\ntouch canary\n",
    "x\ntouch canary #", "; touch canary", "& touch canary &", "| touch canary", "> canary", "$(>canary)", "-n",
    "--help", "-rf", "~root", "~/$(touch canary)", "a\\", "\\'; touch canary; \\'", "${IFS}touch", "!!", "é例 👩‍🔬",
    "\u202e", "*", "[a-", "%s%n", "\nEOF\ntouch canary\n", "'\n'touch canary'\n'", "#", "\t", "a b", "$HOME",
    "$((1))", "<(touch canary)",
]  # fmt: skip
TEXTS = list(dict.fromkeys([*BREAKOUTS, *hostile]))
SHOWN = 'cat canary 2>/dev/null; printf \'%s\\0\' "$X" "$PWD" "$EXQ_JOB" "$EXQ_PROJECT" "$EXQ_STATE"'


class Bench:
    """A folder in which scripts run; `canary` in it is what a breakout leaves."""

    def __init__(self) -> None:
        self.kept = tempfile.TemporaryDirectory(prefix="exq")
        self.root = Path(self.kept.name).resolve()
        self.attempt = self.root / "attempt"
        self.attempt.mkdir()

    def job(self, spec: str) -> tuple[Job, Project] | str:
        project, errors = load_text(spec, "s.yaml", str(self.root))
        if project is None:
            return "\n".join(map(str, errors))
        return next(project.jobs()), project

    def run(self, job: Job, project: Project) -> subprocess.CompletedProcess[bytes]:
        record = AttemptRecord(job.key, 1, "g", "here", "process", None, (), (), 1.0, "r")
        return self.run_text(render_job_script(job, project, record, str(self.attempt), str(self.root / "state")))

    def run_text(self, text: str) -> subprocess.CompletedProcess[bytes]:
        script = self.attempt / "job.sh"
        script.write_text(text, encoding="utf-8", newline="")
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "LANG": "C.UTF-8"}
        return subprocess.run(
            ["bash", str(script)], env=env, cwd=self.root, capture_output=True, check=False, timeout=30
        )

    def check_intact(self) -> None:
        assert not list(self.root.rglob("canary")), "something broke out"


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.kept.cleanup()


def spec(cmd: str = SHOWN, **fields: str) -> str:
    lines = "".join(f"    {name}: {value}\n" for name, value in fields.items())
    fields.setdefault("id", "j")
    return f"project: p\njobs:\n  - cmd: {yaml_text(cmd.replace('$', '$$'))}\n" + (
        lines if "id:" in lines else f"    id: j\n{lines}"
    )


def plain(text: str) -> str:
    """As YAML, with nothing in it for exq to fill in."""
    return yaml_text(text.replace("$", "$$"))


def check_env(bench: Bench, value: str) -> None:
    found = bench.job(spec(env=f"{{X: {plain(value)}}}"))
    assert not isinstance(found, str), found
    done = bench.run(*found)
    assert done.stdout.split(b"\0")[0].decode() == value, done.stderr
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_env(bench: Bench, value: str) -> None:
    check_env(bench, value)


@given(value=values | nasty)
@settings(max_examples=40, deadline=None)
def test_any_env(value: str) -> None:
    bench = Bench()
    check_env(bench, value)
    bench.kept.cleanup()


def check_cwd(bench: Bench, name: str) -> None:
    folder = bench.root / name
    found = bench.job(spec(cwd=plain(str(folder))))
    assert not isinstance(found, str), found
    missing = bench.run(*found)
    assert missing.returncode == 96 and missing.stdout == b""
    bench.check_intact()
    folder.mkdir(parents=True)
    there = bench.run(*found)
    assert there.stdout.split(b"\0")[1].decode() == str(folder), there.stderr
    bench.check_intact()


@pytest.mark.parametrize("value", [text for text in TEXTS if text.strip() == text and text])
def test_cwd(bench: Bench, value: str) -> None:
    check_cwd(bench, value.replace("/", "-"))


@given(value=nasty.map(lambda text: text.replace("/", "-").strip()).filter(lambda text: text not in ("", ".", "..")))
@settings(max_examples=40, deadline=None)
def test_any_cwd(value: str) -> None:
    bench = Bench()
    check_cwd(bench, f"d{value}d")
    bench.kept.cleanup()


@pytest.mark.parametrize("value", TEXTS)
def test_a_folder_of_the_home_stays_one_word(bench: Bench, value: str) -> None:
    found = bench.job(spec(cwd=plain("~/" + value)))
    assert not isinstance(found, str), found
    bench.run(*found)
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_a_conda_environment_is_one_word(bench: Bench, value: str) -> None:
    conda = bench.root / "conda" / "bin" / "conda"
    conda.parent.mkdir(parents=True)
    conda.write_text('#!/bin/sh\necho \'conda() { shift; printf "%s\\\\0" "$@"; }\'\n')
    conda.chmod(0o755)
    found = bench.job(spec("printf '%s\\0' after", conda=plain(value), conda_hook=plain(str(conda))))
    if isinstance(found, str):
        assert not value.strip(), found
        return
    done = bench.run(*found)
    assert done.stdout.decode().split("\0")[:-1] == [value, "after"], done.stderr
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_a_conda_that_is_not_there_is_said_and_no_more(bench: Bench, value: str) -> None:
    found = bench.job(spec(conda="e", conda_hook=plain(f"/nonexistent/{value}".replace(" ", "_").replace("\t", "_"))))
    if not isinstance(found, str) and not any(c.isspace() for c in found[0].conda_hook or ""):
        assert bench.run(*found).returncode == 96
        bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_an_id_that_loads_is_harmless(bench: Bench, value: str) -> None:
    found = bench.job(spec(id=plain(value)))
    if isinstance(found, str):
        return
    job, project = found
    done = bench.run(job, project)
    assert done.stdout.decode().split("\0")[2] == job.id
    assert "/" not in job.id and job.id not in (".", "..") and job.id == job.id.strip()
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_a_project_name_that_loads_is_harmless(bench: Bench, value: str) -> None:
    found = bench.job(spec().replace("project: p\n", f"project: {plain(value)}\n"))
    if not isinstance(found, str):
        job, project = found
        assert bench.run(job, project).stdout.decode().split("\0")[3] == project.name
        record = AttemptRecord(job.key, 1, "g", "here", "process", None, (), (), 1.0, "r")
        bench.run_text(render_analysis_script(replace(project, analyze_on_complete="true"), record, "/r", "/a", "/s"))
        bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_grid_values_make_ids_and_commands_that_stay_apart(bench: Bench, value: str) -> None:
    text = f"project: p\ngrid: {{v: [{yaml_text(value)}, o]}}\ntemplate: {{cmd: \"printf '%s\\\\0' ${{v}}\"}}\n"
    found = bench.job(text)
    assert not isinstance(found, str), found
    job, project = found
    assert bench.run(job, project).stdout.decode().split("\0")[:-1] == [value]
    assert "/" not in job.id and "\n" not in job.id
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_what_only_the_header_quotes_stays_a_comment(bench: Bench, value: str) -> None:
    found = bench.job(spec())
    assert not isinstance(found, str), found
    job, project = found
    record = AttemptRecord(job.key, 1, "g", value, "process", None, (), (), 1.0, value)
    text = render_job_script(
        replace(job, source=value, phase=value), replace(project, source=value), record, str(bench.attempt), "/s"
    )
    assert bench.run_text(text).returncode == 0
    bench.check_intact()


def probed(bench: Bench, job: Job) -> Mapping[str, Any]:
    agent = Agent(str(bench.root / "state"), {"nvidia_smi": "/nonexistent/nvidia-smi"})
    asked = Needs(outputs={job.key: job}, preconditions={job.key: job}, sessions=False, disk=False, strays=False)
    before = os.getcwd()
    os.chdir(bench.root)
    try:
        reply = agent.handle(probe_request(asked))
    finally:
        os.chdir(before)
    assert "error" not in reply, reply
    json.dumps(reply)
    return reply


@pytest.mark.parametrize("value", [text for text in TEXTS if text.strip()])
def test_outputs_and_path_preconditions_are_no_shell_text(bench: Bench, value: str) -> None:
    checks = f"[{{type: file_exists, path: {plain(value)}}}, {{type: dir_exists, path: {plain(value)}}}]"
    found = bench.job(spec(output_check=plain(value), preconditions=checks))
    if isinstance(found, str):
        return
    reply = probed(bench, found[0])
    assert len(reply["preconditions"]["p/j"]) == 2
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_values_in_a_precondition_command_stay_one_word(bench: Bench, value: str) -> None:
    text = (
        f"project: p\ngrid: {{v: [{yaml_text(value)}, o]}}\ntemplate:\n  cmd: 'true'\n"
        f"  env: {{WANTED: {plain(value)}}}\n"
        "  preconditions: [{type: command, command: 'test ${v}x = \"$WANTED\"x'}]\n"
    )
    found = bench.job(text)
    assert not isinstance(found, str), found
    (answer,) = next(iter(probed(bench, found[0])["preconditions"].values()))
    assert answer == {"met": True, "message": ""}
    bench.check_intact()


@pytest.mark.parametrize("value", TEXTS)
def test_session_names_are_made_of_what_screen_can_take(value: str) -> None:
    name = session_name(AttemptRef(f"p/{value.replace('/', '-') or 'x'}", 1))
    assert name.startswith("exq.") and len(name.encode()) <= 80
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in name)
