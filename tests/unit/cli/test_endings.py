"""How the command ends when something goes wrong: a sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import pwd
from pathlib import Path

import pytest

from reconciler.cli import exits
from reconciler.cli import main as entry
from reconciler.cli.context import who
from reconciler.cli.main import main


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(entry, "_run_verb", fail)


def test_a_problem_is_a_sentence_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise(monkeypatch, exits.CliError("it is so", "do this", code=75))
    assert main(["diff"]) == exits.HELD
    assert capsys.readouterr().err == "exq: it is so\n  do this\n"


@pytest.mark.parametrize(("hint", "shown"), [("do this", "do this"), ("", None)])
def test_a_problem_is_a_document_where_json_is_asked_for(
    hint: str, shown: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise(monkeypatch, exits.CliError("it is so", hint))
    assert main(["why", "--json", "x"]) == exits.PROBLEM
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"schema": "exq.error/v1", "error": "it is so", "hint": shown}
    assert printed.err.startswith("exq: it is so\n")


@pytest.mark.parametrize(("env", "name"), [({"USER": "ann"}, "ann"), ({"LOGNAME": "bo"}, "bo"), ({}, None)])
def test_who_asks(env: dict[str, str], name: str | None) -> None:
    assert who(env).partition("@")[0] == (name or pwd.getpwuid(os.getuid()).pw_name)


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _raise(monkeypatch, KeyboardInterrupt())
    assert main(["diff"]) == exits.INTERRUPTED
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("place", [["--state", "{}"], ["--state={}"]])
def test_a_fault_of_exq_itself(
    place: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    _raise(monkeypatch, ValueError("two\nlines"))
    assert main(["diff", *(word.format(state) for word in place)]) == exits.INTERNAL
    message = capsys.readouterr().err
    (log,) = state.glob("crash-*.log")
    assert message == f"exq: internal error: ValueError: two lines; details in {log}\n"
    assert "Traceback" in log.read_text()
    assert state.stat().st_mode & 0o777 == 0o700


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _raise(monkeypatch, ValueError("x"))
    monkeypatch.setenv("EXQ_DEBUG", "1")
    assert main(["diff", "--state", str(tmp_path)]) == exits.INTERNAL
    assert "Traceback" in capsys.readouterr().err


def test_a_crash_log_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    _raise(monkeypatch, ValueError("x"))
    assert main(["diff", "--state", str(tmp_path / "file" / "state")]) == exits.INTERNAL
    assert "EXQ_DEBUG=1" in capsys.readouterr().err


def test_a_crash_log_has_no_secrets_and_no_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")

    def fail(*_: object) -> int:
        local = "a local value"
        raise ValueError(f"refused {os.environ['HF_TOKEN']}, {len(local)}")

    monkeypatch.setattr(entry, "_run_verb", fail)
    assert main(["diff", "--state", str(tmp_path / "state")]) == exits.INTERNAL
    (log,) = (tmp_path / "state").glob("crash-*.log")
    for text in (log.read_text(), capsys.readouterr().err):
        assert "refused ***, 13" in text
        assert "hf_0123456789" not in text
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_crash_log_is_not_written_where_others_could_have_put_a_link(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    _raise(monkeypatch, ValueError("x"))
    assert main(["diff", "--state", str(tmp_path)]) == exits.INTERNAL
    assert "details are not written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_no_permission_is_not_a_fault_of_exq(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise(monkeypatch, PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/state"))
    assert main(["diff"]) == exits.PROBLEM
    assert capsys.readouterr().err == "exq: cannot use /state: Permission denied\n"
