"""The agent is streamed to hosts as one file, and so are its helpers: old syntax, standard library only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from reconciler.host import agent

SENT = ("agent", "provenance", "snapshot")


@pytest.fixture(params=SENT)
def source(request: pytest.FixtureRequest) -> str:
    return Path(agent.__file__).with_name(f"{request.param}.py").read_text(encoding="utf-8")


def test_it_parses_as_python_3_6(source: str) -> None:
    ast.parse(source, feature_version=(3, 6))


def test_newer_syntax_would_be_noticed() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("if (x := 1): pass", feature_version=(3, 6))


def test_it_imports_the_standard_library_alone(source: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names
    assert "dataclasses" not in imported  # new in 3.7


def test_signatures_need_no_newer_python(source: str) -> None:
    """They are evaluated where the file runs: no `list[int]`, no `X | None`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.arg):
            annotation = node.returns if isinstance(node, ast.FunctionDef) else node.annotation
            for part in ast.walk(annotation) if annotation is not None else ():
                assert not isinstance(part, ast.BinOp), ast.unparse(annotation)
                if isinstance(part, ast.Subscript):
                    assert ast.unparse(part.value)[0].isupper(), ast.unparse(annotation)
