"""A whole probe reply: each part is facts or Unknown by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.facts import (
    AttemptFacts,
    DiskFacts,
    Exited,
    HostView,
    OutputFacts,
    PreconditionFacts,
    ProcessId,
    Session,
    SessionState,
    Started,
    Unknown,
)
from reconciler.parse.attempt import parse_attempt
from reconciler.parse.host import parse_host

ATTEMPT: dict[str, Any] = {
    "exists": True,
    "claimed": True,
    "revoked": False,
    "started": {"boot_id": "b-1", "pid": 41, "start_ticks": 900, "shim_pid": 40, "shim_start_ticks": 899, "at": 100.5},
    "exited": {"code": 1, "at": 160.25, "duration_s": 59.5, "lock_held": None},
    "payload_alive": False,
    "shim_alive": False,
    "tree_alive": True,
    "scanned": True,
    "tree_pids": [42, 43],
    "setup_error": None,
    "log_bytes": 2048,
    "log_at": 160,
    "log_tail": "MemoryError\n",
}
FACTS = AttemptFacts(
    exists=True,
    claimed=True,
    started=Started(ProcessId("b-1", 41, 900), ProcessId("b-1", 40, 899), 100.5),
    exited=Exited(1, 160.25, 59.5),
    tree_alive=True,
    tree_pids=(42, 43),
    log_bytes=2048,
    log_at=160.0,
    log_tail="MemoryError\n",
)
REPLY: dict[str, Any] = {
    "now": 1000.5,
    "boot_id": "b-1",
    "screen_installed": True,
    "sessions": {
        "text": "There is a screen on:\r\n\t40.exq.sweep.s1.1\t(11/24/26 06:14:22)\t(Detached)\r\n1 Socket in /x.\r\n",
        "exit": 0,
        "timed_out": False,
        "dir": "/x",
        "dir_ok": True,
        "dir_message": "",
    },
    "gpus": {
        "query": {"text": "0, GPU-0, NVIDIA L40S, 0, 46068, 0\n", "exit": 0, "timed_out": False, "missing": False},
        "apps": {"text": "", "exit": 0, "timed_out": False, "missing": False},
        "owners": {},
    },
    "disk": {"free_mib": 5000, "writable": True, "message": ""},
    "attempts": {"sweep/s1/1": ATTEMPT, "sweep/s2/1": {"unknown": "EIO: I/O error"}},
    "strays": ["old/b/2", "old/a/1"],
    "outputs": {
        "sweep/s1": {"fingerprints": ["a:1", ""], "newest_at": 150.0, "paths": ["/w/a.json"]},
        "sweep/s2": {"unknown": "/w does not answer"},
    },
    "preconditions": {
        "sweep/s1": [{"met": True, "message": ""}, {"met": False, "message": "no file"}, {"unknown": "timed out"}]
    },
}


def reply(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(REPLY), **changes}


def test_a_whole_reply() -> None:
    view = parse_host(REPLY, "gpu-box")
    assert isinstance(view, HostView)
    assert (view.host, view.observed_at, view.boot_id, view.screen_installed) == ("gpu-box", 1000.5, "b-1", True)
    assert view.sessions == (Session(40, "exq.sweep.s1.1", SessionState.DETACHED),)
    assert isinstance(view.gpus, tuple)
    assert [gpu.uuid for gpu in view.gpus] == ["GPU-0"]
    assert view.disk == DiskFacts(5000)
    assert view.attempts == {"sweep/s1/1": FACTS, "sweep/s2/1": Unknown("EIO: I/O error")}
    assert view.strays == ("old/a/1", "old/b/2")
    assert view.outputs == {
        "sweep/s1": OutputFacts(("a:1", ""), 150.0, ("/w/a.json",)),
        "sweep/s2": Unknown("/w does not answer"),
    }
    assert view.preconditions == {
        "sweep/s1": (PreconditionFacts(True), PreconditionFacts(False, "no file"), Unknown("timed out"))
    }


def test_what_was_not_asked_for_keeps_the_defaults() -> None:
    view = parse_host({"now": 1, "boot_id": "b", "screen_installed": True}, "h")
    assert view == HostView("h", 1.0, "b", screen_installed=True, sessions=None)


def test_a_host_without_screen_has_no_sessions() -> None:
    answer = reply(screen_installed=False, sessions={"text": "", "exit": 127, "timed_out": False})
    view = parse_host(answer, "h")
    assert isinstance(view, HostView)
    assert view.sessions == ()


NO_HOST = [
    ("an error", {"error": "Connection refused\nby peer", "kind": "failed"}, "h gave no answer: Connection refused by"),
    ("no clock", {"boot_id": "b"}, "`now` should be a number, not nothing"),
    ("a clock that is no number", reply(now=float("nan")), "`now` should be a number"),
    ("no boot id", reply(boot_id=None), "`boot_id` should be a text, not nothing"),
    ("attempts are a list", reply(attempts=[]), "`attempts` should be an object, not a list"),
    ("strays are no texts", reply(strays=[1]), "`strays` should be a list of texts"),
    ("not an object", "hello", "the answer should be an object, not a text"),
]


@pytest.mark.parametrize(("answer", "message"), [row[1:] for row in NO_HOST], ids=[row[0] for row in NO_HOST])
def test_no_view_without_sense(answer: Any, message: str) -> None:
    view = parse_host(answer, "h")
    assert isinstance(view, Unknown)
    assert message in view.message


@pytest.mark.parametrize("part", ["sessions", "gpus", "disk"])
@pytest.mark.parametrize("value", [None, [], "x", {}, {"unknown": "why"}])
def test_one_bad_part_spoils_no_other(part: str, value: Any) -> None:
    good = parse_host(REPLY, "h")
    view = parse_host(reply(**{part: value}), "h")
    assert isinstance(view, HostView)
    assert isinstance(good, HostView)
    for name in ("sessions", "gpus", "disk", "attempts", "outputs", "preconditions"):
        found = getattr(view, name)
        assert isinstance(found, Unknown) if name == part else found == getattr(good, name)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in ATTEMPT.items() if name != key}


BAD_ATTEMPTS = [
    ("exists missing", without("exists"), "`exists` is missing"),
    ("payload_alive missing", without("payload_alive"), "`payload_alive` is missing"),
    ("shim_alive missing", without("shim_alive"), "`shim_alive` is missing"),
    ("tree_alive missing", without("tree_alive"), "`tree_alive` is missing"),
    ("tree_alive null", {**ATTEMPT, "tree_alive": None}, "`tree_alive` should be true or false, not nothing"),
    ("payload_alive as a number", {**ATTEMPT, "payload_alive": 1}, "`payload_alive` should be true or false"),
    ("code is true", {**ATTEMPT, "exited": {"code": True, "at": 1}}, "`code` should be a whole number, not a boolean"),
    ("exited without a time", {**ATTEMPT, "exited": {"code": 0}}, "`at` should be a number, not nothing"),
    ("exited is a list", {**ATTEMPT, "exited": []}, "`exited` should be an object, not a list"),
    ("started without a pid", {**ATTEMPT, "started": {"boot_id": "b"}}, "`pid` should be a whole number"),
    ("pids are texts", {**ATTEMPT, "tree_pids": ["1"]}, "`tree_pids` should be a list of whole numbers"),
    ("huge time", {**ATTEMPT, "log_at": 10**400}, "`log_at` should be a number"),
    ("infinite time", {**ATTEMPT, "log_at": float("inf")}, "`log_at` should be a number"),
    ("null", None, "an attempt should be an object, not nothing"),
    ("told unknown", {"unknown": "EIO:\nbad disk"}, "EIO: bad disk"),
    ("told unknown without a word", {"unknown": None}, "the host could not say why"),
]


@pytest.mark.parametrize(("answer", "message"), [row[1:] for row in BAD_ATTEMPTS], ids=[row[0] for row in BAD_ATTEMPTS])
def test_attempts_that_are_not_known(answer: Any, message: str) -> None:
    facts = parse_attempt(answer)
    assert isinstance(facts, Unknown)
    assert message in facts.message


GOOD_ATTEMPTS = [
    ("no folder", {"exists": False}, AttemptFacts(exists=False, scanned=False)),
    (
        "revoked before it was made",
        {"exists": False, "revoked": True},
        AttemptFacts(exists=False, revoked=True, scanned=False),
    ),
    (
        "a lock was held",
        {**ATTEMPT, "exited": {"code": 75, "at": 2, "lock_held": "gpu:GPU-0"}},
        Exited(75, 2.0, None, "gpu:GPU-0"),
    ),
    (
        "a lock that would drive a terminal",
        {**ATTEMPT, "exited": {"code": 75, "at": 2, "lock_held": "a\x1b[2J\nb"}},
        Exited(75, 2.0, None, "a [2J b"),
    ),
    (
        "the kernel killed two of its processes",
        {**ATTEMPT, "exited": {"code": 137, "at": 2, "oom_kills": 2}},
        Exited(137, 2.0, oom_kills=2),
    ),
    ("setup failed", {**ATTEMPT, "setup_error": "no such\nenvironment"}, "no such environment"),
]


@pytest.mark.parametrize(
    ("answer", "expected"), [row[1:] for row in GOOD_ATTEMPTS], ids=[row[0] for row in GOOD_ATTEMPTS]
)
def test_attempts(answer: Any, expected: Any) -> None:
    facts = parse_attempt(answer)
    assert isinstance(facts, AttemptFacts)
    assert expected in (facts, facts.exited, facts.setup_error)


BAD_LEAVES = [None, [], {}, "x", -1.5, {"unknown": 3}, [None]]


@pytest.mark.parametrize("value", BAD_LEAVES)
def test_bad_outputs_and_preconditions_are_unknown(value: Any) -> None:
    view = parse_host(reply(outputs={"a/b": value}, preconditions={"a/b": [value], "a/c": value}), "h")
    assert isinstance(view, HostView)
    assert isinstance(view.outputs["a/b"], Unknown)
    assert [type(fact) for fact in view.preconditions["a/b"]] == [Unknown]
    assert value == [] or [type(fact) for fact in view.preconditions["a/c"]] == [Unknown]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [path, *(leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key)))]


PATHS = leaves(REPLY)[1:]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PATHS), JUNK, st.booleans())
def test_never_raises_wherever_a_reply_is_damaged(path: tuple[Any, ...], junk: Any, remove: bool) -> None:
    damaged = reply()
    holder = damaged
    for key in path[:-1]:
        holder = holder[key]
    if remove:
        del holder[path[-1]]
    else:
        holder[path[-1]] = junk
    view = parse_host(damaged, "h")
    assert isinstance(view, HostView | Unknown)
