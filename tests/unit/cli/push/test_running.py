"""What a push says of a loop that runs there already."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.cli.push.running import Far, Loop, start_loop
from tests.unit.cli.push.test_decide import there

HELD = (75, {"error": "another loop (pid 7 on box) holds the state folder /s", "hint": "look"})


class Answers(Far):
    """A far exq without a machine: there is no systemd, and a loop runs."""

    daemon: Any = None

    def json(self, *words: str, login: bool = False) -> tuple[int, dict[str, Any]]:
        known: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {
            ("service", "status"): (1, {"error": "no user manager"}),
            ("run", "--detach"): HELD,
            ("status",): (0, {"daemon": self.daemon}),
        }
        return known[words]


def started(daemon: dict[str, Any] | None) -> Loop:
    Answers.daemon = daemon
    return start_loop(Answers("box", None, "exq", "/x/specs"), there(), new_exq=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [{"specs": "/home/ann/x/specs", "serves": True}, {}])
def test_a_loop_that_runs_takes_them_up(more: dict[str, Any]) -> None:
    loop = started({"pid": 7, **more})
    assert (loop.kind, loop.words, loop.hint, loop.runs) == ("other", "the loop there (pid 7) takes them up", "", True)


def test_a_loop_of_other_specs_does_not() -> None:
    loop = started({"pid": 7, "specs": "/y/specs", "serves": False})
    assert (loop.kind, loop.runs) == ("elsewhere", False)
    assert "serves the specs in /y/specs" in loop.words
    for way in ("exq push box:/y;", "box kill 7", "exq --host box run --detach", "--no-service"):
        assert way in loop.hint


def test_a_loop_that_does_not_say() -> None:
    assert started(None) == Loop("other", str(HELD[1]["error"]), "look")
