"""The JSON Schema of specs, and its objections in plain words at the place in the file.

Checked before a grid is expanded. jsonschema takes long to import, so a text that passed once
need not be checked again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from reconciler.spec.nodes import ANY, ListNode, MapNode, Node, ScalarNode, plain
from reconciler.spec.report import closest, did_you_mean, listed
from reconciler.spec.yaml_words import KEY_WITHOUT_BLANK

if TYPE_CHECKING:
    from reconciler.spec.nodes import Place
    from reconciler.spec.report import Report

Path = tuple[str | int, ...]

_FOLDER = FilePath(__file__).parent.parent / "_schemas"

_OTHER_WORDS = {
    "command": ("cmd", "default_cmd"),
    "comand": ("cmd", "default_cmd"),
    "name": ("id", "project"),
    "needs": ("depends_on",),
    "after": ("depends_on",),
    "parameters": ("params", "grid"),
    "matrix": ("grid",),
    "environment": ("env",),
    "output": ("output_check",),
    "outputs": ("output_check",),
    "retry": ("failure_retry",),
    "workdir": ("cwd",),
    "host": ("hosts", "name"),
    "ssh": ("hosts", "name"),
    "machines": ("hosts",),
    "servers": ("hosts",),
    "nodes": ("hosts",),
    "branch": ("ref",),
    "tag": ("ref",),
    "folder": ("path",),
    "repo": ("url",),
    "repository": ("url",),
    "every": ("interval",),
}
"""What other tools call it."""
_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "a mapping",
}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One objection: where, in words, and which part has to go so that the rest can still be read.

    `lost` is the key that goes with that part; empty for the one it is written under."""

    place: Place
    message: str
    drop: Path | None
    lost: str = ""


@lru_cache(maxsize=1)
def schema_text() -> str:
    """The JSON Schema of specs, as text."""
    return (_FOLDER / "spec.schema.json").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def settings_schema_text() -> str:
    """The JSON Schema of exq.yaml, as text."""
    return (_FOLDER / "settings.schema.json").read_text(encoding="utf-8")


def check(root: Node, report: Report, schema: str | None = None) -> Node | None:
    """Check a tree against a schema, by default that of specs. Objections go to `report`; the answer is the tree
    without what was wrong.

    Mappings of that tree know what was taken out of them (`lost`)."""
    from jsonschema import Draft7Validator

    validator = Draft7Validator(json.loads(schema_text() if schema is None else schema))
    told = report.places()
    findings: list[_Finding] = []
    for error in validator.iter_errors(plain(root)):
        findings += _findings(error, root)
    for finding in findings:
        if finding.place not in told:
            report.error(finding.place, finding.message)
    drops = {finding.drop: finding.lost for finding in findings if finding.drop is not None}
    return None if () in drops else _without(root, drops)


def _without(node: Node, drops: dict[Path, str]) -> Node:
    """A copy of the tree without the nodes at `drops` (each with the key that is lost with it)."""
    if not drops:
        return node
    inner: dict[str | int, dict[Path, str]] = {}
    for path, word in drops.items():
        inner.setdefault(path[0], {})[path[1:]] = word
    if isinstance(node, MapNode):
        kept = {
            key: (name, _without(value, inner.get(key, {})))
            for key, (name, value) in node.entries.items()
            if () not in inner.get(key, {})
        }
        # what goes from a mapping further inside is lost there
        lost = {word or str(path[0]) for path, word in drops.items() if all(isinstance(part, int) for part in path[1:])}
        return MapNode(kept, node.line, node.column, node.flow, node.lost | lost)
    if isinstance(node, ListNode):
        items = [
            _without(item, inner.get(index, {}))
            for index, item in enumerate(node.items)
            if () not in inner.get(index, {})
        ]
        return ListNode(tuple(items), node.line, node.column)
    return node


def _findings(error: Any, root: Node) -> list[_Finding]:
    path: Path = tuple(error.absolute_path)
    node = _at(root, path)
    if error.validator == "additionalProperties":
        return _unknown_keys(error, path, node)
    if "propertyNames" in error.absolute_schema_path and isinstance(node, MapNode):
        key = str(error.instance)
        message = f"`{key}` {error.schema.get('errorMessage', 'is no name that can be used here')}"
        return [_Finding(node.key_place(key), message, (*path, key), ANY)]
    if error.validator == "required":
        missing = next((name for name in error.validator_value if name not in error.instance), "a key")
        return [_Finding(node.place, f"{_label(path)} needs `{missing}`", None)]
    say = _WORDS.get(error.validator, _general)
    return [_Finding(node.place, f"{_label(path)} {say(error, node)}", path)]


def _unknown_keys(error: Any, path: Path, node: Node) -> list[_Finding]:
    known = tuple(error.schema.get("properties", {}))
    found = []
    for key in [key for key in error.instance if key not in known and not _is_patterned(key, error.schema)]:
        meant = next((word for word in _OTHER_WORDS.get(key.lower(), ()) if word in known), None) or closest(key, known)
        hint = f" (did you mean `{meant}`?)" if meant else f"; known here: {listed(known, most=30)}"
        place = node.key_place(key) if isinstance(node, MapNode) else node.place
        value = error.instance[key]
        lost = meant or (ANY if isinstance(value, (list, dict)) else "")
        found.append(_Finding(place, f"unknown key `{key}`{_inside(path)}{hint}", (*path, key), lost))
    return found


def _is_patterned(key: str, schema: Any) -> bool:
    return any(key.startswith(pattern.removeprefix("^")) for pattern in schema.get("patternProperties", {}))


def _at(root: Node, path: Path) -> Node:
    """The node at a path, or the deepest one on the way to it."""
    node = root
    for part in path:
        inner: Node | None = None
        if isinstance(node, MapNode) and isinstance(part, str):
            inner = node.get(part)
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            inner = node.items[part]
        if inner is None:
            return node
        node = inner
    return node


def _label(path: Path) -> str:
    """The part of the file an objection is about, for the beginning of a sentence."""
    if not path:
        return "a spec"
    if isinstance(path[-1], str):
        return f"`{path[-1]}`"
    holder = next((part for part in reversed(path) if isinstance(part, str)), "the list")
    return f"entry {path[-1] + 1} of `{holder}`"


def _inside(path: Path) -> str:
    return f" in {_label(path)}" if path else ""


def _general(error: Any, node: Node) -> str:
    words = error.schema.get("errorMessage") if isinstance(error.schema, dict) else None
    return f"{words or 'is not allowed here'}, not {_shown(node)}"


def _wrong_type(error: Any, node: Node) -> str:
    kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    words = error.schema.get("errorMessage") or f"must be {' or '.join(_KINDS[kind] for kind in kinds)}"
    hint = ""
    if "string" in kinds:
        hint = _quoted(node)
    elif isinstance(node, ScalarNode) and node.lead == 0 and KEY_WITHOUT_BLANK.match(node.raw):
        hint = " (a blank is missing after the colon)"
    return f"{words}, not {_shown(node)}{hint}"


def _quoted(node: Node) -> str:
    """How to write the text that was probably meant."""
    if isinstance(node, ScalarNode) and node.raw == "~":
        return ': write "~" in quotes for your home'
    return " (text that begins with `{` must be quoted)" if _looks_like_text(node) else ""


def _looks_like_text(node: Node) -> bool:
    """`{N}` is a mapping in YAML, and a name to whoever wrote it."""
    if not isinstance(node, MapNode) or not node.flow or len(node.entries) != 1:
        return False
    return all(isinstance(value, ScalarNode) and not value.raw for _, value in node.items())


def _wrong_word(error: Any, node: Node) -> str:
    known = [str(word) for word in error.validator_value]
    hint = did_you_mean(node.raw, known) if isinstance(node, ScalarNode) else ""
    return f"must be one of {listed(known)}, not {_shown(node)}{hint}"


def _empty(_error: Any, _node: Node) -> str:
    return "must not be empty"


def _too_many(error: Any, node: Node) -> str:
    return f"must be at most {error.validator_value:,}, not {_shown(node)}"


def _shown(node: Node) -> str:
    if isinstance(node, ListNode):
        return "a list" if node.items else "an empty list"
    if isinstance(node, MapNode):
        return "a mapping"
    if node.value is None:
        return "empty" if not node.raw else f"`{node.raw}` (nothing)"
    shown = node.raw if len(node.raw) <= 60 else f"{node.raw[:57]}..."
    return f"`{shown}`" if not isinstance(node.value, str) or shown else "empty text"


def _forbidden(error: Any, node: Node) -> str:
    return f"{error.validator_value.get('errorMessage', 'is not allowed here')}, not {_shown(node)}"


_WORDS: dict[str, Callable[[Any, Node], str]] = {
    "type": _wrong_type,
    "enum": _wrong_word,
    "maximum": _too_many,
    "minLength": _empty,
    "minProperties": _empty,
    "not": _forbidden,
}
