"""`conda`, `venv` and `runner`: which holds for a job, and what is no mistake and what is one."""

from __future__ import annotations

import pytest

from reconciler.model.spec import Job
from reconciler.spec.jobs import generation_of
from reconciler.spec.load import load_text

ONE = "jobs: [{id: a, cmd: x}]\n"


def job(text: str) -> Job:
    project, errors = load_text(text, "s.yaml", "/base")
    assert errors == () and project is not None
    return next(project.jobs())


def told(text: str) -> list[str]:
    project, errors = load_text(text, "s.yaml", "/base")
    assert project is None or all(error.warning for error in errors)
    return [str(error).removeprefix("s.yaml:") for error in errors]


@pytest.mark.parametrize(
    ("text", "conda", "hook", "venv", "runner"),
    [
        (ONE, None, None, None, None),
        ("conda: c\nconda_hook: h\n" + ONE, "c", "h", None, None),
        ("conda_hook: h\n" + ONE, None, "h", None, None),
        ("venv: .venv\n" + ONE, None, None, ".venv", None),
        ("venv: ~/v\nrunner: uv run\n" + ONE, None, None, "~/v", "uv run"),
        ("conda: c\nconda_hook: h\njobs: [{id: a, cmd: x, venv: v}]\n", None, None, "v", None),
        ("venv: v\njobs: [{id: a, cmd: x, conda: c}]\n", "c", None, None, None),
        ("conda: c\njobs: [{id: a, cmd: x, venv: v, conda: null}]\n", None, None, "v", None),
        ("venv: v\nrunner: uv run\njobs: [{id: a, cmd: x, venv: null, runner: null}]\n", None, None, None, None),
        ("runner: a\nphases: [{name: p, runner: b, jobs: [{id: a, cmd: x}]}]\n", None, None, None, "b"),
        ("grid: {e: [x, y]}\ntemplate: {cmd: 'run ${e}', venv: 'envs/${e}'}\n", None, None, "envs/x", None),
        ("grid: {e: [a b, y]}\ntemplate: {cmd: 'run ${e}', runner: 'tool ${e}'}\n", None, None, None, "tool 'a b'"),
        ("runner: pixi run -e train --manifest-path '$HOME/p x' $HOME/p ${GPU}\n" + ONE,
         None, None, None, "pixi run -e train --manifest-path '$HOME/p x' $HOME/p ${GPU}"),
        ("runner: 'A=1 uv run \"a;b\" c#d x\\ y'\n" + ONE, None, None, None, 'A=1 uv run "a;b" c#d x\\ y'),
        ("runner: $${TOOL} run\n" + ONE, None, None, None, "${TOOL} run"),
    ],
)  # fmt: skip
def test_what_holds_for_a_job(
    text: str, conda: str | None, hook: str | None, venv: str | None, runner: str | None
) -> None:
    found = job(text)
    assert (found.conda, found.conda_hook, found.venv, found.runner) == (conda, hook, venv, runner)


WORDS_ONLY = "`runner` is put before the command, so it is words only"
WRITE = "is none (quote it, or write it into `cmd`)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conda: c\nvenv: v\n" + ONE,
         ["2:1: a job has either a `conda` environment or a `venv`, not both: take one of them out"]),
        ("jobs: [{id: a, cmd: x, venv: v, conda: c}]\n",
         ["1:24: a job has either a `conda` environment or a `venv`, not both: take one of them out"]),
        ("runner: uv run;\n" + ONE, [f"1:15: {WORDS_ONLY}; `;` {WRITE}"]),
        ("runner: a && uv run\n" + ONE, [f"1:11: {WORDS_ONLY}; `&& uv run` {WRITE}"]),
        ("runner: a | b\n" + ONE, [f"1:11: {WORDS_ONLY}; `| b` {WRITE}"]),
        ("runner: a >log\n" + ONE, [f"1:11: {WORDS_ONLY}; `>log` {WRITE}"]),
        ("runner: a $(b)\n" + ONE, [f"1:11: {WORDS_ONLY}; `$(b)` {WRITE}"]),
        ("runner: a `b`\n" + ONE, [f"1:11: {WORDS_ONLY}; ``b`` {WRITE}"]),
        ("runner: 'a ''b'\n" + ONE, [f"1:9: {WORDS_ONLY}; `'b` {WRITE}"]),
        ('runner: "a #b"\n' + ONE, [f"1:12: {WORDS_ONLY}; `#b` {WRITE}"]),
        ("runner: |\n  a\n  b\n" + ONE, [f"1:9: {WORDS_ONLY}; a line break {WRITE}"]),
        ("runner: A=1\n" + ONE, ["1:9: `runner` names no program: variables go into `env`"]),
        ("runner: a ${nope}\n" + ONE, ["1:11: unknown name `${nope}`: the job `a` has no parameters"]),
        ("runner: [uv, run]\n" + ONE, ["1:9: `runner` must be text, not a list"]),
        ("runner: ''\n" + ONE, ["1:9: `runner` must not be empty"]),
        ("venv: {a: b}\n" + ONE, ["1:7: `venv` must be text, not a mapping"]),
        ("rnner: uv run\n" + ONE, ["1:1: unknown key `rnner` (did you mean `runner`?)"]),
        ("jobs: [{cmd: x, vemv: v}]\n", ["1:17: unknown key `vemv` in entry 1 of `jobs` (did you mean `venv`?)"]),
    ],
)  # fmt: skip
def test_mistakes(text: str, expected: list[str]) -> None:
    assert told(text) == expected


def test_both_are_part_of_what_a_job_runs() -> None:
    plain, in_venv, behind_runner = job(ONE), job("venv: v\n" + ONE), job("runner: r\n" + ONE)
    assert len({plain.generation, in_venv.generation, behind_runner.generation}) == 3
    assert plain.generation == generation_of("x", "/base", {}, None, None, ())
    assert in_venv.generation == generation_of("x", "/base", {}, None, None, (), venv="v")


def test_jobs_without_them_keep_the_generation_that_they_had() -> None:
    assert job(ONE.replace("cmd: x", "cmd: x, cwd: /w, conda: c")).generation == "b336ccd4282e2f1b"
