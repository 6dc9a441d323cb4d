"""Reading and following the log of an attempt."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.cli import logfile
from reconciler.cli.logfile import AttemptLog, attempts_of, follow, keys_with_attempts, last_lines
from tests.unit.cli.tails import TAILS


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize(("text", "count", "tail"), [*TAILS, (b"\xff\xfe\n\x00\n", 1, b"\x00\n")])
def test_last_lines(
    text: bytes, count: int | None, tail: bytes, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "BLOCK_BYTES", block)
    (tmp_path / "log").write_bytes(text)
    pieces = list(last_lines(tmp_path / "log", count))
    assert (b"".join(text for text, _ in pieces), pieces[-1][1]) == (tail, len(text))
    assert all(len(text) <= block for text, _ in pieces), "a log may be larger than memory"


def test_of_a_log_that_grows_what_was_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "BLOCK_BYTES", 2)
    (tmp_path / "log").write_bytes(b"one\n")
    pieces = []
    for piece in last_lines(tmp_path / "log", None):
        pieces.append(piece)
        with (tmp_path / "log").open("ab") as file:
            file.write(b"more\n")
    assert pieces == [(b"", 0), (b"on", 2), (b"e\n", 4)]


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert list(last_lines(tmp_path / "log", None)) == [(b"", 0)]


def _log(tmp_path: Path) -> AttemptLog:
    return AttemptLog("p/a", 1, tmp_path)


def _started(folder: Path, pid: int, ticks: int) -> None:
    facts = {"boot_id": "b", "pid": pid, "start_ticks": ticks, "shim_pid": pid, "shim_start_ticks": ticks}
    (folder / "started.json").write_text(json.dumps(facts))


def _own_ticks() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def test_nothing_recorded_is_not_ended(tmp_path: Path) -> None:
    assert not _log(tmp_path).ended()


@pytest.mark.parametrize(
    ("name", "text", "ending"),
    [("exit.json", '{"code": 7}', "exit 7"), ("verdict.json", "{}", "its exit code is not known")],
)
def test_a_record_of_the_end(name: str, text: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert _log(tmp_path).ended()
    assert _log(tmp_path).ending() == ending


def test_a_live_process_is_not_ended_and_one_of_another_time_is(tmp_path: Path) -> None:
    _started(tmp_path, os.getpid(), _own_ticks())
    assert not _log(tmp_path).ended()
    # the pid is in use again, by a process that started later
    _started(tmp_path, os.getpid(), _own_ticks() - 1)
    assert _log(tmp_path).ended()


def test_follow_ends_with_the_attempt_and_misses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n")
    steps = [lambda: log.write_bytes(b"old\nnew\n"), lambda: None, lambda: _end(tmp_path)]
    assert b"".join(follow(_log(tmp_path), 4, lambda _: steps.pop(0)())) == b"new\nlast\n"
    assert not steps


def _end(folder: Path) -> None:
    (folder / "log").write_bytes(b"old\nnew\nlast\n")
    (folder / "exit.json").write_text('{"code": 0}')


def test_attempts_are_numbers_in_order(tmp_path: Path) -> None:
    for name in ("1", "2", "10", ".tmp-1", "x"):
        (tmp_path / "p" / "a" / name).mkdir(parents=True)
    assert list(attempts_of(tmp_path, "p/a")) == [1, 2, 10]
    assert attempts_of(tmp_path, "p/b") == {}


def test_keys_with_attempts(tmp_path: Path) -> None:
    for key in ("p/a/1", "p/b/1", "q/a/2"):
        (tmp_path / key).mkdir(parents=True)
    assert keys_with_attempts(tmp_path) == ("p/a", "p/b", "q/a")
    assert keys_with_attempts(tmp_path / "none") == ()
