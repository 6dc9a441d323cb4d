from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from reconciler.view.report import report_html
from reconciler.view.runs import run_of
from reconciler.view.timeline import ticks, timeline
from tests.unit.view import factories as f
from tests.unit.view.scenarios import distillation

VOID = {"meta", "input", "line", "rect"}


class Page(HTMLParser):
    """Checks that every element is closed in turn, and keeps the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def count(self, tag: str, **attrs: str) -> int:
        return sum(name == tag and attrs.items() <= found.items() for name, found in self.seen)


def test_one_well_formed_page_without_outside_assets() -> None:
    html = report_html(distillation(teacher_runs=True), "sweep")
    page = Page(html)
    assert page.open == []
    assert page.count("svg") == 1
    assert len(re.findall(r"<tr data-status=", html)) == 16
    assert not re.search(r"(src|href)=|url\(|@import|https?://", html)
    assert "12 of 16" in html
    assert "exit 1 (CodeError)" in html


def test_everything_is_escaped() -> None:
    evil = '<script>alert("x")</script>&\''
    wanted = f.desired(f.project("p", {"main": ["a"]}), revision=evil)
    state = f.state("p/a", "stuck", "CodeError", evil, attempt=1)
    known = f.ledger(f.record(f.ended("p/a", "11:00", "11:01", "failed_other", "CodeError", evil)))
    html = report_html(f.snapshot(wanted, f.plan(wanted, [state]), known), "p")
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#x27;") == 4
    assert Page(html).open == []


def test_a_project_that_has_not_started_has_no_timeline() -> None:
    wanted = f.desired(f.project("p", {"main": ["a"]}))
    html = report_html(f.snapshot(wanted, f.plan(wanted, [f.state("p/a", "pending", "NoFreeSlot")])), "p")
    assert "<svg" not in html
    assert "Failures" not in html


def test_attempts_without_gpus_take_the_first_free_slot() -> None:
    wanted = f.desired(f.project("p", {"main": ["a", "b", "c"]}))
    times = {"a": ("10:00", "10:10"), "b": ("10:05", "10:20"), "c": ("10:10", "10:30")}
    states = [f.state(f"p/{i}", "completed", "Succeeded") for i in times]
    known = f.ledger(*(f.record(f.ended(f"p/{i}", *span)) for i, span in times.items()))
    snapshot = f.snapshot(wanted, f.plan(wanted, states), known)
    svg = timeline(snapshot, "p", run_of(snapshot, "p"))
    lanes = re.findall(r'<text x="0" y="\d+">([^<]+)</text>', svg)
    assert lanes == ["slot 1", "slot 2"]
    tops = re.findall(r'<rect class="attempt completed" x="([\d.]+)" y="(\d+)" width="([\d.]+)"', svg)
    assert tops == [("64.0", "11", "307.0"), ("218.0", "37", "461.0"), ("372.0", "11", "615.0")]


def test_a_page_is_of_the_newest_run() -> None:
    wanted = f.desired(f.project("p", {"main": ["a", "b"]}))
    states = [f.state(f"p/{i}", "completed", "Succeeded") for i in "ab"]
    records = [f.record(f.ended("p/a", "08:00", "09:00")), f.record(f.ended("p/b", "11:01", "11:06", number=2))]
    run = f.ProjectRun("p", 2, f.at("11:00"), "/x", f.at("11:10"))
    html = report_html(f.snapshot(wanted, f.plan(wanted, states), f.ledger(*records, runs={"p": run})), "p")
    assert ", run 2</p>" in html
    assert "<b>10m</b><span>wall-clock</span>" in html.replace("10m 00s", "10m")
    assert html.count('<rect class="attempt') == 1


@pytest.mark.parametrize("span_s", [0.5, 7, 100, 3600, 6.4 * 3600, 3 * 86400, 90 * 86400])
def test_ticks_are_few_and_inside(span_s: float) -> None:
    found = ticks(f.NOW, f.NOW + span_s)
    assert len(found) <= 9
    assert all(f.NOW <= at <= f.NOW + span_s for at in found)
    assert span_s < 2 or len(found) >= 2
