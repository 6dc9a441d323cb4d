"""What the agent found of outputs, preconditions and room on the disk."""

from __future__ import annotations

from reconciler.model.facts import DiskFacts, OutputFacts, PreconditionFacts, Unknown
from reconciler.parse.fields import (
    Malformed,
    Raw,
    flag,
    integer,
    kind,
    mapping,
    one_line,
    optional_number,
    optional_text,
    texts,
    told_unknown,
)

_ASKS_AGAIN = "cannot be read: {}; exq asks again"

_NOTHING_RAW = {"fingerprints": [""], "newest_at": None, "paths": []}
_NOTHING = OutputFacts(("",))
"""The answer for most jobs of most hosts: their one output is not there."""


def parse_outputs(raw: Raw) -> OutputFacts | Unknown:
    """One job's outputs from {"fingerprints", "newest_at", "paths"}: one fingerprint per pattern."""
    if raw == _NOTHING_RAW:  # of a fleet there are tens of thousands of them
        return _NOTHING
    try:
        unknown = told_unknown(mapping(raw, "outputs"))
        if unknown is not None:
            return unknown
        paths = texts(raw, "paths") if raw.get("paths") is not None else ()
        return OutputFacts(texts(raw, "fingerprints"), optional_number(raw, "newest_at"), paths)
    except Malformed as wrong:
        return Unknown("the host's answer about the outputs " + _ASKS_AGAIN.format(wrong))


def parse_preconditions(raw: object) -> tuple[PreconditionFacts | Unknown, ...]:
    """One job's preconditions in order, from [{"met", "message"}, ...]; one Unknown when it is no list at all."""
    if not isinstance(raw, list | tuple):
        return (Unknown(f"the host's answer about the preconditions is {kind(raw)}, not a list; exq asks again"),)
    return tuple(map(_precondition, raw))


def _precondition(raw: object) -> PreconditionFacts | Unknown:
    try:
        fields = mapping(raw, "a precondition")
        unknown = told_unknown(fields)
        if unknown is not None:
            return unknown
        if "met" not in fields:
            raise Malformed("`met` is missing")
        return PreconditionFacts(flag(fields, "met"), one_line(optional_text(fields, "message") or ""))
    except Malformed as wrong:
        return Unknown("the host's answer about a precondition " + _ASKS_AGAIN.format(wrong))


def parse_disk(raw: Raw) -> DiskFacts | Unknown:
    """Room in the state folder from {"free_mib", "writable", "message"}."""
    try:
        unknown = told_unknown(mapping(raw, "disk"))
        if unknown is not None:
            return unknown
        if "writable" not in raw:
            raise Malformed("`writable` is missing")
        message = one_line(optional_text(raw, "message") or "")
        return DiskFacts(integer(raw, "free_mib"), flag(raw, "writable"), message)
    except Malformed as wrong:
        return Unknown("the host's answer about its disk " + _ASKS_AGAIN.format(wrong))
