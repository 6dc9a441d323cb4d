"""The schema is one that editors can use, and it says what the loader does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from reconciler.model.enums import LauncherKind, PreconditionKind, SuccessRule, Waves
from reconciler.spec import settings
from reconciler.spec.schema import schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text())
OBJECTS = {"spec": SCHEMA, **{name: SCHEMA["definitions"][name] for name in ("entry", "phase", "host", "retry")}}


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part with what it refers to."""
    reference = part.get("$ref") or next((inner["$ref"] for inner in part.get("allOf", ())), None)
    return {**SCHEMA["definitions"][reference.rpartition("/")[2]], **part} if reference else part


def test_it_is_a_valid_draft_7_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("name", OBJECTS)
def test_every_key_is_explained(name: str) -> None:
    for key, part in OBJECTS[name]["properties"].items():
        whole = resolved(part)
        assert whole.get("title") or whole.get("description"), key


@pytest.mark.parametrize(
    ("key", "words"),
    [("waves", Waves), ("success", SuccessRule), ("launcher", LauncherKind)],
    ids=str,
)
def test_its_words_are_those_of_the_product(key: str, words: type[Waves]) -> None:
    assert SCHEMA["properties"][key]["enum"] == [word.value for word in words]
    kinds = SCHEMA["definitions"]["preconditions"]["items"]["properties"]["type"]["enum"]
    assert kinds == [kind.value for kind in PreconditionKind]


def test_its_defaults_are_those_of_the_loader() -> None:
    properties = SCHEMA["properties"]
    assert properties["linger"]["default"] == settings.LINGER_S
    assert properties["gpu_free_threshold_mib"]["default"] == settings.GPU_FREE_THRESHOLD_MIB
    for key, policy in (("oom_retry", settings.OOM_RETRY), ("failure_retry", settings.FAILURE_RETRY)):
        assert properties[key]["default"] == {"delay": policy.delay_s, "max_attempts": policy.max_attempts}
