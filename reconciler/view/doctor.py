"""`exq doctor`: what was found, a line each, with what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reconciler.model.doctor import Check, CheckStatus
from reconciler.model.spec import LOCAL_HOST
from reconciler.view.style import Heading, Line, Row, Style, command, table
from reconciler.view.times import iso_utc
from reconciler.view.words import count, some

JOBS_NAMED = 4
_MARKS = {CheckStatus.OK: "=", CheckStatus.WARNING: "~", CheckStatus.ERROR: "!"}
_NARROWEST = (len("warning"), len("preconditions"))


def render_checks(host: str | None, checks: Iterable[Check], style: Style) -> str:
    """The lines of one host, or of the specs and exq itself (None), below its name."""
    lines: list[Line] = [Heading(_title(host))]
    for check in checks:
        lines.append(Row(_MARKS[check.status], (str(check.status), check.name, _sentence(check))))
        if check.mend and check.status is not CheckStatus.OK:
            lines.append(Row(" ", ("", "", _mend(check.mend))))
    return "\n".join(table(lines, style, _NARROWEST)) + "\n"


def _title(host: str | None) -> str:
    return "specs and exq" if host is None else "this machine" if host == LOCAL_HOST else host


def _mend(mend: str) -> str:
    """A command is not broken across lines, nor is one that stands in a sentence."""
    if "`" not in mend:
        return command(f"mend: {mend}")
    parts = f"mend: {mend}".split("`")
    return "`".join(command(part) if at % 2 else part for at, part in enumerate(parts))


def _sentence(check: Check) -> str:
    if not check.jobs:
        return check.message
    return f"{check.message}: {count(len(check.jobs), 'job')} ({some(check.jobs, JOBS_NAMED)})"


def render_summary(checks: Sequence[Check]) -> str:
    """How many of each, and what to type next where nothing is in the way."""
    errors, warnings = _number(checks, CheckStatus.ERROR), _number(checks, CheckStatus.WARNING)
    words = f"{count(errors, 'error')}, {count(warnings, 'warning')}, {_number(checks, CheckStatus.OK)} ok"
    return f"{words}\n" if errors else f"{words}\nNext: exq diff\n"


def doctor_json(checks: Sequence[Check], now: float) -> dict[str, Any]:
    """Everything, for programs. `ok` is false when there is an error."""
    return {
        "schema": "exq.doctor/v1",
        "as_of": iso_utc(now),
        "ok": _number(checks, CheckStatus.ERROR) == 0,
        "summary": {str(status): _number(checks, status) for status in CheckStatus},
        "checks": [_check_json(check) for check in checks],
    }


def _number(checks: Sequence[Check], status: CheckStatus) -> int:
    return sum(check.status is status for check in checks)


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "host": check.host,
        "name": check.name,
        "status": str(check.status),
        "message": check.message,
        "mend": check.mend or None,
        "jobs": list(check.jobs),
    }
