"""What the agent read of one attempt folder and its processes."""

from __future__ import annotations

from functools import lru_cache

from reconciler.model.facts import AttemptFacts, Exited, ProcessId, Started, Unknown
from reconciler.parse.fields import (
    Malformed,
    Raw,
    flags,
    integer,
    integers,
    mapping,
    number,
    one_line,
    optional_number,
    optional_text,
    text,
    told_unknown,
)


def parse_attempt(raw: Raw) -> AttemptFacts | Unknown:
    """The facts, or Unknown when the agent could not find out or its answer has a hole that a decision could fall into.

    Facts on liveness must be there: a missing one is not "not alive".
    """
    try:
        return told_unknown(mapping(raw, "an attempt")) or _facts(raw)
    except Malformed as wrong:
        return Unknown(f"the host's answer about this attempt cannot be read: {wrong}; exq asks again")


_LIVENESS = ("payload_alive", "shim_alive", "tree_alive")
_FLAGS = ("exists", "another", "claimed", "revoked", "scanned", "unlisted", *_LIVENESS)


def _facts(raw: Raw) -> AttemptFacts:
    exists, another, claimed, revoked, scanned, unlisted, payload_alive, shim_alive, tree_alive = flags(raw, _FLAGS)
    told = ("exists", *_LIVENESS) if exists or claimed or raw.get("started") else ("exists",)
    missing = [key for key in told if key not in raw]
    if missing:
        raise Malformed(f"`{missing[0]}` is missing")
    launch_error, setup_error = raw.get("launch_error"), raw.get("setup_error")
    return AttemptFacts(
        exists=exists,
        another=another,
        claimed=claimed,
        revoked=revoked,
        started=_started(raw.get("started")),
        exited=_exited(raw.get("exited")),
        payload_alive=payload_alive,
        shim_alive=shim_alive,
        tree_alive=tree_alive,
        scanned=scanned,
        unlisted=unlisted,
        tree_pids=integers(raw, "tree_pids"),
        launch_error=None if launch_error is None else one_line(text(raw, "launch_error")),
        setup_error=None if setup_error is None else one_line(text(raw, "setup_error")),
        log_bytes=0 if raw.get("log_bytes") is None else integer(raw, "log_bytes"),
        log_at=optional_number(raw, "log_at"),
        log_tail=optional_text(raw, "log_tail") or "",
    )


def _started(value: object) -> Started | None:
    if value is None:
        return None
    raw = mapping(value, "`started`")
    boot_id = text(raw, "boot_id")
    payload = integer(raw, "pid"), integer(raw, "start_ticks")
    shim = integer(raw, "shim_pid"), integer(raw, "shim_start_ticks")
    return _started_of(boot_id, payload, shim, number(raw, "at"))


@lru_cache(maxsize=1 << 10)
def _started_of(boot_id: str, payload: tuple[int, int], shim: tuple[int, int], at: float) -> Started:
    """The same comes look after look."""
    return Started(ProcessId(boot_id, *payload), ProcessId(boot_id, *shim), at)


def _exited(value: object) -> Exited | None:
    if value is None:
        return None
    raw = mapping(value, "`exited`")
    lock = optional_text(raw, "lock_held")
    return Exited(
        integer(raw, "code"),
        number(raw, "at"),
        optional_number(raw, "duration_s"),
        None if lock is None else one_line(lock),
        0 if raw.get("oom_kills") is None else integer(raw, "oom_kills"),
    )
