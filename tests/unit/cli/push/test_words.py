"""What a push tells at its end."""

from __future__ import annotations

import pytest

from reconciler.cli.push.decide import Exq, change_of
from reconciler.cli.push.words import held_words, plan_text
from reconciler.view.style import Style
from tests.unit.cli.push.test_decide import package, there


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, ""),
        (1, "files that no push has put there stay in /s/1 (a, .b); none of these folders is ever removed"),
        (
            4,
            "files that no push has put there stay in /s/4 (a, .b), /s/3 (a, .b), /s/2 (a, .b) and 1 more beside them; "
            "none of these folders is ever removed",
        ),
    ],
)
def test_sets_that_stay(count: int, words: str) -> None:
    held = [{"folder": f"/s/{number}", "names": ["a", ".b"]} for number in range(1, count + 1)]
    assert held_words(held) == words


@pytest.mark.parametrize(
    ("exq", "words"),
    [
        (Exq("keep", "0.1.0"), "0.1.0 is there already\n"),
        (Exq("keep", "0.1.0", "/p"), "0.1.0 is there already, with the Python that it has (/p)\n"),
        (Exq("newer", "0.3.0", "/p"), "and stays, with the Python that it has (/p)\n"),
        (
            Exq("install", "0.1.0", "/p", "3.11.2", broken=True),
            "0.1.0 there does not run any more; 0.2.0 takes its place with /p (Python 3.11.2)\n",
        ),
        (
            Exq("install", "0.2.0", "/p", "3.11.2", broken=True),
            "0.2.0 there does not run any more; it is installed anew with /p (Python 3.11.2)\n",
        ),
    ],
)
def test_what_becomes_of_exq(exq: Exq, words: str) -> None:
    assert words in plan_text("box", package(), there(), change_of({}, {}), exq, "0.2.0", Style())


@pytest.mark.parametrize(("kind", "code", "told"), [("nothing", False, 1), ("nothing", True, 0), ("pushed", False, 0)])
def test_that_code_is_not_sent_is_told_once_and_where_there_is_none(kind: str, code: bool, told: int) -> None:
    text = plan_text("box", package(), there(kind, code=code), change_of({}, {}), Exq("keep", "1"), "1", Style())
    assert text.count("code   is not sent: what the jobs run has to be in /home/ann/x") == told
