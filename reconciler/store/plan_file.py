"""The file of a saved plan: written durably, read with suspicion."""

from __future__ import annotations

import os
import re
import stat
from hashlib import sha256
from pathlib import Path

from reconciler.model.saved import Origin, SavedAction, SavedPlan, Step
from reconciler.store.atomic import write_atomic
from reconciler.store.records import RecordDamaged, Shape, parse_json, to_json

SCHEMA = "exq.plan/v1"
MAX_BYTES = 256 << 20
_FAMILY = "exq.plan/v"
_HEAD_BYTES = 200
_LOOKS_LIKE_A_PLAN = re.compile(rb'\s*\{\s*"schema"\s*:\s*"' + re.escape(_FAMILY).encode())
"""How a plan begins, also one that was edited, laid out anew or cut short."""

_ACTION: Shape[SavedAction] = Shape(SavedAction)
_ORIGIN: Shape[Origin] = Shape(Origin)
_TEXTS = ("plan_id", "made_by", "exq", "revision", "version", "base")


class PlanUnreadable(Exception):
    """The file is no saved plan that can be used. The text says why."""


def write_plan(path: Path, saved: SavedPlan) -> None:
    """Replace the file, mode 0600. Raises StoreFull or StoreError."""
    body = _document(saved)
    write_atomic(path, (to_json({**body, "sha256": _digest(body)}) + "\n").encode())


def why_not_replaced(path: Path) -> str:
    """Why a plan may not be put in the place of what is there; empty where it may: nothing, or an earlier plan."""
    if not os.path.lexists(path):
        return ""
    try:
        if not path.is_file():
            return _other_than_a_file(path)
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return "" if not head.strip() or _LOOKS_LIKE_A_PLAN.match(head) else "it holds something else than a saved plan"


def read_plan(path: Path) -> SavedPlan:
    """The plan in a file. Raises PlanUnreadable for anything that `write_plan` has not written just so."""
    document = _decoded(_bytes_of(path))
    if type(document) is not dict:
        raise PlanUnreadable("it is no plan: it holds no JSON object")
    _check_schema(document.get("schema"))
    try:
        told = document.pop("sha256", None)
        saved = _read(document)
        digest = _digest(document)
    except (RecordDamaged, ValueError, RecursionError) as error:
        raise PlanUnreadable(f"it was changed after it was made: {error}") from None
    if told != digest:
        raise PlanUnreadable("it was changed after it was made: its checksum is that of another text")
    return saved


def _document(saved: SavedPlan) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        **{name: getattr(saved, name) for name in _TEXTS},
        "made_at": saved.made_at,
        "origin": _ORIGIN.write(saved.origin),
        "actions": [_ACTION.write(action) for action in saved.actions],
        "others": [list(step) for step in saved.others],
        "hosts": dict(saved.hosts),
        "texts": dict(saved.texts),
    }


def _digest(body: dict[str, object]) -> str:
    return sha256(to_json(dict(sorted(body.items()))).encode()).hexdigest()


def _bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise PlanUnreadable(_other_than_a_file(path))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlanUnreadable(f"it cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise PlanUnreadable(f"it is larger than {MAX_BYTES >> 20} MiB: no plan is")
    return data


def _other_than_a_file(path: Path) -> str:
    """What is there in place of a file. Raises OSError, for a link that leads in a circle, too."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return "it is a link to a file that does not exist" if os.path.islink(path) else "there is no such file"
    return "it is a folder" if stat.S_ISDIR(found.st_mode) else "it is a pipe, a socket or a device, not a file"


def _decoded(data: bytes) -> object:
    if not data.strip():
        raise PlanUnreadable("it is empty")
    try:
        return parse_json(data.decode())
    except (UnicodeDecodeError, RecordDamaged):
        raise PlanUnreadable("it is no plan, or was cut short: it holds no whole JSON document") from None


def _check_schema(schema: object) -> None:
    if schema == SCHEMA:
        return
    if isinstance(schema, str) and schema.startswith(_FAMILY):
        raise PlanUnreadable(f"it is of the form {schema}, which another version of exq wrote; this one reads {SCHEMA}")
    raise PlanUnreadable(f"it is no plan: it is {schema}" if isinstance(schema, str) else "it is no plan")


def _read(document: dict[str, object]) -> SavedPlan:
    texts = {name: _text(document.get(name), name) for name in _TEXTS}
    made_at = document.get("made_at")
    if not isinstance(made_at, int | float) or isinstance(made_at, bool):
        raise RecordDamaged("made_at is no time")
    return SavedPlan(
        **texts,
        made_at=float(made_at),
        origin=_ORIGIN.read(document.get("origin")),
        actions=tuple(_ACTION.read(action) for action in _list(document.get("actions"), "actions")),
        others=tuple(_step(step) for step in _list(document.get("others"), "others")),
        hosts=_strings(document.get("hosts"), "hosts"),
        texts=_strings(document.get("texts"), "texts"),
    )


def _step(value: object) -> Step:
    return tuple(_text(word, "others") for word in _list(value, "others"))


def _text(value: object, name: str) -> str:
    if type(value) is not str:
        raise RecordDamaged(f"{name} is no text")
    return value


def _list(value: object, name: str) -> list[object]:
    if type(value) is not list:
        raise RecordDamaged(f"{name} is no list")
    return value


def _strings(value: object, name: str) -> dict[str, str]:
    if type(value) is not dict:
        raise RecordDamaged(f"{name} is no object")
    return {key: _text(text, name) for key, text in value.items()}
