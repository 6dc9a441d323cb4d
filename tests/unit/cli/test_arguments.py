"""Finding the verb, the global options on both sides of it, and the messages for what cannot be understood."""

from __future__ import annotations

import io
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest

from reconciler.cli import table
from reconciler.cli.context import Context, context_from, state_folder, wants_color
from reconciler.cli.exits import OK, USAGE, CliError
from reconciler.cli.main import main
from reconciler.cli.parser import VerbParser, parser_for


@pytest.mark.parametrize(
    ("words", "verb", "rest"),
    [
        (["diff"], "diff", []),
        (["--specs", "s", "diff", "--json"], "diff", ["--specs", "s", "--json"]),
        (["diff", "--specs", "s"], "diff", ["--specs", "s"]),
        (["--specs=s", "--state", "diff", "run"], "run", ["--specs=s", "--state", "diff"]),
        (["--json", "why", "status"], "why", ["--json", "status"]),
        (["--help"], None, ["--help"]),
        (["--state"], None, ["--state"]),
        ([], None, []),
    ],
)
def test_split_verb(words: list[str], verb: str | None, rest: list[str]) -> None:
    assert table.split_verb(words) == (verb, rest)


@pytest.mark.parametrize("verb", table.VERBS.values(), ids=lambda verb: verb.name)
def test_every_verb_has_its_module(verb: table.Verb) -> None:
    module = import_module(verb.module)
    parser = parser_for(verb, module.EXAMPLES)
    module.add_arguments(parser)
    assert "--specs" in parser.format_help()
    assert callable(module.run)


@pytest.mark.parametrize(
    ("word", "verb"),
    [("dif", "diff"), ("Status", "status"), ("aply", "apply"), ("kill", "stop"), ("statsu", "status"), ("xyzzy", None)],
)
def test_closest_verb(word: str, verb: str | None) -> None:
    assert table.closest_verb(word) == verb


def test_other_words_lead_to_verbs() -> None:
    assert {table.closest_verb(word) for word in table._OTHER_WORDS} <= set(table.VERBS)


def test_help_lists_every_verb_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == OK
    text = capsys.readouterr().out
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2].isalpha()]
    assert listed == list(table.VERBS)


def test_without_a_verb_the_help_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == USAGE
    shown = capsys.readouterr()
    assert not shown.out
    assert "usage: exq" in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["statsu"], "no verb 'statsu'; did you mean `exq status`?"),
        (["--frob"], "there is no option --frob"),
        (["--specs"], "exq: --specs needs a value\nhelp: exq --help\n"),
        (["--json", "--state"], "exq: --state needs a value\n"),
        (["run", "--foo"], "there is no option --foo\n"),
        (["diff", "--exitcode"], "there is no option --exitcode; did you mean --exit-code?"),
        (["diff", "a", "b", "c"], "too many arguments: b c"),
        (["why"], "JOB"),
        (["logs", "a", "-n", "x"], "-n"),
        (["diff", "--color", "mauve"], "--color"),
    ],
)
def test_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(words) == USAGE
    shown = capsys.readouterr()
    assert message in shown.err
    assert "help: exq" in shown.err
    assert not shown.out


def _exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as exit_:
        return int(str(exit_.code))


def test_help_of_a_verb_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(["help", "diff"]) == OK
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "start"), [(["--version"], "exq "), (["version", "--json"], "{")])
def test_version(words: list[str], start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == OK
    assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize(
    ("option", "env", "folder"),
    [
        ("/a", {"EXQ_STATE": "/b"}, "/a"),
        (None, {"EXQ_STATE": "/b", "XDG_STATE_HOME": "/c"}, "/b"),
        (None, {"XDG_STATE_HOME": "/c"}, "/c/exq"),
    ],
)
def test_state_folder(option: str | None, env: dict[str, str], folder: str) -> None:
    assert state_folder(option, env) == Path(folder)


def test_state_folder_is_absolute_and_in_the_home_by_default() -> None:
    assert state_folder(None, {}) == Path.home() / ".local/state/exq"
    assert state_folder("x", {}).is_absolute()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("option", "env", "terminal", "color"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {}, True, False),
    ],
)
def test_color(option: str, env: dict[str, str], terminal: bool, color: bool) -> None:
    assert wants_color(option, env, _Terminal() if terminal else io.StringIO()) is color


@pytest.mark.parametrize(
    ("option", "env", "specs"),
    [("a", {"EXQ_SPECS": "b"}, "a"), (None, {"EXQ_SPECS": "b"}, "b"), (None, {"EXQ_SPECS": ""}, "specs")],
)
def test_specs_folder(option: str | None, env: dict[str, str], specs: str) -> None:
    assert _context(specs=option, env=env).specs == Path(specs)


def _context(specs: str | None, env: dict[str, str], as_json: bool = False) -> Context:
    args = Namespace(specs=specs, state="/s", json=as_json, color="always")
    return context_from(args, env, io.StringIO())


def test_json_is_never_colored() -> None:
    assert _context(None, {}).color
    assert not _context(None, {}, as_json=True).color


def test_missing_specs_folder_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="there is no specs folder") as caught:
        _context(str(tmp_path / "no"), {}).require_specs()
    assert "--specs DIR" in caught.value.hint
    assert "exq init" in caught.value.hint


def test_a_file_as_specs_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    with pytest.raises(CliError, match="is not a folder") as caught:
        _context(str(tmp_path / "a.yaml"), {}).require_specs()
    assert "exq validate" in caught.value.hint


def test_parser_takes_no_abbreviations() -> None:
    parser: VerbParser = parser_for(table.VERBS["diff"], "")
    with pytest.raises(SystemExit):
        parser.parse_args(["--js"])


@pytest.mark.parametrize(("text", "fits"), [("rel", False), ("./x", False), ("/x", True), ("~/x", True), ("", True)])
def test_a_variable_is_held_to_what_its_key_is_held_to(text: str, fits: bool) -> None:
    env = {"EXQ_REMOTE_STATE": text}
    if fits:
        assert _context(None, env).env == env
        return
    with pytest.raises(CliError, match="EXQ_REMOTE_STATE must be absolute, or begin with `~/`, not ") as caught:
        _context(None, env)
    assert caught.value.code == USAGE
