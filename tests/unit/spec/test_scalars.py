"""What you write is what your program gets; the typed value is what YAML 1.2 says it is."""

from __future__ import annotations

import math
import shlex

import pytest

from reconciler.model.spec import Scalar
from reconciler.spec.load import load_text
from reconciler.spec.nodes import ListNode, MapNode, ScalarNode
from reconciler.spec.report import Report
from reconciler.spec.yaml_nodes import compose

AS_WRITTEN: list[tuple[str, Scalar]] = [
    ("1e-4", 1e-4), ("1E5", 1e5), ("0.10", 0.1), ("007", 7), ("010", 10), ("0o10", 8), ("0x1F", 31), ("1_000", "1_000"),
    ("no", "no"), ("on", "on"), ("yes", "yes"), ("Off", "Off"), ("y", "y"), ("true", True), ("False", False),
    ("null", None), ("~", None), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("+5", 5), ("-3", -3),
    (".5", 0.5), ("5.", 5.0), ("1.", 1.0), ("-.inf", -math.inf), (".inf", math.inf), ("0b11", "0b11"), ("1e", "1e"),
    ("v1.2", "v1.2"), ("1.2.3", "1.2.3"), ("é", "é"), ("9" * 110, int("9" * 110)), ("=", "="),
]  # fmt: skip


@pytest.mark.parametrize(("written", "value"), AS_WRITTEN)
def test_a_parameter_keeps_its_text_and_gets_its_type(written: str, value: Scalar) -> None:
    spec = f"grid: {{x: [{written}, other]}}\ntemplate:\n  id: j${{x}}\n  cmd: run ${{x}}\n  args: {{x: v${{x}}}}\n"
    project, errors = load_text(spec, "s.yaml", "/base")
    assert project is not None, errors
    job = next(project.jobs())
    assert job.params == {"x": value}
    assert type(job.params["x"]) is type(value)
    assert job.id == f"j{written}"
    assert shlex.split(job.cmd) == ["run", written, "--x", f"v{written}"]


@pytest.mark.parametrize(
    ("written", "raw", "value"),
    [
        ('"007"', "007", "007"),
        ("'no'", "no", "no"),
        ("!!str 010", "010", "010"),
        ("!!float 3", "3", 3.0),
        ("! 3", "3", "3"),
        ('"true"', "true", "true"),
        ('""', "", ""),
        ("|\n  a\n  b\n", "a\nb\n", "a\nb\n"),
        (">\n  a\n  b\n", "a b\n", "a b\n"),
        ('"a\\tb"', "a\tb", "a\tb"),
    ],
)
def test_quotes_and_tags_decide_the_type(written: str, raw: str, value: Scalar) -> None:
    root = compose(f"key: {written}\n", Report("s.yaml"))
    assert isinstance(root, MapNode)
    node = root.get("key")
    assert isinstance(node, ScalarNode)
    assert (node.raw, node.value, type(node.value)) == (raw, value, type(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("args: {seed: ${seed}, n_hidden: ${N}}", {"seed": "${seed}", "n_hidden": "${N}"}),
        ("args: {a: $${HOME}, b: ${X:-y}, c: x${a}y${b}}", {"a": "$${HOME}", "b": "${X:-y}", "c": "x${a}y${b}"}),
        ("args: {a: ['${', 1], b: '}'}", {"a": ["${", 1], "b": "}"}),
    ],
)
def test_references_may_stand_in_flow_mappings(text: str, expected: dict[str, object]) -> None:
    from reconciler.spec.nodes import plain

    report = Report("s.yaml")
    root = compose(text, report)
    assert root is not None
    assert not report.failed
    assert plain(root) == {"args": expected}


def test_places_are_those_of_the_file() -> None:
    text = "a: {s: ${seed}, t: 'x'}\nb:\n  - é ${N}\n  - |\n    z\n"
    root = compose(text, Report("s.yaml"))
    assert isinstance(root, MapNode)
    inner, items = root.get("a"), root.get("b")
    assert isinstance(inner, MapNode)
    assert isinstance(items, ListNode)
    quoted, first, block = inner.get("t"), items.items[0], items.items[1]
    assert isinstance(quoted, ScalarNode)
    assert isinstance(first, ScalarNode)
    assert isinstance(block, ScalarNode)
    assert inner.key_place("t") == (1, 17)
    assert (quoted.place, quoted.place_at(0)) == ((1, 20), (1, 21))
    assert (first.place, first.place_at(2)) == ((3, 5), (3, 7))
    assert (block.place, block.place_at(1)) == ((4, 5), (4, 5))


def test_merge_keys_keep_what_is_written_here_and_the_first_base() -> None:
    text = "x-a: &a {p: 1, q: 2}\nx-b: &b {q: 3, r: 4}\nc:\n  <<: [*a, *b]\n  p: 9\n"
    root = compose(text, Report("s.yaml"))
    assert isinstance(root, MapNode)
    merged = root.get("c")
    assert isinstance(merged, MapNode)
    assert {key: node.raw for key, node in merged.items() if isinstance(node, ScalarNode)} == {
        "p": "9",
        "q": "2",
        "r": "4",
    }


def test_the_slower_parser_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    text = "a: {s: ${seed}, t: 'x'}\nb: [010, *x]\nc: |\n  z\n"
    fast, slow = Report("s.yaml"), Report("s.yaml")
    expected = compose(text, fast)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert compose(text, slow) == expected
    assert slow.sorted() == fast.sorted() != ()
