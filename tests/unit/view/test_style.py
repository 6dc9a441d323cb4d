from __future__ import annotations

import re

import pytest

from reconciler.model.enums import Reason
from reconciler.view.style import Heading, Row, Style, bar, command, hang, table, wrap
from reconciler.view.words import _MEANINGS, count, gpu_list, on_place, ranges, sentence_and_word


def test_rows_share_columns_and_sentences_wrap_under_themselves() -> None:
    lines = table(
        [
            Heading("group", "note"),
            Row("+", ("a", "launch", "one two three four five six seven eight nine ten eleven twelve")),
            Row("!", ("longer", "stuck", "short")),
        ],
        Style(width=60),
        (8, 8),
    )
    assert lines == [
        "group                   note",
        "  + a         launch    one two three four five six seven",
        "                        eight nine ten eleven twelve",
        "  ! longer    stuck     short",
    ]


def test_a_very_long_name_moves_the_sentence_to_its_own_line() -> None:
    long = "j" * 70
    lines = table([Row(".", (long, "pending", "phase not open"))], Style(width=70))
    assert lines == [f"  . {long}  pending", "      phase not open"]


def test_long_words_and_commands_stay_whole() -> None:
    assert wrap("see /a/very/long/path now", 10) == ["see", "/a/very/long/path", "now"]
    assert wrap(f"it failed; {command('exq logs s42')}", 18) == ["it failed;", "exq logs s42"]


def test_hanging_lines() -> None:
    assert hang("  ", "word " * 14 + "end", Style(width=60)) == [
        "  word word word word word word word word word word word",
        "    word word word end",
    ]


def test_colour_changes_nothing_but_colour() -> None:
    rows = [Heading("group", "note"), Row("+", ("a", "launch", "new in spec")), Row("?", ("b", "", "odd"))]
    coloured = "\n".join(table(rows, Style(color=True)))
    plain = "\n".join(table(rows, Style()))
    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 0, "[....................]"),
        (0, 3, "[....................]"),
        (1, 3, "[######..............]"),
        (999, 1000, "[###################.]"),
        (3, 3, "[####################]"),
    ],
)
def test_a_bar_is_full_only_when_all_is_done(done: int, total: int, text: str) -> None:
    assert bar(done, total, Style()) == text


def test_words() -> None:
    assert [count(1, "job"), count(0, "job"), count(12345, "job")] == ["1 job", "0 jobs", "12,345 jobs"]
    assert ranges([3, 0, 1, 1, 5, 6, 7]) == "0-1, 3, 5-7"
    assert [gpu_list([3]), gpu_list([])] == ["GPU 3", ""]
    assert [on_place("", [2, 3]), on_place("b", [3]), on_place("", [])] == [" on GPU 2-3", " on b, GPU 3", ""]
    assert sentence_and_word("exit 1", Reason.CODE_ERROR) == "exit 1 (CodeError)"
    assert sentence_and_word("again after CodeError", Reason.CODE_ERROR) == "again after CodeError"
    assert sentence_and_word("", Reason.DISK_FULL) == "disk full (DiskFull)"


def test_every_reason_has_words() -> None:
    assert set(_MEANINGS) == set(Reason)
