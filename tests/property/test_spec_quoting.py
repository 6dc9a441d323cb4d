"""Any value of a parameter reaches the program unchanged through a real shell, or is a clear error."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.spec.load import load_text

BARE = [
    ("printf '%s\\0' ${v}", "{}"),
    ("printf '%s\\0' pre${v}post", "pre{}post"),
    ("printf '%s\\0' --x=${v} # a comment", "--x={}"),
    ("X=kept; printf '%s\\0' $X${v}", "kept{}"),
    ('X=kept; printf \'%s\\0\' "$X"${v}"$X"', "kept{}kept"),
    ("X=${v}; printf '%s\\0' \"$X\"", "{}"),
    ("(cd / && printf '%s\\0' ${v})", "{}"),
    ("printf '%s\\0' it\\'s${v}", "it's{}"),
    ("printf '%s\\0' \"a 'b' \"${v}", "a 'b' {}"),
    ("printf '%s\\0' \"$(printf '%s.' ${v})\"", "{}."),
]
QUOTED = [
    ("printf '%s\\0' '${v}'", "{}"),
    ("printf '%s\\0' \"${v}\"", "{}"),
    ("X=kept; printf '%s\\0' \"$X${v}\"", "kept{}"),
    ("printf '%s\\0' \"a ${v} b\"", "a {} b"),
    ("printf '%s\\0' `echo ${v}`", "{}"),
    ("X=$(cat <<EOF\n${v}\nEOF\n); printf '%s\\0' \"$X\"", "{}"),
    ("sh -c 'printf \"%s\\0\" ${v}'", "{}"),
]
ARGS = [
    ("{x: ${v}}", ["--x", "{}"]),
    ("{x: 'a b/${v}'}", ["--x", "a b/{}"]),
    ("{x: ['${v}', '${v}${v}']}", ["--x", "{}", "{}{}"]),
    ("{x: $KEPT/${v}}", ["--x", "kept kept/{}"]),
    ("{x: ${y}, y: 'q ${v}'}", ["--x", "q {}", "--y", "q {}"]),
]

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\uf8d2\uf8d3"), max_size=12)
nasty = st.text(st.sampled_from("ab01 '\"\\$`!#&|;<>(){}[]*?~,=%\n\t-:é"), max_size=10)
hostile = [
    "", " ", "'", '"', "\\", "$HOME", "$(echo x)", "`echo x`", "a'b\"c", "a\nb", "-n", "--", "*", "~", "#x", "a;b",
    "!1", "{a,b}", "%s", "%", "a=b", "a,b", "\\'", "$", "${x}", "$$", "\t", "é", "1e-4", "\x7f", "\u2028", "x\n", "{",
    "}",
]  # fmt: skip


def yaml_text(value: str) -> str:
    """A double-quoted YAML scalar of any text."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in value)
    return f'"{plain}"'


def run(shell: str, command: str) -> list[str]:
    environment = {"PATH": "/usr/bin:/bin", "KEPT": "kept kept", "HOME": "/nowhere"}
    done = subprocess.run([shell, "-c", command], capture_output=True, env=environment, check=True)
    return done.stdout.decode().split("\0")[:-1]


def command_of(spec: str) -> tuple[str | None, str]:
    project, errors = load_text(spec, "s.yaml", "/base")
    words = "\n".join(str(error) for error in errors if not error.warning)
    return (next(project.jobs()).cmd if project else None), words


def spec_of(template: str, value: str, *, other: str = "plain") -> str:
    indented = template.replace("\n", "\n      ")
    grid = f"grid:\n  v: [{yaml_text(value)}, {yaml_text(other)}]\n"
    return f"{grid}template:\n  id: j${{v}}\n  cmd: |\n      {indented}\n".replace("  id: j${v}\n", "")


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(("template", "expected"), BARE)
@given(value=values | nasty)
@settings(max_examples=25, deadline=None)
def test_a_bare_value_arrives_as_it_is(shell: str, template: str, expected: str, value: str) -> None:
    command, words = command_of(spec_of(template, value, other=f"{value}+"))
    assert command is not None, words
    assert run(shell, command) == [expected.format(value)]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(("template", "expected"), QUOTED)
@given(value=values | nasty)
@example(value="a-b_c.d/e:f@g%h+i=j,k")
@settings(max_examples=25, deadline=None)
def test_a_value_inside_quotes_arrives_or_is_refused(shell: str, template: str, expected: str, value: str) -> None:
    command, words = command_of(spec_of(template, value))
    if command is None:
        assert "cannot be quoted" in words
    else:
        assert run(shell, command) == [expected.format(value)]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("value", hostile)
@pytest.mark.parametrize(("template", "expected"), BARE)
def test_hostile_values_arrive(shell: str, template: str, expected: str, value: str) -> None:
    command, words = command_of(spec_of(template, value, other="plain"))
    assert command is not None, words
    assert run(shell, command) == [expected.format(value)]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(("args", "expected"), ARGS)
@given(value=values | nasty)
@settings(max_examples=25, deadline=None)
def test_arguments_arrive_as_they_are(shell: str, args: str, expected: list[str], value: str) -> None:
    spec = f"grid: {{v: [{yaml_text(value)}, other]}}\ntemplate:\n  cmd: printf '%s\\0'\n  args: {args}\n"
    command, words = command_of(spec)
    assert command is not None, words
    assert run(shell, command) == [text.format(*[value] * text.count("{}")) for text in expected]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@given(value=values | nasty)
@settings(max_examples=50, deadline=None)
def test_a_literal_argument_arrives_as_written(shell: str, value: str) -> None:
    written = yaml_text(value.replace("$", "$$"))
    spec = f"jobs:\n  - id: a\n    cmd: printf '%s\\0'\n    args: {{x: {written}, y: [{written}]}}\n"
    command, words = command_of(spec)
    assert command is not None, words
    assert run(shell, command) == ["--x", value, "--y", value]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@given(value=values | nasty)
@settings(max_examples=50, deadline=None)
def test_hydra_arguments_arrive_as_one_word(shell: str, value: str) -> None:
    args = "{a.b: ${v}, c: ['${v}', 1], +d: 'x${v}'}"
    spec = (
        f"args_style: hydra\ngrid: {{v: [{yaml_text(value)}, o]}}\ntemplate:\n  cmd: printf '%s\\0'\n  args: {args}\n"
    )
    command, words = command_of(spec)
    assert command is not None, words
    assert run(shell, command) == [f"a.b={value}", f"c=[{value},1]", f"+d=x{value}"]


@given(value=nasty)
@settings(max_examples=60, deadline=None)
def test_a_value_inside_braces_is_not_split(value: str) -> None:
    command, words = command_of(spec_of("printf '%s\\0' {a,${v}}", value))
    assert command is not None, words
    assert run("bash", command) == ["a", value]
