"""`screen -ls` to sessions. Its exit code alone says little: 1 is "none", a wrong folder and a refused one alike."""

from __future__ import annotations

import re
from functools import lru_cache

from reconciler.model.facts import Session, SessionState, Unknown
from reconciler.parse.fields import Malformed, Raw, flag, integer, mapping, one_line, optional_text, text, texts

# A name may hold anything that its creator typed, line breaks too; only a date, a state and the end of a line close it.
_ROW = re.compile(r"^\t(\d{1,10})\.(.{1,120}?)\t(?:\([^()\n]*\)\t)?\(([^()\n]*)\)\r?$", re.MULTILINE | re.DOTALL)
_FOOTER = re.compile(r"^(\d{1,6}) Sockets? in (.*)\.\r?$", re.MULTILINE)
_NONE = re.compile(r"^No Sockets (?:found )?in (.*)\.\r?$", re.MULTILINE)
_WRONG_MODE = re.compile(r"^Directory '?(.*?)'? must have mode (\d+)\.", re.MULTILINE)

_STATES = {
    "detached": SessionState.DETACHED,
    "multi, detached": SessionState.DETACHED,
    "attached": SessionState.ATTACHED,
    "multi, attached": SessionState.ATTACHED,
    "dead ???": SessionState.DEAD,
}
_SETTING = "check the folder that SCREENDIR names"


def parse_sessions(raw: Raw) -> tuple[Session, ...] | Unknown:
    """The sessions of one user, dead ones included, or Unknown with what to do.

    `raw` is the agent's {"text", "exit", "timed_out", "dir", "dir_ok", "dir_message", "others"}, the last with the
    addresses of screens that belong to another state folder, which are left out. Empty is returned only when
    screen says that there are none *and* the agent found that it looked in the right folder (`dir_ok`).
    """
    try:
        mapping(raw, "`sessions`")
        if flag(raw, "timed_out"):
            return Unknown("`screen -ls` did not answer in time; run it by hand on the host to see what holds it up")
        integer(raw, "exit")
        others = texts(raw, "others") if "others" in raw else ()
        found = _read_listing(text(raw, "text"), raw)
        return found if isinstance(found, Unknown) else tuple(s for s in found if s.address not in others)
    except Malformed as wrong:
        return Unknown(f"the host's answer about screen sessions cannot be read: {wrong}; exq asks again")


def _read_listing(listing: str, raw: Raw) -> tuple[Session, ...] | Unknown:
    listed = _listed(listing)
    if listed is not None:
        return listed
    nothing = _NONE.search(listing)
    if nothing and not _ROW.search(listing):
        return _believe_none(nothing.group(1), raw)
    return _explain_refusal(listing, raw)


@lru_cache(maxsize=64)
def _listed(listing: str) -> tuple[Session, ...] | Unknown | None:
    """The sessions of a listing that says how many there are. The same text comes look after look."""
    footers = _FOOTER.findall(listing)
    return _check_count(_ROW.findall(listing), int(footers[-1][0])) if footers else None


def _check_count(rows: list[tuple[str, str, str]], announced: int) -> tuple[Session, ...] | Unknown:
    if len(rows) != announced:
        return Unknown(
            f"`screen -ls` announced {announced} sessions and listed {len(rows)} that can be read; exq asks again. "
            "If it stays so, a session with an odd name is in the way: rename or end it"
        )
    return tuple(
        Session(int(pid), name, _STATES.get(state.strip().lower(), SessionState.OTHER)) for pid, name, state in rows
    )


def _believe_none(folder: str, raw: Raw) -> tuple[Session, ...] | Unknown:
    if flag(raw, "dir_ok"):
        return ()
    why = one_line(optional_text(raw, "dir_message") or "its socket folder could not be checked")
    return Unknown(f"screen found no sessions in {one_line(folder)}, which proves nothing: {why}; {_SETTING}")


def _explain_refusal(listing: str, raw: Raw) -> Unknown:
    wrong_mode = _WRONG_MODE.search(listing)
    if wrong_mode:
        folder, mode = wrong_mode.groups()
        return Unknown(f"screen refuses its socket folder: run `chmod {mode} {one_line(folder)}` on the host")
    said = next((line for line in listing.splitlines() if line.strip()), "") or optional_text(raw, "dir_message")
    said = one_line(said or f"nothing, and ended with exit code {integer(raw, 'exit')}")
    return Unknown(f"`screen -ls` gave no list of sessions, it said: {said}; {_SETTING}")
