from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.model.spec import Desired, SpecFile
from reconciler.view.spec_news import spec_news
from tests.unit.view import factories as f

PLACE = "specs/p.yaml"


def specs(*ids: str, broken: bool = False, last_good: bool = True, **changes: object) -> Desired:
    wanted = f.desired(f.project("p", {"main": ids}, **changes))
    if not broken:
        return wanted
    errors = (f.SpecError(PLACE, 3, 5, "unknown key gird"), f.SpecError(PLACE, 9, 1, "odd"))
    kept = wanted if last_good else f.desired()
    return replace(kept, files=(SpecFile(PLACE, "e", broken=True, last_good=last_good),), errors=errors)


def unsettled(*ids: str) -> Desired:
    return replace(specs(*ids), files=(SpecFile(PLACE, "d", unsettled=True),))


def texts(before: Desired, after: Desired) -> list[str]:
    return [news.text for news in spec_news(before, after)]


def other_command(of: str) -> dict[str, object]:
    return {"job_changes": {of: {"generation": "g2"}}}


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (specs("a", "b", "c"), specs("b", "c", "d", "e", **other_command("c")), ": 4 jobs (2 new, 1 gone, 1 changed)"),
        (specs("a"), specs("a", max_parallel=9), ": 1 job (settings changed)"),
        (specs("a", broken=True), specs("a"), " loads again: 1 job"),
        (specs("a", broken=True), specs("a", "b"), " loads again: 2 jobs (1 new)"),
        (f.desired(), specs("a", "b"), ": 2 jobs (2 new)"),
        (specs("a"), f.desired(), " is gone, and with it 1 job"),
        (
            specs("a"),
            specs("a", broken=True),
            " is broken, the last version that loaded stays in force: specs/p.yaml:3:5: unknown key gird"
            " (and 1 more mistake: exq validate)",
        ),
    ],
)
def test_a_change(before: Desired, after: Desired, text: str) -> None:
    assert texts(before, after) == [f"{PLACE}{text}"]


def test_a_file_that_never_loaded_changes_nothing() -> None:
    (text,) = texts(f.desired(), specs("a", broken=True, last_good=False))
    assert text.startswith(f"{PLACE} is broken, nothing is changed for its jobs: specs/p.yaml:3:5")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: specs("a"), lambda: specs("a")),
        (lambda: specs("a"), lambda: specs("a", job_changes={"a": {"source": "specs/p.yaml:99:1"}})),
        (lambda: specs("a", broken=True), lambda: specs("a", broken=True)),
        (lambda: specs("a"), lambda: unsettled("a")),
        (lambda: unsettled("a"), lambda: specs("a")),
    ],
    ids=["the same", "lines moved", "still broken", "being written", "written, and the same"],
)
def test_no_news(before: Callable[[], Desired], after: Callable[[], Desired]) -> None:
    assert texts(before(), after()) == []


SETTINGS = "specs/exq.yaml"


def with_settings(*errors: str, unsettled: bool = False) -> Desired:
    wanted = specs("a")
    files = (SpecFile(SETTINGS, "", unsettled=True),) if unsettled else ()
    mistakes = tuple(f.SpecError(SETTINGS, 1, 2, words) for words in errors)
    return replace(wanted, files=(*wanted.files, *files), errors=mistakes)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (with_settings(unsettled=True), with_settings(), []),
        (with_settings(), with_settings(unsettled=True), []),
        (with_settings("odd"), with_settings("odd", unsettled=True), []),
        (with_settings("odd", unsettled=True), with_settings(), [f"{SETTINGS} has no mistake any more"]),
        (with_settings("odd"), with_settings("odd"), []),
        (
            with_settings(unsettled=True),
            with_settings("odd"),
            [f"{SETTINGS} is broken, what it said when it last loaded stays in force: {SETTINGS}:1:2: odd"],
        ),
    ],
)
def test_exq_yaml(before: Desired, after: Desired, told: list[str]) -> None:
    assert texts(before, after) == told


def test_an_exq_yaml_that_never_loaded() -> None:
    nothing = replace(f.desired(), version="", errors=with_settings("odd").errors)
    assert texts(f.desired(), nothing) == [f"{SETTINGS} is broken, so nothing is asked for: {SETTINGS}:1:2: odd"]
