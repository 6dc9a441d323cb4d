"""An agent's whole answer to a probe, as one HostView."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reconciler.model.facts import HostView, Unknown
from reconciler.parse.attempt import parse_attempt
from reconciler.parse.fields import Malformed, Raw, flag, mapping, number, one_line, optional_number, text, texts
from reconciler.parse.nvidia import parse_gpus
from reconciler.parse.outputs import parse_disk, parse_outputs, parse_preconditions
from reconciler.parse.screen import parse_sessions

_Facts = TypeVar("_Facts")
_Default = TypeVar("_Default")


def parse_host(reply: Raw, host: str) -> HostView | Unknown:
    """The view of `host` that `reply` gives.

    Each part that cannot be read is Unknown by itself; the whole host is, when the agent reports an error or its
    answer has no clock or no boot id. What the reply leaves out was not asked for.
    """
    try:
        raw = mapping(reply, "the answer")
        if "error" in raw:
            return Unknown(f"{host} gave no answer: {one_line(str(raw['error']))}")
        return _view(raw, HostView(host, observed_at=number(raw, "now"), boot_id=text(raw, "boot_id")))
    except Malformed as wrong:
        return Unknown(f"the answer of {host} cannot be read: {wrong}; check that exq is of one version everywhere")


def _view(raw: Raw, blank: HostView) -> HostView:
    screen_installed = flag(raw, "screen_installed")
    preconditions = mapping(raw.get("preconditions", {}), "`preconditions`")
    return HostView(
        host=blank.host,
        observed_at=blank.observed_at,
        boot_id=blank.boot_id,
        booted_at=optional_number(raw, "booted_at"),
        screen_installed=screen_installed,
        # without screen there are none that could be seen or addressed
        sessions=_part(raw, "sessions", parse_sessions, None) if screen_installed else (),
        gpus=_part(raw, "gpus", parse_gpus, blank.gpus),
        disk=_part(raw, "disk", parse_disk, blank.disk),
        attempts=_each(raw, "attempts", parse_attempt),
        strays=tuple(sorted(set(texts(raw, "strays")))) if "strays" in raw else blank.strays,
        outputs=_each(raw, "outputs", parse_outputs),
        preconditions={job: parse_preconditions(answers) for job, answers in preconditions.items()},
    )


def _part(
    raw: Raw, key: str, parse: Callable[[Raw], _Facts | Unknown], not_asked: _Default
) -> _Facts | Unknown | _Default:
    return parse(raw[key]) if key in raw else not_asked


def _each(raw: Raw, key: str, parse: Callable[[Raw], _Facts]) -> dict[str, _Facts]:
    return {name: parse(answer) for name, answer in mapping(raw.get(key, {}), f"`{key}`").items()}
