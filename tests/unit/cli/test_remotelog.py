"""The log of an attempt on another machine, read through an agent (here in this process); its host may go away."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.cli import remotelog
from reconciler.cli.exits import CliError
from reconciler.cli.logfile import follow
from reconciler.cli.remotelog import RemoteLog
from reconciler.host.agent import Agent
from reconciler.loop import World
from reconciler.model.ledger import JobRecord, Ledger
from tests.unit.cli.tails import TAILS
from tests.unit.view import factories as f

GONE = {"error": "b (10.0.0.7) did not answer within 10 s", "kind": "unreachable"}


class Flaky:
    """The real agent, as long as `answers`."""

    def __init__(self, state: Path) -> None:
        self._agent = Agent(str(state), {})
        self.answers = True

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._agent.handle(request) if self.answers else dict(GONE)


class Bench:
    """An attempt's folder on the far machine, and the ledger here."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "attempts" / "p" / "a" / "1"
        self.folder.mkdir(parents=True)
        (self.folder / "intent.json").write_text("{}")
        self.agent = Flaky(root)
        self.attempt = f.attempt("p/a", host="b", launched=True)
        self.record = JobRecord("p/a", (self.attempt,))

    def log(self) -> RemoteLog:
        ledger = SimpleNamespace(refresh=lambda: True, ledger=lambda: Ledger(jobs={"p/a": self.record}))
        world = SimpleNamespace(agent_for=lambda host: self.agent, clock=lambda: f.NOW, ledger=ledger)
        return RemoteLog(cast(World, world), self.attempt)

    def write(self, text: bytes) -> None:
        (self.folder / "log").write_bytes(text)

    def end(self, code: int = 0) -> None:
        (self.folder / "exit.json").write_text(json.dumps({"code": code, "uptime_s": 1.0}) + "\n")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("tail_bytes", [1, 3, 1 << 16])
@pytest.mark.parametrize("block_bytes", [2, 1 << 20])
@pytest.mark.parametrize(("text", "count", "tail"), TAILS)
def test_tail(
    text: bytes,
    count: int | None,
    tail: bytes,
    block_bytes: int,
    tail_bytes: int,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remotelog, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(remotelog, "TAIL_BYTES", tail_bytes)
    bench.write(text)
    pieces = list(bench.log().pieces(count))
    assert (b"".join(found for found, _ in pieces), pieces[-1][1]) == (tail, len(text))
    assert count is not None or all(len(found) <= block_bytes for found, _ in pieces)


def test_a_log_that_is_not_there_yet_is_empty(bench: Bench) -> None:
    assert list(bench.log().pieces(None)) == [(b"", 0)]
    assert list(bench.log().pieces(5)) == [(b"", 0)]


def test_it_is_followed_to_the_end_of_the_attempt(bench: Bench) -> None:
    bench.write(b"old\n")
    log = bench.log()
    steps = [lambda: bench.write(b"old\nnew\n"), lambda: (bench.write(b"old\nnew\nlast\n"), bench.end(3))]
    assert b"".join(follow(log, 4, lambda _: cast(Any, steps.pop(0))())) == b"new\nlast\n"
    assert log.ended()
    assert log.ending() == "exit 3"


def test_a_host_that_goes_away_and_comes_back_is_waited_for(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write(b"old\n")
    log = bench.log()

    def lose() -> None:
        bench.agent.answers = False

    def come_back() -> None:
        bench.agent.answers = True
        bench.write(b"old\nmeanwhile\n")
        bench.end()

    steps = [lose, lambda: None, come_back]
    assert b"".join(follow(log, 4, lambda _: steps.pop(0)())) == b"meanwhile\n"
    assert capsys.readouterr().err == "b (10.0.0.7) did not answer within 10 s; waiting for it\n"


def test_an_attempt_that_is_given_up_meanwhile_is_over(bench: Bench) -> None:
    bench.agent.answers = False
    log = bench.log()
    assert not log.ended()
    given_up = f.ended("p/a", "11:00", "12:00", "failed_other", "HostForgotten", "given up", host="b", exit_code=None)
    bench.record = JobRecord("p/a", (given_up,))
    assert list(follow(log, 0, lambda _: None)) == []
    assert log.ending() == "its exit code is not known"


def test_a_host_that_does_not_answer_at_first_is_an_error(bench: Bench) -> None:
    bench.agent.answers = False
    with pytest.raises(CliError, match=r"the log of p/a is on b \(10\.0\.0\.7\) did not answer") as caught:
        next(bench.log().pieces(None))
    assert caught.value.hint == "exq hosts b"


def test_whether_it_answers_is_told(bench: Bench) -> None:
    bench.write(b"x\n")
    assert bench.log().silence() is None
    bench.agent.answers = False
    assert bench.log().silence() == GONE["error"]


def test_what_the_ledger_knows_is_not_asked_for(bench: Bench) -> None:
    bench.agent.answers = False
    bench.attempt = f.ended("p/a", "11:00", "12:00", host="b", exit_code=0)
    assert bench.log().ended()
    assert bench.log().ending() == "exit 0"
