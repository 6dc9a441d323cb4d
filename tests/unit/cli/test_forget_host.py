"""What `exq forget-host` says before it asks, and when it does not ask; names of hosts."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.cli.context import Context
from reconciler.cli.exits import OK, PROBLEM, CliError
from reconciler.cli.hostnames import resolve_host
from reconciler.cli.verbs import forget_host
from reconciler.model.enums import RequestKind
from reconciler.store.paths import StatePaths
from reconciler.store.requests import pending
from tests.unit.view import factories as f
from tests.unit.view.fleets import SILENT, fleet


@pytest.mark.parametrize(
    ("word", "hint"), [("gpu-aa", "did you mean gpu-a or gpu-b?"), ("xyzzy", "known: gpu-a, gpu-b")]
)
def test_a_host_that_nothing_names(word: str, hint: str) -> None:
    with pytest.raises(CliError, match=word) as caught:
        resolve_host(word, ["gpu-a", "gpu-b"])
    assert caught.value.hint == hint
    assert resolve_host("gpu-b", ["gpu-a", "gpu-b"]) == "gpu-b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The host has been looked at, and is silent."""
    monkeypatch.setattr(forget_host, "_look", lambda word, context: (word, fleet()))
    return Context(tmp_path / "specs", tmp_path / "state", json=False, color=False, env={"USER": "ann"})


def ask(context: Context, *, host: str = "b", yes: bool = False) -> int:
    return forget_host.run(Namespace(host=host, yes=yes), context)


def asked(context: Context) -> list[tuple[RequestKind, str]]:
    return [(request.kind, request.target) for request in pending(StatePaths(context.state))]


def test_it_says_what_is_given_up(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(context, yes=True) == OK
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == SILENT
    assert "fleet/t2, attempt 1, GPU 0, since " in shown.out
    assert "These jobs start anew on a, with no try used up. If b comes back, what still runs there" in shown.out
    assert "both may run at once" in shown.out
    assert shown.err == "no loop is running: it is carried out by the next `exq run`\n"
    assert asked(context) == [(RequestKind.FORGET_HOST, "b")]


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_terminal_it_takes_yes(as_json: bool, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n") if as_json else io.StringIO("y\n"))
    with pytest.raises(CliError, match="has to be confirmed") as caught:
        ask(replace(context, json=as_json))
    assert caught.value.hint == "exq forget-host b --yes"
    assert asked(context) == []


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", OK), ("YES\n", OK), ("n\n", PROBLEM), ("\n", PROBLEM), ("", PROBLEM)]
)
def test_a_terminal_is_asked(answer: str, code: int, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", terminal)
    assert ask(context) == code
    assert terminal.getvalue().startswith("Give b up? [y/N] ")
    assert bool(asked(context)) == (code == OK)


def test_where_nothing_runs_there_is_nothing_to_give_up(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(context, host="c") == OK
    assert capsys.readouterr().err == "nothing of ours may run on c: there is nothing to give up\n"
    assert asked(context) == []


def test_without_another_host_its_jobs_wait(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = fleet()
    (project,) = snapshot.desired.projects.values()
    alone = f.desired(replace(project, placements=project.placements[1:2], phases=project.phases[:1]))
    text = forget_host._explained(replace(snapshot, desired=alone), "b", forget_host._open_there(snapshot, "b"))
    assert "start anew when b answers again (no other host)" in text
