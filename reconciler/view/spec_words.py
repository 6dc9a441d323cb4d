"""The fields of jobs, phases and projects in the words of the spec, and their values as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any

from reconciler.model.comparison import ABSENT, FieldChange, JobChange
from reconciler.model.spec import GpuPool, Placement, Precondition, RetryPolicy
from reconciler.view.times import spoken

_SPEC_WORDS = {"outputs": "output_check", "placements": "hosts", "gpu_pool": "gpus", "linger_s": "linger"}
_JOB_WORDS = {**_SPEC_WORDS, "gpus": "gpus_per_job"}
_NOT_SET = "(not set)"


def field_word(field: str, *, of_job: bool = False) -> str:
    """What the spec calls a field."""
    return (_JOB_WORDS if of_job else _SPEC_WORDS).get(field, field)


def change_words(change: FieldChange, *, of_job: bool = False) -> str:
    """`max_parallel: 4 -> 2`; what was added or taken away says so."""
    if change.field == "order":
        return f"order: {change.new} now comes before {change.old}"
    return f"{field_word(change.field, of_job=of_job)}: {_value(change, change.old)} -> {_value(change, change.new)}"


def job_change_words(change: JobChange) -> str:
    """All that changed of a job, in one sentence."""
    return "; ".join(change_words(each, of_job=True) for each in change.fields)


def _value(change: FieldChange, value: object) -> str:
    if value is ABSENT:
        return _NOT_SET
    if change.field == "linger_s" and isinstance(value, float):
        return spoken(value)
    if change.field == "gpu_pool" and value is None:
        return "none"
    if change.field == "max_parallel" and value is None:
        return "as many as there are GPUs"
    return value_words(value)


def value_words(value: object) -> str:
    """A value of a spec in words."""
    if value is None:
        return _NOT_SET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(value_words, value)) if value else _NOT_SET
    if isinstance(value, RetryPolicy):
        tries = "1 try" if value.max_attempts == 1 else f"{value.max_attempts} tries, {spoken(value.delay_s)} apart"
        return tries
    if isinstance(value, GpuPool):
        return "all" if value.ids is None else ", ".join(value.ids)
    if isinstance(value, Placement):
        return _placement(value)
    if isinstance(value, Precondition):
        return f"{value.kind} {value.subject}"
    return str(value) if value != "" else '""'


def _placement(placement: Placement) -> str:
    limits = [] if placement.gpu_ids is None else [f"gpus {' '.join(placement.gpu_ids)}"]
    limits += [] if placement.max_parallel is None else [f"max_parallel {placement.max_parallel}"]
    return f"{placement.host} ({', '.join(limits)})" if limits else placement.host


def change_json(change: FieldChange, *, of_job: bool = False) -> dict[str, Any]:
    """`field`, and `old` and `new` where there is one."""
    found: dict[str, Any] = {"field": field_word(change.field, of_job=of_job)}
    found.update({"old": value_json(change.old)} if change.old is not ABSENT else {})
    found.update({"new": value_json(change.new)} if change.new is not ABSENT else {})
    return found


def value_json(value: object) -> Any:
    """A value of a spec as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [value_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): value_json(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {key: value_json(item) for key, item in asdict(value).items()}
    return value
