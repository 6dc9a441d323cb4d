"""Data on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.view.style import Style

PIPE_WIDTH = 100
"""Columns for text that goes into a pipe or a file."""


def print_json(value: Any) -> None:
    """One JSON document: indented for a person at a terminal, on one line for a program."""
    import json

    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, ensure_ascii=False, indent=indent))


def print_text(text: str) -> None:
    """Text that ends with exactly one newline; nothing at all when it is empty."""
    if text:
        print(text.rstrip("\n"))


def style_for(context: Context) -> Style:
    """Colours as asked for, and the width of the terminal."""
    import shutil

    from reconciler.view.style import Style

    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns if sys.stdout.isatty() else PIPE_WIDTH
    return Style(color=context.color, width=width)
