"""What docs/security.md promises, from outside: who may write, what stays secret, what reaches the terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.box import Box

SPEC = """\
project: p
gpus: none
launcher: process
max_parallel: 2
jobs:
  - {id: a, cmd: echo a >> ran}
"""
SHARED = "everyone on this machine could write to it"


def ran(box: Box) -> bool:
    return (box.folder / "ran").exists()


def at_rest(box: Box, text: str = SPEC) -> Path:
    box.spec(text)
    path = box.folder / "specs" / "p.yaml"
    os.utime(path, (1e9, 1e9))
    return path


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_specs_that_others_can_write_to_do_not_run(box: Box, mode: int) -> None:
    at_rest(box)
    folder = box.folder / "specs"
    folder.chmod(mode)
    for words in (["diff"], ["run", "--once"], ["validate"]):
        ended = box.exq(*words)
        assert ended.code == 1
        assert SHARED in ended.out + ended.err and "-w specs`" in ended.out + ended.err
    assert not ran(box)
    folder.chmod(0o755)
    assert box.exq("run", "--until-settled").code == 0
    assert ran(box)


def test_one_spec_file_that_others_can_write_to_is_left_out(box: Box) -> None:
    at_rest(box)
    box.spec("project: q\ngpus: none\nlauncher: process\njobs: [{id: b, cmd: echo b >> ran-b}]\n", "q.yaml")
    (box.folder / "specs" / "q.yaml").chmod(0o666)
    ended = box.exq("run", "--until-settled")
    assert ended.code == 1
    assert f"specs/q.yaml: the file is not taken: {SHARED}" in ended.out + ended.err
    assert ran(box) and not (box.folder / "ran-b").exists()


@pytest.mark.parametrize(
    "words",
    [["run", "--once"], ["diff"], ["status"], ["why", "a"], ["report"], ["retry", "a"], ["pause"], ["attach", "a"]],
)
def test_a_state_folder_that_others_can_write_to_is_refused_before_anything_is_done(box: Box, words: list[str]) -> None:
    at_rest(box)
    box.state.mkdir()
    box.state.chmod(0o777)
    ended = box.exq(*words)
    assert (ended.code, ended.out) == (1, "")
    assert f"exq: the state folder {box.state} is not used: {SHARED}" in ended.err
    assert f"`chmod o-w {box.state}`" in ended.err or f"`chmod go-w {box.state}`" in ended.err
    assert os.listdir(box.state) == [] and not ran(box)


def test_verbs_that_run_nothing_warn(box: Box) -> None:
    at_rest(box)
    assert box.exq("run", "--until-settled").code == 0
    box.state.chmod(0o777)
    for words in (["history"], ["logs", "a"]):
        ended = box.exq(*words)
        assert ended.code == 0
        assert ended.err.startswith("warning: others could have changed what follows: ") and SHARED in ended.err


def test_an_own_state_folder_is_closed_to_others(box: Box) -> None:
    at_rest(box)
    box.state.mkdir(mode=0o755)
    box.state.chmod(0o755)
    assert box.exq("diff").code == 0
    assert box.state.stat().st_mode & 0o777 == 0o755  # looking changes nothing
    assert box.exq("run", "--until-settled").code == 0
    assert box.state.stat().st_mode & 0o777 == 0o700
    assert (box.state / "attempts/p/a/1/job.sh").stat().st_mode & 0o777 == 0o700


SECRETS = {"HF_TOKEN": "hf_s3cr3t-0123", "db_password": "hunter2 hunter2", "WANDB_API_KEY": "k'e\"y$0123"}
LEAKY = """\
project: p
cwd: .
gpus: none
launcher: process
max_parallel: 5
env: %s
jobs:
  - {id: fails, cmd: 'echo "RuntimeError: bad token $HF_TOKEN"; exit 3'}
  - {id: signal, cmd: 'echo "error: $WANDB_API_KEY is no key"; kill -9 $$$$'}
  - {id: waits, cmd: 'true', preconditions: [{type: command, command: 'echo "no $db_password here"; false'}]}
  - {id: long, cmd: 'true', preconditions: [{type: command, command: 'printf "%%0190d%%s\\n" 0 "$HF_TOKEN"; false'}]}
  - {id: folder, cmd: 'true', cwd: /nonexistent}
  - {id: fine, cmd: 'printf "%%s" "$HF_TOKEN|$db_password|$WANDB_API_KEY|$PLAIN" > seen', output_check: seen}
"""


def test_secret_values_stay_out_of_everything_but_the_job_and_its_log(box: Box) -> None:
    at_rest(box, LEAKY % json.dumps({**SECRETS, "PLAIN": "visible"}))
    texts = {}
    for words in (
        ["run", "--until-settled"], ["run", "--once", "--json"], ["diff", "--all"], ["diff", "--json"], ["status"],
        ["status", "--json"], ["history"], ["history", "--json"], ["report"], ["report", "--json"], ["validate"],
        ["report", "--html", "page.html"], *(["why", job] for job in ("fails", "signal", "waits", "long", "folder")),
        ["why", "fails", "--json"], ["retry", "fails"],
    ):  # fmt: skip
        if words == ["run", "--until-settled"]:
            words = ["run", "--once"]
        ended = box.exq(*words)
        texts[" ".join(words)] = ended.out + ended.err
        if words == ["run", "--once"]:
            _until_settled(box)
    assert (box.folder / "seen").read_text() == "|".join([*SECRETS.values(), "visible"])
    files = {str(path.relative_to(box.folder)): path for path in box.folder.rglob("*") if path.is_file()}
    may = {"specs/p.yaml", "seen"}
    for name, path in files.items():
        if not (name in may or name.endswith(("/job.sh", "/log")) or "specs-good" in name):
            texts[name] = path.read_text(errors="replace")
    assert any(name.endswith("manifest.json") for name in texts) and "state/audit.jsonl" in texts
    for value in SECRETS.values():
        for spelled in (value, json.dumps(value)[1:-1], value[:10]):
            assert [name for name, text in texts.items() if spelled in text] == [], spelled
    manifest = json.loads(next(text for name, text in texts.items() if name.endswith("manifest.json")))
    assert manifest["phases"][0]["jobs"][0]["env"] == {**dict.fromkeys(SECRETS, "***"), "PLAIN": "visible"}
    assert "bad token ***" in texts["why fails"] and "no *** here" in texts["why waits"]
    assert all(value in box.exq("expand", "--json").json["jobs"][0]["env"].values() for value in SECRETS.values())


def _until_settled(box: Box) -> None:
    for _ in range(40):
        states = {job["id"]: job["status"] for job in box.exq("status", "--json").json["jobs"]}
        if all(states[job] in ("stuck", "completed") for job in ("fails", "signal", "folder", "fine")):
            return
        box.exq("run", "--once")
    raise AssertionError(states)


MISTAKES = [
    "env: {HF_TOKEN: [VALUE]}",
    "env: {HF_TOKEN: {a: VALUE}}",
    "env: {HF_TOKEN: 'VALUE', HF_TOKEN: 'VALUE'}",
    "env: {HF_TOKEN: 'VALUE${oops}'}",
    "env: {HF_TOKEN: 'VALUE$HOME'}",
    'env: {HF_TOKEN: "VALUE\\0"}',
    "env: [VALUE]",
    "env: {HF_TOKEN: VALUE: x}",
    "env: {HF_TOKEN: 'VALUE}",
    "env:\n  HF_TOKEN: VALUE\n bad: VALUE",
    "env: {HF_TOKEN: !!int VALUE}",
    "env: {HF_TOKEN: !secret VALUE}",
    'env: {HF_TOKEN: "VALUE\\q"}',
    "env: {HF_TOKEN: @VALUE}",
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_message_about_a_spec_quotes_a_secret(box: Box, mistake: str) -> None:
    at_rest(box, SPEC + mistake.replace("VALUE", "s3cr3tvalue") + "\n")
    for words in (["validate"], ["validate", "--json"], ["diff"], ["run", "--once"]):
        ended = box.exq(*words)
        assert ended.code == 1
        assert "s3cr3tvalue" not in ended.out + ended.err


EVIL = r"\e[2J\e]0;owned\a\x9b31m\r\x7f\u202e"
HOSTILE = f"""\
project: p
gpus: none
launcher: process
max_parallel: 9
jobs:
  - {{id: a, cmd: "echo '{EVIL}'; printf 'RuntimeError: \\\\033[2J x\\\\n'; exit 3"}}
  - {{id: b, cmd: "true", cwd: "/nonexistent/{EVIL}"}}
  - {{id: c, cmd: "true", output_check: "none-{EVIL}"}}
  - {{id: d, cmd: "true", preconditions: [{{type: file_exists, path: "{EVIL}"}}]}}
  - {{id: e, cmd: "true", preconditions: [{{type: command, command: "printf '\\\\033[5n\\\\n'; false # {EVIL}"}}]}}
"""


@pytest.mark.parametrize("colour", ["never", "always"])
def test_no_escape_sequence_of_a_spec_or_a_log_reaches_the_terminal(box: Box, colour: str) -> None:
    at_rest(box, HOSTILE)
    seen = b""
    for words in (
        ["run", "--once"], ["run", "--once"], ["diff", "--all"], ["status"], *(["why", job] for job in "abcde"),
        ["expand"], ["history"], ["report"], ["status", "--json"], ["diff", "--json"], ["expand", "--json"],
        ["why", "\x1b[2J"], ["\x1b[2J"], ["status", "--\x1b[2J"], ["validate", "\x1b[2J.yaml"],
    ):  # fmt: skip
        seen += on_a_terminal(box, [*words, "--color", colour] if words[0] != "\x1b[2J" else words)
    seen = seen.replace(b"\r\n", b"\n")
    for code in (b"0", b"1", b"2", b"31", b"32", b"33", b"34", b"35", b"36"):
        if colour == "always":
            seen = seen.replace(b"\x1b[" + code + b"m", b"")
    assert b"\\x1b[2J" in seen
    text = seen.decode()
    assert [c for c in text if not c.isprintable() and c not in "\n\t\xa0"] == []


def on_a_terminal(box: Box, words: list[str]) -> bytes:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*box.command, *words], cwd=box.folder, env={**box.environment(), "TERM": "xterm"}, stdin=theirs,
        stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # EIO: the other side is closed
        pass
    finally:
        os.close(ours)
        child.wait(60)
    assert b"Traceback" not in seen
    return seen
