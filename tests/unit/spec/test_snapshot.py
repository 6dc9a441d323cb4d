"""`provenance` and `snapshot` in a spec."""

from __future__ import annotations

import pytest

from reconciler.spec.load import load_text

JOB = "jobs: [{id: a, cmd: x, output_check: out/a}]\n"


@pytest.mark.parametrize(
    ("line", "provenance", "snapshot"),
    [
        ("", True, None),
        ("provenance: false", False, None),
        ("snapshot: false", True, None),
        ("snapshot: true", True, ""),
        ("snapshot: HEAD", True, "HEAD"),
        ("snapshot: v1.0", True, "v1.0"),
        ("snapshot: HEAD~2", True, "HEAD~2"),
        ("snapshot: '0123456'", True, "0123456"),
    ],
)
def test_what_is_written(line: str, provenance: bool, snapshot: str | None) -> None:
    project, errors = load_text(f"{line}\n{JOB}", "p.yaml", "/w")
    assert project is not None, errors
    assert (project.provenance, project.snapshot) == (provenance, snapshot)


def test_neither_changes_what_a_job_is() -> None:
    """A new commit, or none, must not have completed jobs run again."""
    generations = set()
    for line in ("", "snapshot: true", "snapshot: v1", "provenance: false"):
        project, _ = load_text(f"{line}\n{JOB}", "p.yaml", "/w")
        assert project is not None
        generations.update(job.generation for job in project.jobs())
    assert len(generations) == 1


@pytest.mark.parametrize("value", ["--upload-pack=x", "a b", "'-x'", "[a]", "''", "'$(x)'"])
def test_no_name_of_a_commit(value: str) -> None:
    project, errors = load_text(f"snapshot: {value}\n{JOB}", "p.yaml", "/w")
    assert project is None
    assert "`snapshot` must be true, false, or the name of a branch, a tag or a commit" in str(errors[0])


@pytest.mark.parametrize("output", ["a.json", "*.json", "*/a.json", "./a.json", "?x/a"])
def test_outputs_that_would_stay_behind(output: str) -> None:
    text = f"snapshot: true\njobs: [{{id: a, cmd: x, output_check: '{output}'}}]\n"
    project, errors = load_text(text, "p.yaml", "/w")
    assert project is None
    assert str(errors[0]).startswith(f"p.yaml:1:1: with `snapshot`, outputs must lie in a folder: `{output}` of `a`")
    assert load_text(text.replace("true", "false"), "p.yaml", "/w")[0] is not None


@pytest.mark.parametrize("output", ["out/a.json", "out/*/a", "./out/a", "/abs/*.json", "~/x.json", "../out/a"])
def test_outputs_that_are_found(output: str) -> None:
    text = f"snapshot: true\njobs: [{{id: a, cmd: x, output_check: '{output}'}}]\n"
    assert load_text(text, "p.yaml", "/w")[0] is not None
