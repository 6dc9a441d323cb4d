"""`exq history`: the audit trail for people."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.model.spec import LOCAL_HOST
from reconciler.view.diff_rows import MARKS
from reconciler.view.style import Row, Style, table
from reconciler.view.times import stamp
from reconciler.view.words import count, on_place

Record = Mapping[str, Any]

_MARKS = {str(kind): mark for kind, mark in MARKS.items()}
_INTENT, _OUTCOME = "intent", "outcome"


def render_history(records: Iterable[Record], style: Style) -> str:
    """One line per thing that was done or said, oldest first, in local time.

    An intent and its outcome are one line; an intent whose outcome is missing says so. The line that sums a tick up
    is left out: its actions have lines of their own."""
    listed = [record for record in records if record.get("event") != "tick"]
    settled = {_of(record) for record in listed if record.get("phase") == _OUTCOME}
    rows = [_row(r) for r in listed if r.get("phase") != _INTENT or _of(r) not in settled]
    if not rows:
        return "Nothing has been done yet.\n"
    return "\n".join(line.rstrip() for line in table(rows, style)) + "\n"


def _of(record: Record) -> tuple[object, ...]:
    """What ties an intent to its outcome."""
    return tuple(record.get(name) for name in ("plan_id", "action", "job", "attempt"))


def _row(record: Record) -> Row:
    what = str(record.get("action") or record.get("event") or "?").replace("_", "-")
    failed = record.get("ok") is False or bool(record.get("error"))
    alarming = failed or what == "alert"
    mark = "!" if alarming else _MARKS.get(what, " ")
    return Row(mark, (_when(record.get("ts")), what, _whom(record), _words(record, failed)))


def _whom(record: Record) -> str:
    whom, attempt = record.get("job") or record.get("project"), record.get("attempt")
    return f"{whom} #{attempt}" if whom and attempt else str(whom or "")


def _words(record: Record, failed: bool) -> str:
    gpus = record.get("gpus")
    host = str(record.get("host") or LOCAL_HOST)
    known = gpus if isinstance(gpus, list) and all(isinstance(g, int) for g in gpus) else []
    where = on_place("" if host == LOCAL_HOST else host, known).strip()
    is_transfer = record.get("event") == "transfer"
    what = [_brought(record)] if is_transfer else [where, _why(record)]
    parts = [*what, str(record.get("path") or ""), f"by {record['by']}" if record.get("by") else ""]
    parts += [str(notice) for notice in record.get("notices") or ()]
    if record.get("phase") == _INTENT:
        parts.append("intended; its outcome was not recorded")
    if failed:
        parts.append(f"failed: {_problem(record)}")
    return ", ".join(part for part in parts if part)


def _problem(record: Record) -> str:
    told = record.get("message") if record.get("event") == "transfer" else ""
    return str(record.get("error") or record.get("detail") or told or "no reason was recorded")


def _brought(record: Record) -> str:
    """`from a to b, 2 files`, or `collected from a, 2 files`."""
    source, target, files = str(record.get("source") or "?"), str(record.get("place") or "?"), record.get("files")
    way = f"collected from {source}" if target == "collected" else f"from {source} to {target}"
    return f"{way}, {count(files, 'file')}" if isinstance(files, int) and files else way


def _why(record: Record) -> str:
    """The message with the reason's word behind it, or whichever of them there is."""
    message, reason = str(record.get("message") or ""), str(record.get("reason") or "")
    return f"{message} ({reason})" if message and reason and reason not in message else message or reason


def _when(at: object) -> str:
    """Local date and time of an ISO 8601 UTC text or of seconds since the epoch."""
    if isinstance(at, int | float):
        return stamp(at)
    text = str(at or "")
    try:
        return stamp(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return text or "no time"


def history_json(records: Iterable[Record]) -> dict[str, Any]:
    """The records as they are (`exq.history/v1`)."""
    return {"schema": "exq.history/v1", "records": [dict(record) for record in records]}
