"""Specs are put into place whole or not at all, wherever it is cut."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.landing import releases, serve, specs

CUT = ("mkdir", "open", "fsync", "rename", "symlink", "unlink", "utime", "rmdir", "readlink")
NEEDS_ROOM = ("mkdir", "open", "fsync", "rename", "symlink")
KILLED = 9
SETS = {"r1": {"a.yaml": "one", "sub/b.yaml": "one"}, "r2": {"a.yaml": "two", "c.yaml": "two"}}
Json = dict[str, Any]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # hundreds of sets: it is cut there all the same
    return tmp_path


def staging(home: Path, number: str) -> tuple[Json, bytes]:
    files = SETS[number]
    rows = [
        {
            "path": path,
            "size": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "mtime_ns": 10**18,
            "executable": False,
        }
        for path, text in files.items()
    ]
    about = {"by": "ann@laptop", "revision": number, "files": {row["path"]: row["sha256"] for row in rows}}
    request = {"folder": str(home / "work" / "x"), "name": "specs", "release": number, "revision": number}
    return {**request, "files": rows, "about": about}, "".join(files.values()).encode()


def switching(home: Path, number: str, kind: str = "nothing", current: str | None = None) -> Json:
    place = {"folder": str(home / "work" / "x"), "name": "specs"}
    return {**place, "release": number, "kind": kind, "current": current}


def push(home: Path, number: str, kind: str = "nothing", current: str | None = None) -> Json:
    specs.stage(*staging(home, number))
    return specs.switch(switching(home, number, kind, current))


def seen(home: Path) -> dict[str, str] | None:
    """What a loop would see; None where there is nothing at all."""
    link = home / "work" / "x" / "specs"
    if not os.path.lexists(link):
        return None
    found = {path.relative_to(link).as_posix(): path for path in link.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if not name.startswith(".")}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_set_takes_the_place_of_another_at_once(home: Path) -> None:
    push(home, "r1")
    assert seen(home) == SETS["r1"]
    specs.stage(*staging(home, "r2"))
    assert seen(home) == SETS["r1"], "a staged set does not count"
    staged = home / "work" / "x" / ".specs.staged-r2"
    assert (staged / "a.yaml").read_text() == "two"
    specs.switch(switching(home, "r2", "pushed", "r1"))
    assert seen(home) == SETS["r2"]
    assert (home / "work/x/specs/.exq-revision").read_text() == "r2\n"
    assert names(home / "work" / "x") == {"specs", ".specs.pushed"}
    assert os.readlink(home / ".local/share/exq/specs") == str(home / "work/x/specs")
    assert (home / "work/x/specs/a.yaml").stat().st_mode & 0o777 == 0o600


def test_a_discarded_set_leaves_nothing(home: Path) -> None:
    specs.stage(*staging(home, "r1"))
    specs.discard(switching(home, "r1"))
    assert names(home) == set()
    push(home, "r1")
    before = names(home / "work/x/.specs.pushed")
    specs.stage(*staging(home, "r2"))
    specs.discard(switching(home, "r2"))
    assert (seen(home), names(home / "work/x/.specs.pushed")) == (SETS["r1"], before)


def test_who_saw_another_set_is_refused(home: Path) -> None:
    push(home, "r1")
    specs.stage(*staging(home, "r2"))
    with pytest.raises(specs.Refused, match="changed meanwhile") as refused:
        specs.switch(switching(home, "r2", "nothing", None))
    assert refused.value.facts["about"]["by"] == "ann@laptop"
    assert seen(home) == SETS["r1"]


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_of_somebody_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool) -> None:
    if not swaps:
        monkeypatch.setattr(specs, "exchange", lambda one, other: False)
    plain = home / "work" / "x" / "specs"
    plain.mkdir(parents=True)
    (plain / "mine.yaml").write_text("mine")
    specs.stage(*staging(home, "r1"))
    kept = specs.switch(switching(home, "r1", "folder"))["kept"]
    assert seen(home) == SETS["r1"]
    assert (Path(kept) / "mine.yaml").read_text() == "mine"
    assert names(home / "work" / "x") == {"specs", ".specs.pushed", Path(kept).name}


@pytest.mark.parametrize("path", ["../out.yaml", "/etc/out.yaml", "a/../../out.yaml", "a//b", ""])
def test_a_path_that_leads_out_is_refused(home: Path, path: str) -> None:
    request, blob = staging(home, "r1")
    request["files"][0]["path"] = path
    with pytest.raises(specs.Refused):
        specs.stage(request, blob)
    assert names(home) == set()


def test_a_file_that_came_damaged_is_refused(home: Path) -> None:
    request, blob = staging(home, "r1")
    with pytest.raises(specs.Refused, match="damaged"):
        specs.stage(request, b"x" + blob[1:])
    assert names(home) == set()


def test_old_sets_are_taken_away(home: Path) -> None:
    current, kind = None, "nothing"
    for number in range(releases.KEPT + 3):
        SETS[f"s{number}"] = {"a.yaml": str(number)}
        push(home, f"s{number}", kind, current)
        current, kind = f"s{number}", "pushed"
    kept = {name for name in names(home / "work/x/.specs.pushed") if name.startswith("s")}
    assert kept == {f"s{number}" for number in range(3, releases.KEPT + 3)}


# --- cuts


def cutting(
    at: int, cut: Callable[[], None], monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...] = CUT
) -> list[int]:
    """The call of this number (from 1) of all that change or open something is cut; the count so far."""
    count = [0]

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == at:
                cut()
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in calls:
        wrap(name)
    return count


def in_child(work: Callable[[], None]) -> int:
    """Run it in a process of its own; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def cuts() -> Iterator[int]:
    yield from range(1, 400)


@pytest.mark.parametrize(("kind", "current"), [("pushed", "r1"), ("nothing", None), ("folder", None)])
def test_killed_at_any_step_it_is_the_old_set_or_the_new_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, current: str | None
) -> None:
    ends = set()
    for at in cuts():
        world = home / str(at)
        world.mkdir()
        monkeypatch.setenv("HOME", str(world))
        begin(world, kind)
        before = seen(world)

        def work(world: Path = world, at: int = at) -> None:
            with pytest.MonkeyPatch.context() as patch:
                cutting(at, lambda: os._exit(KILLED), patch)
                push(world, "r2", kind, current)

        code = in_child(work)
        assert seen(world) in (before, SETS["r2"]), f"cut at {at}"
        ends.add(seen(world) == SETS["r2"])
        # and the next push works, whatever was left
        place = specs.Place(str(world / "work/x"), "specs")
        SETS["r3"] = {"a.yaml": "three"}
        push(world, "r3", place.kind(), place.current())
        assert seen(world) == SETS["r3"]
        assert not [name for name in names(world / "work/x/.specs.pushed") if name.startswith(".fresh")]
        if code == 0:
            assert at > 20
            break
        assert code == KILLED
    else:
        pytest.fail("it never came to its end")
    assert ends == {True, False}


@pytest.mark.parametrize(("kind", "current"), [("pushed", "r1"), ("nothing", None), ("folder", None)])
def test_a_disk_that_is_full_at_any_step_leaves_the_old_set(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, current: str | None
) -> None:
    for at in cuts():
        world = home / str(at)
        world.mkdir()
        monkeypatch.setenv("HOME", str(world))
        begin(world, kind)
        before, left = seen(world), tree(world)
        with monkeypatch.context() as patch:
            count = cutting(at, no_room, patch, NEEDS_ROOM)
            landing = serve.Landing()
            answers = []
            request, blob = staging(world, "r2")
            answers.append(landing.answer({"op": "stage", **request}, blob))
            if "error" not in answers[-1]:
                answers.append(landing.answer({"op": "switch", **switching(world, "r2", kind, current)}, b""))
        landing.undo()
        if "error" in answers[-1]:
            assert answers[-1]["kind"] == "disk_full", answers
            assert seen(world) == before, f"full at {at}"
            assert tree(world) == left, f"full at {at}"
        else:
            assert seen(world) == SETS["r2"]
        if count[0] < at:
            return
    pytest.fail("it never came to its end")


def begin(world: Path, kind: str) -> None:
    if kind == "pushed":
        push(world, "r1")
    if kind == "folder":
        (world / "work/x/specs").mkdir(parents=True)
        (world / "work/x/specs/mine.yaml").write_text("mine")


def no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tree(world: Path) -> set[str]:
    """All that is there, apart from what only a lock leaves."""
    found = {path.relative_to(world).as_posix() for path in world.rglob("*")}
    return {name for name in found if not name.endswith("/lock")}
