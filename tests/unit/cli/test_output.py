"""What is printed cannot drive the terminal, and JSON stays JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.output import SafeStreams, SafeText, json_text, shown, typed_for
from reconciler.view.style import Style

HOSTILE = [
    ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("\x9b2J", "\\x9b2J"),
    ("a\rb", "a\\rb"),
    ("a\bb\x7f", "a\\x08b\\x7f"),
    ("\u202eexe.txt", "\\u202eexe.txt"),
    ("one\u2028two", "one\\u2028two"),
    ("tab\tand\nline", "tab\tand\nline"),
    ("é ± 例 👩‍🔬", "é ± 例 👩‍🔬"),
]


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(("text", "expected"), HOSTILE)
def test_control_characters_are_written_out(text: str, expected: str, colours: bool) -> None:
    assert shown(text, colours=colours) == expected


def test_only_the_colours_of_exq_itself_pass_and_only_where_they_are_wanted() -> None:
    style = Style(color=True)
    for colour in ("bold", "dim", "red", "green", "yellow", "blue", "cyan"):
        text = style.paint("x", colour)
        assert "\x1b" in text
        assert shown(text, colours=True) == text
        assert "\x1b" not in shown(text)
    assert shown("\x1b[8mhidden\x1b[31;8m\x1b[5n", colours=True) == "\\x1b[8mhidden\\x1b[31;8m\\x1b[5n"


def test_all_that_is_printed_within_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with SafeStreams():
        print("a\x1bb")
        sys.stdout.writelines(["c\x9bd", "\n"])
        print("e\x1bf", file=sys.stderr)
        assert isinstance(sys.stdout, SafeText)
    assert (out.getvalue(), err.getvalue()) == ("a\\x1bb\nc\\x9bd\n", "e\\x1bf\n")
    assert sys.stdout is out and sys.stderr is err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Next: exq run\n", "Next: exq --host box run\n"),
        ("exq logs bad, exq retry bad", "exq --host box logs bad, exq --host box retry bad"),
        ("`exq forget-host h`", "`exq --host box forget-host h`"),
        ("\x1b[1mexq why x\x1b[0m", "\x1b[1mexq --host box why x\x1b[0m"),
        ("exq push box; exq --specs DIR diff; exq: no; ~/bin/exq run; exq runs; an-exq run", None),
    ],
)
def test_commands_are_named_as_they_are_typed_on_the_other_machine(text: str, expected: str | None) -> None:
    assert typed_for("box", text) == (text if expected is None else expected)


@pytest.mark.parametrize(("data", "out"), [(False, "exq --host box run\n"), (True, "exq run\n")])
def test_data_for_programs_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: bool, out: str
) -> None:
    with SafeStreams("box", data=data):
        print("exq run")
        print("exq run", file=sys.stderr)
    assert capsys.readouterr() == (out, "exq --host box run\n")


@given(st.text())
def test_json_is_safe_for_a_terminal_and_says_the_same(text: str) -> None:
    written = json_text({"text": text, text: 1}, indent=2)
    assert json.loads(written) == {"text": text, text: 1}
    assert shown(written) == written
