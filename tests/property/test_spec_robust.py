"""No text makes the loader raise, and a grid makes exactly the jobs it says."""

from __future__ import annotations

from math import prod
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.spec import Project
from reconciler.spec.load import load_text
from reconciler.spec.nodes import plain
from reconciler.spec.report import Report
from reconciler.spec.yaml_nodes import compose

SEED = Path(__file__).parent.parent / "unit" / "spec" / "seed"
KITCHEN_SINK = """\
project: sink
x-base: &base {cwd: work, env: {A: 1}}
gpus: [0, 1]
oom_retry: {delay: 2m, max_attempts: 3}
linger: 1h30m
preconditions:
  - {type: command, command: "test -e ${N}"}
jobs:
  - <<: *base
    id: one
    params: {N: 010, x: 1e-4}
    cmd: echo "${N}" ${x} $$HOME
grid: [{N: [1, 2]}, {N: 3, m: [a, b c]}]
exclude: [{N: 1}]
template: {cmd: 'run ${N}', args: {n: ${N}, flag: true, l: [1, ${N}]}}
phases:
  - name: second
    depends_on: main
    jobs:
      - {id: two, params: {N: 5}, cmd: "go ${N}", expected_output: [a_${N}, b]}
"""
TEXTS = [*(path.read_text(encoding="utf-8") for path in sorted(SEED.glob("*.yaml"))), KITCHEN_SINK]
PIECES = [
    "${", "}", "{", "[", "]", "*base", "&x ", "<<: ", "- ", ": ", "\n", "\t", "'", '"', "null", "true", "~", "!!int ",
    "---\n", "0x1F", ".nan", "é", "\u2028", "\x85", "\r", "%", "|", ">", "#", "cmd: ", "grid: ", "id: ", "args: ",
    "\ufeff",
]  # fmt: skip


def test_the_untouched_texts_load() -> None:
    assert len(TEXTS) == 4
    project, errors = load_text(KITCHEN_SINK, "s.yaml", "/base")
    assert project is not None, errors


def check(text: str) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert isinstance(project, Project) or any(not error.warning for error in errors)
    assert all(error.message and "\n" not in str(error) for error in errors)
    assert list(errors) == sorted(errors, key=lambda error: (error.line, error.column))
    again, _ = load_text(text, "s.yaml", "/base", schema_checked=True)
    assert project is None or again == project


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.sampled_from(["", *PIECES])) + text[end:]
    return text[: draw(st.integers(len(text) // 2, len(text)))]


@given(text=mutated())
@settings(max_examples=200, deadline=None)
def test_a_damaged_spec_is_an_error_at_most(text: str) -> None:
    check(text)


@given(text=st.text(max_size=60) | st.text(st.sampled_from("".join(PIECES) + "ab01 "), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_error_at_most(text: str) -> None:
    check(text)


keys = [
    "jobs", "grid", "template", "phases", "args", "env", "gpus", "id", "cmd", "cwd", "params", "name", "depends_on",
    "preconditions", "oom_retry", "exclude", "linger", "project", "output_check", "gpus_per_job", "type", "path",
]  # fmt: skip
scalars = st.sampled_from(["1", "a", "null", "true", "1e-4", "''", "'${N}'", ".inf", "-3", "{}", "[]"])
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(keys), inner, max_size=3).map(
            lambda entries: "{" + ", ".join(f"{key}: {value}" for key, value in entries.items()) + "}"
        )
    ),
    max_leaves=12,
)


@given(tree=st.dictionaries(st.sampled_from(keys), trees, max_size=5))
@settings(max_examples=200, deadline=None)
def test_wrong_shapes_are_an_error_at_most_even_unchecked(tree: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in tree.items())
    load_text(text, "s.yaml", "/base", schema_checked=True)
    check_shape(text)


def check_shape(text: str) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert project is not None or any(not error.warning for error in errors)


names = st.text(st.sampled_from("abcdefgNMK_"), min_size=1, max_size=5)


@given(axes=st.dictionaries(names, st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_grid_has_the_product_of_its_axes(axes: dict[str, int]) -> None:
    grid = "".join(f"  {name}: [{', '.join(map(str, range(size)))}]\n" for name, size in axes.items())
    spec = f"grid:\n{grid}template:\n  cmd: run {' '.join(f'${{{name}}}' for name in axes)}\n"
    project, errors = load_text(spec, "s.yaml", "/base")
    assert project is not None, errors
    jobs = list(project.jobs())
    assert len(jobs) == prod(axes.values()) == len({job.id for job in jobs}) == len({job.generation for job in jobs})
    slowest = [str(job.params[next(iter(axes))]) for job in jobs]
    assert slowest == sorted(slowest)


@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\uf8d2\uf8d3\ufeff"), max_size=20)
)
@settings(max_examples=100, deadline=None)
def test_a_quoted_text_keeps_its_characters_and_its_place(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    report = Report("s.yaml")
    root = compose(f"key: {quoted}\n", report)
    if root is None:
        assert report.failed
        return
    if "\u2028" not in text and "\u2029" not in text and text == text.strip():
        assert plain(root) == {"key": text}
