"""An agent's whole answer to a probe, as one HostView."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from reconciler.model.facts import AttemptFacts, HostView, OutputFacts, Unknown
from reconciler.parse.attempt import parse_attempt
from reconciler.parse.code import parse_code, parse_old_snapshots, parse_snapshot, parse_versions
from reconciler.parse.fields import (
    Malformed,
    Raw,
    flag,
    integer,
    mapping,
    number,
    one_line,
    optional_number,
    optional_text,
    text,
    texts,
)
from reconciler.parse.nvidia import parse_gpus
from reconciler.parse.outputs import parse_disk, parse_outputs, parse_preconditions
from reconciler.parse.screen import parse_sessions

_Facts = TypeVar("_Facts")
_Default = TypeVar("_Default")

_BLANK = HostView("", observed_at=0.0)
"""What holds where nothing was asked."""


def parse_host(reply: Raw, host: str, clock_ahead_s: float = 0.0) -> HostView | Unknown:
    """The view of `host` that `reply` gives, with all times by a clock that is `clock_ahead_s` behind the host's.

    Each part that cannot be read is Unknown by itself; the whole host is, when the agent reports an error or its
    answer has no clock or no boot id. What the reply leaves out was not asked for.
    """
    try:
        raw = mapping(reply, "the answer")
        if "error" in raw:
            return Unknown(f"{host} gave no answer: {one_line(str(raw['error']))}")
        view = _view(raw, host)
        return by_other_clock(view, clock_ahead_s) if clock_ahead_s else view
    except Malformed as wrong:
        return Unknown(f"the answer of {host} cannot be read: {wrong}; check that exq is of one version everywhere")


def _view(raw: Raw, host: str) -> HostView:
    observed_at, boot_id = number(raw, "now"), text(raw, "boot_id")
    screen_installed = flag(raw, "screen_installed")
    preconditions = mapping(raw.get("preconditions", {}), "`preconditions`")
    return HostView(
        host=host,
        observed_at=observed_at,
        boot_id=boot_id,
        state=optional_text(raw, "state") or "",
        user=optional_text(raw, "user") or "",
        index=_index(raw.get("index", {})),
        booted_at=optional_number(raw, "booted_at"),
        screen_installed=screen_installed,
        # without screen there are none that could be seen or addressed
        sessions=_part(raw, "sessions", parse_sessions, None) if screen_installed else (),
        gpus=_part(raw, "gpus", parse_gpus, _BLANK.gpus),
        disk=_part(raw, "disk", parse_disk, _BLANK.disk),
        attempts=_each(raw, "attempts", parse_attempt),
        strays=tuple(sorted(set(texts(raw, "strays")))) if "strays" in raw else _BLANK.strays,
        markers=tuple(texts(raw, "markers")) if "markers" in raw else (),
        outputs=_each(raw, "outputs", parse_outputs),
        preconditions={job: parse_preconditions(answers) for job, answers in preconditions.items()},
        code=_each(raw, "code", parse_code),
        snapshots=_each(raw, "snapshots", parse_snapshot),
        versions=parse_versions(raw.get("versions", [])),
        old_snapshots=parse_old_snapshots(raw.get("old_snapshots", [])),
    )


def _index(raw: Any) -> dict[str, int]:
    index = mapping(raw, "`index`")
    return {key: integer(index, key) for key in index}


def by_other_clock(view: HostView, ahead_s: float) -> HostView:
    """The same view with its times as a clock shows them that is `ahead_s` behind the host's."""
    return replace(
        view,
        observed_at=view.observed_at - ahead_s,
        booted_at=_earlier(view.booted_at, ahead_s),
        clock_ahead_s=ahead_s,
        attempts={path: _attempt_earlier(facts, ahead_s) for path, facts in view.attempts.items()},
        outputs={
            job: replace(facts, newest_at=_earlier(facts.newest_at, ahead_s))
            if isinstance(facts, OutputFacts)
            else facts
            for job, facts in view.outputs.items()
        },
    )


def _earlier(at: float | None, by_s: float) -> float | None:
    return None if at is None else at - by_s


def _attempt_earlier(facts: AttemptFacts | Unknown, by_s: float) -> AttemptFacts | Unknown:
    if isinstance(facts, Unknown):
        return facts
    started, exited = facts.started, facts.exited
    return replace(
        facts,
        started=replace(started, at=started.at - by_s) if started is not None else None,
        exited=replace(exited, at=exited.at - by_s) if exited is not None else None,
        log_at=_earlier(facts.log_at, by_s),
    )


def _part(
    raw: Raw, key: str, parse: Callable[[Raw], _Facts | Unknown], not_asked: _Default
) -> _Facts | Unknown | _Default:
    return parse(raw[key]) if key in raw else not_asked


def _each(raw: Raw, key: str, parse: Callable[[Raw], _Facts]) -> dict[str, _Facts]:
    return {name: parse(answer) for name, answer in mapping(raw.get(key, {}), f"`{key}`").items()}
