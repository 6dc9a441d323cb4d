"""A loop that holds the state folder, but works on other specs than these."""

from __future__ import annotations

from collections.abc import Mapping

TO_SERVE_THESE = "end it first, or give these a state folder of their own: exq --state DIR run"


def serves_others(daemon: Mapping[str, object] | None) -> bool:
    """The loop has said that its specs are in another folder."""
    return bool(daemon) and daemon is not None and daemon.get("serves") is False


def others_words(daemon: Mapping[str, object]) -> str:
    """Which specs it works on, and that it does nothing about these."""
    pid = f" (pid {daemon['pid']})" if daemon.get("pid") else ""
    return f"the loop that runs{pid} serves the specs in {daemon['specs']}, and does nothing about these"
