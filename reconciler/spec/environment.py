"""What a job is set up with before its command: `conda` or `venv`, and the `runner` in front of the command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.spec.nodes import MapNode, ScalarNode, text_of
from reconciler.spec.tokens import Kind

if TYPE_CHECKING:
    from reconciler.spec.binding import Binder, Text
    from reconciler.spec.report import Report
    from reconciler.spec.scope import Scope

_NAMED = r"\$\$?\{[^{}\n]*\}|\$[A-Za-z_]\w*"
_PIECE = rf"""[^\s'"\\`;&|<>()$]|'[^']*'|"(?:[^"\\`$]|\\.|{_NAMED})*"|\\.|{_NAMED}"""
_WORD = re.compile(rf"(?!#)(?:{_PIECE})+[ \t]*", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True)
class Environment:
    """Of a `conda` environment and a `venv` there is one at most."""

    conda: Text | None = None
    conda_hook: str | None = None
    venv: Text | None = None
    runner: Text | None = None


def environment_of(scope: Scope, binder: Binder, report: Report) -> Environment:
    """The innermost mapping that says `conda` or `venv` decides between the two."""
    runner = _runner(scope, binder, report)
    decider = next((layer for layer in reversed(scope.layers) if _says(layer, "conda", "venv")), None)
    conda = decider.get("conda") if decider is not None else None
    venv = decider.get("venv") if decider is not None else None
    if decider is not None and text_of(conda) is not None and text_of(venv) is not None:
        words = "a job has either a `conda` environment or a `venv`, not both: take one of them out"
        report.error(decider.key_place("venv"), words)
    if isinstance(venv, ScalarNode) and text_of(venv) is not None:
        return Environment(venv=binder.text(venv, Kind.PATH), runner=runner)
    hook = text_of(scope.nearest("conda_hook"))
    if isinstance(conda, ScalarNode) and text_of(conda) is not None:
        return Environment(conda=binder.text(conda), conda_hook=hook, runner=runner)
    return Environment(conda_hook=hook, runner=runner)


def _says(layer: MapNode, *keys: str) -> bool:
    return any(layer.get(key) is not None for key in keys)


def _runner(scope: Scope, binder: Binder, report: Report) -> Text | None:
    node = scope.nearest("runner")
    if not isinstance(node, ScalarNode) or text_of(node) is None:
        return None
    mistake = _runner_mistake(node.raw)
    if mistake is not None:
        report.error(node.place_at(mistake[0]), mistake[1])
        return None
    return binder.command(node)


def _runner_mistake(text: str) -> tuple[int, str] | None:
    """Where a runner is no beginning of a command, and why."""
    end = len(text.rstrip())
    position = len(text) - len(text.lstrip())
    words: list[str] = []
    while position < end:
        word = _WORD.match(text, position, end)
        if word is None:
            rest = text[position:end]
            shown = "a line break" if rest.startswith("\n") else f"`{rest.splitlines()[0][:20]}`"
            words_only = "`runner` is put before the command, so it is words only"
            return position, f"{words_only}; {shown} is none (quote it, or write it into `cmd`)"
        words.append(word[0].strip())
        position = word.end()
    if all(_ASSIGNMENT.match(word) for word in words):
        return 0, "`runner` names no program: variables go into `env`"
    return None
