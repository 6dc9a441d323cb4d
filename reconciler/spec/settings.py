"""The settings of a project: durations, sizes, GPUs, policies."""

from __future__ import annotations

import math
import os.path
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from reconciler.model.enums import LauncherKind, SuccessRule, Waves
from reconciler.model.spec import LOCAL_HOST, GpuPool, Placement, RetryPolicy
from reconciler.spec.nodes import ListNode, MapNode, Node, ScalarNode, as_scalars
from reconciler.spec.units import duration_s, size_mib

if TYPE_CHECKING:
    from reconciler.spec.report import Report

OOM_RETRY = RetryPolicy(delay_s=120.0, max_attempts=3)
FAILURE_RETRY = RetryPolicy(delay_s=60.0, max_attempts=1)
LINGER_S = 300.0
GPU_FREE_THRESHOLD_MIB = 500
COLLECTED = "collected"
"""The folder of `collect: true`, with one for each project in it."""

_Word = TypeVar("_Word", bound=Enum)


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for a project as a whole; the fields are those of `Project`."""

    gpu_pool: GpuPool | None
    max_parallel: int | None
    gpu_free_threshold_mib: int
    oom_retry: RetryPolicy
    failure_retry: RetryPolicy
    waves: Waves
    success: SuccessRule
    linger_s: float
    launcher: LauncherKind
    analyze_on_complete: str | None
    shared_fs: bool
    provenance: bool
    snapshot: str | None
    placements: tuple[Placement, ...] = (Placement(LOCAL_HOST),)
    """Put in by `with_hosts`."""


def read_settings(root: MapNode, report: Report) -> Settings:
    """The settings at the top of a spec, with the defaults of what is left out."""
    pool = _gpu_pool(root.get("gpus"), report)
    return Settings(
        gpu_pool=pool,
        max_parallel=whole_number(root.get("max_parallel")) or (None if pool else 1),
        gpu_free_threshold_mib=_size(root.get("gpu_free_threshold_mib"), report),
        oom_retry=_retry(root.get("oom_retry"), OOM_RETRY, report),
        failure_retry=_retry(root.get("failure_retry"), FAILURE_RETRY, report),
        waves=_word(root.get("waves"), Waves.ROLLING),
        success=_word(root.get("success"), SuccessRule.EXIT_AND_OUTPUT),
        linger_s=_duration(root.get("linger"), LINGER_S, report),
        launcher=_word(root.get("launcher"), LauncherKind.AUTO),
        analyze_on_complete=_command(root.get("analyze_on_complete")),
        shared_fs=flag(root.get("shared_fs"), default=False),
        provenance=flag(root.get("provenance"), default=True),
        snapshot=_snapshot(root.get("snapshot")),
    )


def whole_number(node: Node | None) -> int | None:
    """The value of a whole number (`8.0` counts), else None."""
    value = node.value if isinstance(node, ScalarNode) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


def flag(node: Node | None, *, default: bool) -> bool:
    """The value of a key that is true or false."""
    value = node.value if isinstance(node, ScalarNode) else None
    return value if isinstance(value, bool) else default


def gpu_ids(node: Node | None, report: Report) -> tuple[str, ...] | None:
    """The GPUs of a list, as written; None for anything else, which leaves it open."""
    ids: list[str] = []
    for item in as_scalars(node):
        number = whole_number(item)
        name = item.raw if number is None else str(number)
        if name in ids:
            report.error(item.place, f"GPU `{name}` is listed twice")
        ids.append(name)
    return tuple(ids) if isinstance(node, ListNode) and ids else None


def collect_folder(node: Node | None, project: str, base: str, report: Report) -> str | None:
    """Where outputs and logs are brought to: absolute, or in the home (`~`) of who runs the loop; None for nowhere."""
    if not isinstance(node, ScalarNode) or node.value is False:
        return None
    if node.value is True:
        return os.path.normpath(os.path.join(base, COLLECTED, project))
    if "$" in node.raw or not node.raw.isprintable():
        what = "a `$`, which no shell reads here" if "$" in node.raw else "control characters"
        report.error(node.place, f"the folder of `collect` may not hold {what}: write a path (`~` is the home folder)")
    return os.path.normpath(node.raw if node.raw.startswith("~") else os.path.join(base, node.raw))


def _snapshot(node: Node | None) -> str | None:
    """A name for a commit; empty for `true`."""
    if not isinstance(node, ScalarNode) or node.value is False or node.value is None:
        return None
    return "" if node.value is True else node.raw


def _gpu_pool(node: Node | None, report: Report) -> GpuPool | None:
    if isinstance(node, ScalarNode):
        return None if node.raw == "none" else GpuPool()
    return GpuPool(gpu_ids(node, report))


def _retry(node: Node | None, default: RetryPolicy, report: Report) -> RetryPolicy:
    if not isinstance(node, MapNode):
        return default
    attempts = whole_number(node.get("max_attempts"))
    return RetryPolicy(
        delay_s=_duration(node.get("delay"), default.delay_s, report),
        max_attempts=default.max_attempts if attempts is None else attempts,
    )


def _duration(node: Node | None, default: float, report: Report) -> float:
    if not isinstance(node, ScalarNode):
        return default
    value = _finite(node)
    seconds = duration_s(node.raw) if value is None else value
    if seconds is None:
        report.error(node.place, f"`{node.raw}` is no duration: write seconds, or text such as 90s, 2m, 1h30m or 2d")
        return default
    return seconds


def _size(node: Node | None, report: Report) -> int:
    if not isinstance(node, ScalarNode):
        return GPU_FREE_THRESHOLD_MIB
    value = _finite(node)
    mib = size_mib(node.raw) if value is None else int(value)
    if mib is None:
        report.error(node.place, f"`{node.raw}` is no size: write MiB, or text such as 500MiB or 20GiB")
        return GPU_FREE_THRESHOLD_MIB
    return mib


def _finite(node: ScalarNode) -> float | None:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _word(node: Node | None, default: _Word) -> _Word:
    kind = type(default)
    raw = node.raw if isinstance(node, ScalarNode) else None
    return next((word for word in kind if word.value == raw), default)


def _command(node: Node | None) -> str | None:
    """A command to run at the end; true and false say nothing more than that the summary is written."""
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        return None
    return node.raw.strip() or None
