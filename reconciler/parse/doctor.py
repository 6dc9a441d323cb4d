"""What a host tells of itself to `exq doctor`. A part that cannot be read is Unknown, and takes no other along."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reconciler.model.doctor import FolderFacts, InotifyFacts, LoginFacts, MachineFacts
from reconciler.model.facts import Unknown
from reconciler.parse.fields import (
    Malformed,
    Raw,
    flag,
    integer,
    mapping,
    one_line,
    optional_number,
    optional_text,
    text,
    texts,
    told_unknown,
)

_Facts = TypeVar("_Facts")


def parse_machine(reply: Raw) -> MachineFacts | Unknown:
    """The facts beside the host's view; Unknown when the answer as a whole is not the agreed one."""
    try:
        screens = None if reply.get("screen_folder") is None else _part(reply, "screen_folder", _folder)
        return MachineFacts(
            python=text(reply, "python"),
            state_folder=_part(reply, "state_folder", _folder),
            screen_folder=screens,
            inotify=_part(reply, "inotify", _inotify),
            login=_part(reply, "login", _login),
            nvidia_smi_s=optional_number(reply, "nvidia_smi_s"),
            session_problem=optional_text(reply, "session_problem") or "",
            missing_programs=texts(reply, "missing_programs"),
            folders={path: text(_raw(reply, "folders"), path) for path in _raw(reply, "folders")},
            environments={
                key: _part(_raw(reply, "environments"), key, _problem) for key in _raw(reply, "environments")
            },
        )
    except Malformed as wrong:
        return Unknown(f"its answer cannot be read: {wrong}")


def _raw(reply: Raw, key: str) -> Raw:
    return mapping(reply.get(key, {}), f"`{key}`")


def _part(reply: Raw, key: str, parse: Callable[[Raw], _Facts]) -> _Facts | Unknown:
    try:
        raw = mapping(reply.get(key), f"`{key}`")
        return told_unknown(raw) or parse(raw)
    except Malformed as wrong:
        return Unknown(f"its answer cannot be read: {wrong}")


def _folder(raw: Raw) -> FolderFacts:
    return FolderFacts(
        path=text(raw, "path"),
        exists=flag(raw, "exists"),
        mode=integer(raw, "mode"),
        mine=flag(raw, "mine"),
        owner=text(raw, "owner"),
        disk=text(raw, "disk"),
        mount=text(raw, "mount"),
    )


def _inotify(raw: Raw) -> InotifyFacts:
    return InotifyFacts(integer(raw, "max_user_watches"), integer(raw, "max_user_instances"), integer(raw, "instances"))


def _login(raw: Raw) -> LoginFacts:
    return LoginFacts(flag(raw, "systemd"), _answer(raw, "linger"), _answer(raw, "ends_processes"))


def _answer(raw: Raw, key: str) -> bool | None:
    return None if raw.get(key) is None else flag(raw, key)


def _problem(raw: Raw) -> str:
    return one_line(text(raw, "problem"), 1000)
