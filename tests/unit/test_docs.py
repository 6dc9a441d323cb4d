"""The documents say what the code does: specs in them load, and nothing that users meet is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.table import VERBS
from reconciler.model.enums import JobStatus, Reason
from reconciler.model.spec import Project, SpecError
from reconciler.spec.load import load_text
from reconciler.spec.schema import schema_text

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SPECS = ROOT / "docs" / "specs.md"
OPERATION = ROOT / "docs" / "operation.md"
LINKED_FROM = sorted([README, *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_VERB = re.compile(r"(?:`|^\$ |^)exq (?!--)([a-z]+(?:-[a-z]+)*)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `info` is what stands behind its opening fence."""

    file: str
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path) -> list[Block]:
    text = text_of(path)
    return [
        Block(path.name, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])
        for found in _FENCE.finditer(text)
    ]


def whole_specs() -> list[Block]:
    """YAML blocks that begin with `project:` are whole specs; those marked `broken` show mistakes."""
    found = [block for path in (README, SPECS) for block in blocks(path)]
    return [block for block in found if block.info == "yaml" and block.text.startswith("project:")]


def followed() -> list[tuple[Block, Block]]:
    """The blocks of specs.md, each with the one behind it."""
    return list(pairwise(blocks(SPECS)))


def listed_specs() -> list[tuple[Block, Block]]:
    """Whole specs with the list of their jobs."""
    return [(spec, jobs) for spec, jobs in followed() if jobs.info == "text jobs"]


def broken_specs() -> list[tuple[Block, Block]]:
    """Specs with mistakes in them, each with what `exq validate` says."""
    return [(spec, output) for spec, output in followed() if spec.info.startswith("yaml broken")]


def load(block: Block, name: str = "specs/example.yaml") -> tuple[Project | None, tuple[SpecError, ...]]:
    return load_text(block.text, name, "/repository")


def schema_keys(node: Any) -> Iterator[str]:
    """Every key that a spec may have, at any level."""
    if isinstance(node, dict):
        properties = node.get("properties")
        for value in node.values():
            yield from schema_keys(value)
        if isinstance(properties, dict) and all(isinstance(value, dict) for value in properties.values()):
            yield from properties
    elif isinstance(node, list):
        for item in node:
            yield from schema_keys(item)


def heading_anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


def links() -> list[tuple[Path, str]]:
    return [(path, link) for path in LINKED_FROM for link in _LINK.findall(_FENCE.sub("", text_of(path)))]


def test_there_are_whole_specs_to_try() -> None:
    assert {block.file for block in whole_specs()} == {"README.md", "specs.md"}
    assert len(whole_specs()) >= 12
    assert len(listed_specs()) >= 5
    assert len(broken_specs()) >= 3


@pytest.mark.parametrize("block", whole_specs(), ids=str)
def test_a_whole_spec_loads_without_a_word(block: Block) -> None:
    project, errors = load(block)
    assert [str(error) for error in errors] == []
    assert project is not None


@pytest.mark.parametrize(("spec", "listed"), listed_specs(), ids=str)
def test_a_spec_becomes_the_jobs_shown_behind_it(spec: Block, listed: Block) -> None:
    project, _ = load(spec)
    assert project is not None
    shown = [tuple(re.split(r"  +", line, maxsplit=1)) for line in listed.text.splitlines()]
    assert shown == [(job.key, job.cmd) for job in project.jobs()]


@pytest.mark.parametrize(("spec", "output"), broken_specs(), ids=str)
def test_a_mistake_is_shown_as_exq_words_it(spec: Block, output: Block) -> None:
    path = f"specs/{spec.info.split()[-1]}.yaml"
    _, errors = load(spec, path)
    assert errors
    command, *lines = output.text.splitlines()
    assert command == f"$ exq validate {path}"
    assert lines[:-1] == [str(error) for error in errors]


def test_every_key_of_the_schema_is_in_the_tables() -> None:
    keys = set(schema_keys(json.loads(schema_text())))
    assert {"project", "oom_retry", "max_attempts", "depends_on", "gpus_per_job"} <= keys
    rows = [line for line in text_of(SPECS).splitlines() if line.startswith("| ")]
    named = set(re.findall(r"`([^`]+)`", "\n".join(rows)))
    # the inside of a retry policy is shown as the default of one, and told in the text
    assert sorted(key for key in keys - {"delay", "max_attempts"} if key not in named) == []
    assert all(f"`{key}`" in text_of(SPECS) for key in ("delay", "max_attempts"))


@pytest.mark.parametrize("word", [*Reason, *JobStatus])
def test_every_reason_and_status_has_a_row(word: str) -> None:
    rows = [line for line in text_of(OPERATION).splitlines() if line.startswith(f"| `{word}` |")]
    assert len(rows) == 1


def test_no_reason_is_made_up() -> None:
    section = text_of(OPERATION).partition("\n## Reasons\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(str(reason) for reason in Reason)


@pytest.mark.parametrize(("path", "link"), [(path, link) for path, link in links() if "://" not in link])
def test_a_link_leads_somewhere(path: Path, link: str) -> None:
    target, _, anchor = link.partition("#")
    file = (path.parent / target).resolve() if target else path
    assert file.exists(), f"{path.name} links to {link}"
    if anchor:
        assert anchor in heading_anchors(file), f"{path.name} links to {link}"


@pytest.mark.parametrize("path", LINKED_FROM, ids=lambda path: path.name)
def test_the_verbs_named_exist(path: Path) -> None:
    named = set(_VERB.findall(text_of(path)))
    if path in (README, OPERATION):
        assert {"run", "diff", "status", "why"} <= named
    assert named <= set(VERBS)


def test_every_verb_has_its_exit_codes() -> None:
    for verb in VERBS:
        assert re.search(rf"^\| [^|]*`{verb}`", text_of(OPERATION), re.MULTILINE), verb
