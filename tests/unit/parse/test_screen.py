"""`screen -ls` as GNU screen 4.9 prints it, and what must not be taken for "no sessions"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.facts import Session, SessionState, Unknown
from reconciler.parse.screen import parse_sessions

GOLDEN = Path(__file__).parents[2] / "golden" / "screen"
DETACHED, ATTACHED, DEAD, OTHER = SessionState.DETACHED, SessionState.ATTACHED, SessionState.DEAD, SessionState.OTHER

SWEEP_1 = Session(4864, "exq.sweep.s42_N64.1", DETACHED)
NOTES = (Session(4905, "notes", DETACHED), Session(4902, "notes", DETACHED))


def listing(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_bytes().decode()


def raw(text: str, code: int = 0, **more: Any) -> dict[str, Any]:
    ok = {"timed_out": False, "dir": "/run/screen/S-alice", "dir_ok": True, "dir_message": ""}
    return {"text": text, "exit": code, **ok, **more}


def several(second: SessionState, third: SessionState) -> tuple[Session, ...]:
    sweep_2, distill = Session(4896, "exq.sweep.s42_N64.2", second), Session(4899, "exq.distill.t_N512.1", third)
    return (SWEEP_1, sweep_2, distill, *NOTES)


LISTED = {
    "none": (1, ()),
    "one": (0, (SWEEP_1,)),
    "several": (0, several(DETACHED, DETACHED)),
    "dead": (0, several(DETACHED, DEAD)),
    "attached": (0, several(ATTACHED, DEAD)),
    "multi": (0, several(ATTACHED, DEAD)),
    "private": (0, (Session(7540, "theirs", OTHER),)),
    "odd_names": (0, (Session(5406, "odd name (Dead ???)", DETACHED), Session(5408, "v1.2.3-rc.(x)", DETACHED))),
    "newline_name": (0, (Session(5429, "a\tb", DETACHED), Session(5424, "a\nb", DETACHED))),
}
REFUSED = {
    "wrong_mode": "run `chmod 700 /run/screen/S-alice`",
    "not_a_folder": "/run/screen/S-alice is not a directory.; check the folder that SCREENDIR names",
    "other_owner": "You are not the owner of /run/screen/S-alice.; check the folder that SCREENDIR names",
}


@pytest.mark.parametrize("name", LISTED)
def test_listings(name: str) -> None:
    code, sessions = LISTED[name]
    assert parse_sessions(raw(listing(name), code)) == sessions


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_unknown_and_say_what_to_do(name: str) -> None:
    answer = parse_sessions(raw(listing(name), 1))
    assert isinstance(answer, Unknown)
    assert REFUSED[name] in answer.message


def test_every_golden_listing_is_in_a_table() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(LISTED) | set(REFUSED)


ROW = "\t1.exq.a.b.1\t(11/24/26 06:14:22)\t({})\r\n1 Socket in /x.\r\n"
STATES = [
    ("Detached", DETACHED),
    ("Attached", ATTACHED),
    ("Multi, detached", DETACHED),
    ("Multi, attached", ATTACHED),
    ("Dead ???", DEAD),
    ("Remote or dead", OTHER),
    ("Private", OTHER),
    ("Unknown", OTHER),
]


@pytest.mark.parametrize(("word", "state"), STATES)
def test_states(word: str, state: SessionState) -> None:
    assert parse_sessions(raw(ROW.format(word))) == (Session(1, "exq.a.b.1", state),)


def test_listing_of_an_older_screen_without_times_and_with_exit_1() -> None:
    text = "There is a screen on:\r\n\t7.exq.a.b.1\t(Detached)\r\n1 Socket in /x.\r\n"
    assert parse_sessions(raw(text, 1)) == (Session(7, "exq.a.b.1", DETACHED),)


def test_no_sessions_in_a_folder_that_does_not_exist_yet() -> None:
    assert parse_sessions(raw(listing("none"), 1, dir=None)) == ()


QUICK = [
    ("\t7.exq.a.b.1\t(Detached)\n1 Sockets in /x.\n", 0, (Session(7, "exq.a.b.1", DETACHED),)),
    ("No Sockets in /x.\n", 1, ()),
]


@pytest.mark.parametrize(("text", "code", "sessions"), QUICK)
def test_the_agents_own_listing_of_the_folder(text: str, code: int, sessions: tuple[Session, ...]) -> None:
    assert parse_sessions(raw(text, code)) == sessions


UNKNOWN = [
    ("wrong folder", raw(listing("none"), 1, dir_ok=False, dir_message="set to /gone"), "set to /gone"),
    ("folder not checked", raw(listing("none"), 1, dir_ok=False), "its socket folder could not be checked"),
    ("folder check missing", {"text": listing("none"), "exit": 1, "timed_out": False}, "could not be checked"),
    ("timed out", {"text": "", "exit": None, "timed_out": True}, "did not answer in time"),
    ("nothing said", raw("", 1), "it said: nothing, and ended with exit code 1"),
    ("nothing said, exit 0", raw("", 0), "it said: nothing, and ended with exit code 0"),
    ("garbage", raw("\x00\x1b[2Jnoise\n", 0), "it said: [2Jnoise"),
    ("cannot make its folder", raw("Cannot make directory '/x': Permission denied\r\n", 1), "Permission denied"),
    ("rows but no footer", raw(listing("several").rpartition("5 Sockets")[0]), "gave no list of sessions"),
    ("too few rows", raw(listing("several").replace("\t4896", "4896")), "announced 5 sessions and listed 4"),
    ("text is no text", raw("") | {"text": 7}, "`text` should be a text, not a number"),
    ("no exit code", raw("") | {"exit": None}, "`exit` should be a whole number, not nothing"),
    ("not an object", [], "should be an object, not a list"),
    ("null", None, "should be an object, not nothing"),
]


@pytest.mark.parametrize(("answer", "message"), [row[1:] for row in UNKNOWN], ids=[row[0] for row in UNKNOWN])
def test_what_is_not_known_is_not_empty(answer: Any, message: str) -> None:
    sessions = parse_sessions(answer)
    assert isinstance(sessions, Unknown)
    assert message in sessions.message


@pytest.mark.parametrize("name", [name for name in LISTED if LISTED[name][1]])
def test_no_torn_listing_loses_a_session(name: str) -> None:
    """Cut anywhere: the whole list (only the end of the footer is gone) or Unknown, never fewer sessions."""
    text, (code, sessions) = listing(name), LISTED[name]
    for end in range(len(text)):
        answer = parse_sessions(raw(text[:end], code))
        assert isinstance(answer, Unknown) or answer == sessions


PIECES = st.sampled_from(
    ["\t", "1.a", "(Detached)", "(Dead ???)", "\r\n", "2 Sockets in /x.", "No Sockets found in /x."]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=10)), max_size=30).map("".join), st.integers())
def test_never_raises(text: str, code: int) -> None:
    answer = parse_sessions(raw(text, code, dir_ok=False))
    assert isinstance(answer, Unknown) or answer
    assert not isinstance(answer, Unknown) or (answer.message and answer.message.isprintable())


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["text", "exit", "timed_out", "dir_ok", "dir_message"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.none())),
    )
)
def test_never_raises_on_wrong_types(answer: dict[str, Any]) -> None:
    assert isinstance(parse_sessions(answer), Unknown)
