"""The command line for a far shell, what comes back before the verb speaks, and `--host` on the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.cli.exits import CliError
from reconciler.cli.far import take_host
from reconciler.cli.far_command import Arrival, Wanted, encoded, remote_command
from reconciler.cli.main import main
from reconciler.cli.versions import is_newer

HOSTILE = [
    "plain",
    "",
    "two words",
    "it's",
    "'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    'a "quoted" $HOME',
    "back\\slash\\n",
    "!event !! !$",
    "line\nend\n",
    "tab\there",
    "%d%s%b",
    "é 数 \U0001f600",
    "\udcff is no UTF-8",
    "* ? [a-z] {a,b} ~",
    "-n",
    "a;b|c&d>e<f#g",
]


@pytest.mark.parametrize("word", HOSTILE)
def test_a_word_has_nothing_left_that_a_shell_takes_for_its_own(word: str) -> None:
    text = encoded(word)
    assert text.isascii() and text.isprintable()
    assert not set(text) & set("'\"`$!&;|<>()[]{}*?~# \n")
    script = 'a=$(printf "%bX" "$1"); printf %s "${a%X}"'
    done = subprocess.run(["sh", "-c", script, "sh", text], capture_output=True, check=True)
    assert done.stdout == word.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("terminal", [False, True])
def test_the_command_is_one_line_in_plain_single_quotes(terminal: bool) -> None:
    text = remote_command(Wanted(HOSTILE, "/home/o'neill/specs", terminal), "EXQ-1")
    assert "\n" not in text and "!" not in text
    assert text.count("'") == 2 * (3 + len(HOSTILE))
    assert "\\\\" not in text


@pytest.mark.parametrize(
    ("words", "host", "rest"),
    [
        (["--host", "a", "diff"], "a", ["diff"]),
        (["diff", "--host", "a", "--json"], "a", ["diff", "--json"]),
        (["diff", "--host=a"], "a", ["diff"]),
        (["--host", "a", "--host", "b", "diff"], "b", ["diff"]),
        (["logs", "--", "--host"], None, ["logs", "--", "--host"]),
        (["diff"], None, ["diff"]),
    ],
)
def test_host_stands_before_or_after_the_verb(words: list[str], host: str | None, rest: list[str]) -> None:
    taken = take_host(words)
    assert (taken.host, taken.words) == (host, rest)


@pytest.mark.parametrize("words", [["diff", "--host"], ["diff", "--host="]])
def test_host_without_a_name(words: list[str]) -> None:
    with pytest.raises(CliError, match="needs the name of a host"):
        take_host(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "a"], "usage: exq"),
        (["--host", "a", "stauts"], "did you mean `exq status`"),
        (["--host", "a", "push", "b"], "`exq push` is typed without --host"),
        (["--host", "-oProxyCommand=x", "status"], "--host"),
    ],
)
def test_what_makes_no_sense_is_said_without_a_connection(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_what_login_files_print_is_passed_over() -> None:
    arrival = Arrival()
    mark = arrival.mark.encode()
    stream = b"welcome\nEXQ-0123\n" + b"x" * 5000 + b"\n" + mark + b" has 0.1.0\r\n" + b'{"a": 1}\n'
    out = b"".join(arrival.feed(stream[at : at + 7]) for at in range(0, len(stream), 7))
    assert (out, arrival.version) == (b'{"a": 1}\n', "0.1.0")


def test_an_exq_that_does_not_run_any_more() -> None:
    arrival = Arrival()
    assert arrival.feed(f"hello\n{arrival.mark} broken 0.1.0\n".encode()) == b""
    assert (arrival.seen, arrival.version, arrival.broken) == (True, "0.1.0", True)


def test_a_machine_without_exq() -> None:
    arrival = Arrival()
    assert arrival.feed(f"hello\n{arrival.mark} none\n".encode()) == b""
    assert (arrival.seen, arrival.version) == (True, None)


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("0.2.0", "0.1.9"),
        ("0.10", "0.9.1"),
        ("1.0", "1.0rc1"),
        ("1.0rc1", "1.0b2"),
        ("1.0b2", "1.0b1"),
        ("1.0a1", "1.0.dev3"),
        ("1.0.post1", "1.0"),
        ("1.0.1", "1"),
    ],
)
def test_which_version_is_newer(newer: str, older: str) -> None:
    assert is_newer(newer, older)
    assert not is_newer(older, newer)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0.0"), ("0.1.0+local", "0.1.0")])
def test_versions_that_are_the_same(one: str, other: str) -> None:
    assert not is_newer(one, other)
    assert not is_newer(other, one)


def test_the_help_of_a_verb_names_the_option(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    assert "--host HOST" in capsys.readouterr().out
