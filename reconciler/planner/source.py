"""What a person should know of a git source that the specs do not follow at the moment."""

from __future__ import annotations

from reconciler.model.source import SourceState

SHORT = 7


def source_alert(source: SourceState | None) -> str:
    """Where the specs stay, how far behind that is, why, and what to do; empty when all is well.

    Nothing either while no commit was ever taken: then that is a mistake of the specs."""
    if source is None or not source.problem or source.commit is None:
        return ""
    where = f"{source.commit[:SHORT]} of {source.repository}{_behind(source)}"
    return f"the specs stay at {where}: {source.problem}" + (f"; {source.advice}" if source.advice else "")


def _behind(source: SourceState) -> str:
    if source.behind is None:
        return ", how far behind is not known"
    if not source.behind:
        return ""
    return f", {source.behind:,} commit{'' if source.behind == 1 else 's'} behind"
