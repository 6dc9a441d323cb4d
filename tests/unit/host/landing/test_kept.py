"""What a push may take away: sets and builds of its own, and nothing that somebody still has something in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.push.pack import pack
from reconciler.host.landing import builds, look, names, releases, specs, tools
from tests.unit.host.landing.test_landing import asked, build
from tests.unit.host.landing.test_whole_or_not import SETS, push

WEEKS_AGO = 30 * 86400.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def push_on(home: Path, count: int) -> dict[str, Any]:
    """That many more pushes; what the last one answers."""
    answer: dict[str, Any] = {}
    for _ in range(count):
        place = specs.Place(str(home / "work/x"), "specs")
        current = place.current()
        number = f"s{int((current or 's0')[1:]) + 1:02}"
        SETS[number] = {"a.yaml": number, "sub/b.yaml": number}
        answer = push(home, number, place.kind(), current)
    return answer


def put(path: Path, text: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name",
    [".hydra/result", "out.csv", "collected/p/a/log", "experiment_queue/1/summary.md", "__pycache__/a.pyc", "a.yaml~"],
)
def test_a_set_with_files_of_somebody_stays_and_is_told(home: Path, name: str) -> None:
    push_on(home, 1)
    put(home / "work/x/specs" / name)
    answer = push_on(home, 1)
    told = [{"folder": str(home / "work/x/.specs.pushed/s01"), "names": [name]}]
    assert answer["held"] == told, "it is told as soon as the link leads elsewhere"
    assert push_on(home, releases.KEPT + 2)["held"] == told
    assert (home / "work/x/.specs.pushed/s01" / name).read_text() == "mine"
    left = {path.name for path in (home / "work/x/.specs.pushed").glob("s*")}
    assert len(left) == releases.KEPT + 1


def test_a_set_that_was_edited_stays(home: Path) -> None:
    push_on(home, 1)
    put(home / "work/x/specs/a.yaml", "edited there")
    assert push_on(home, releases.KEPT + 2)["held"][0]["names"] == ["a.yaml"]
    assert (home / "work/x/.specs.pushed/s01/a.yaml").read_text() == "edited there"


@pytest.mark.parametrize("kind", ["link to a folder", "link to a file", "pipe", "folder of somebody"])
def test_what_is_no_plain_file_stays_too(home: Path, kind: str) -> None:
    push_on(home, 1)
    place = home / "work/x/specs/thing"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder of somebody":
        put(home / "work/x/.specs.pushed/notes/a.txt")
    else:
        place.symlink_to("sub" if kind == "link to a folder" else "a.yaml")
    push_on(home, releases.KEPT + 2)
    left = home / "work/x/.specs.pushed"
    assert os.path.lexists(left / ("notes/a.txt" if kind == "folder of somebody" else "s01/thing"))


def test_a_set_of_which_nobody_knows_what_was_in_it_stays(home: Path) -> None:
    push_on(home, 1)
    put(home / "work/x/specs" / releases.ABOUT, "damaged")
    push_on(home, releases.KEPT + 2)
    assert (home / "work/x/.specs.pushed/s01/a.yaml").exists()


def test_what_is_put_into_a_set_while_it_goes_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_on(home, 1)
    folder = home / "work/x/.specs.pushed/s01"
    real = releases.foreign

    def look_and_write(path: str) -> list[str]:
        found = real(path)
        put(folder / "sub/late.txt")
        return found

    push_on(home, releases.KEPT - 1)
    monkeypatch.setattr(releases, "foreign", look_and_write)
    push_on(home, 1)
    assert (folder / "sub/late.txt").read_text() == "mine"
    assert not (folder / "a.yaml").exists()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("a.yaml", True),
        ("new.yaml", True),
        ("sub/new.txt", True),
        ("a.yaml~", False),
        ("x.swp", False),
        ("collected/p/log", False),
        ("experiment_queue/1/summary.md", False),
        ("__pycache__/a.pyc", False),
        (".hydra/result", False),
    ],
)
def test_what_is_not_sent_is_not_an_edit_either(home: Path, name: str, counts: bool) -> None:
    push_on(home, 1)
    place = home / "work/x/specs"
    put(place / name)
    assert look.look(asked(folder="work/x"))["edited"] == ([name] if counts else [])
    assert (name in pack(place).digests) is counts
    assert names.is_sent(Path(name).parts[0]) is counts


# --- builds


def wheels(monkeypatch: pytest.MonkeyPatch, code: int = 1) -> dict[str, Any]:
    """An install that fails, or one that works, without pip."""
    monkeypatch.setattr(builds, "run", lambda argv, **_: {"code": code, "out": "", "err": "no"})

    def make(_python: str, folder: str) -> list[str]:
        os.makedirs(os.path.join(folder, "bin"))
        return ["pip"]

    monkeypatch.setattr(builds, "make_environment", make)
    return {"build": "0-a", "version": "0", "python": "python3", "wheels": [["w.whl", 0]], "no_index": True}


def spoil(mark: Path, how: str) -> None:
    """What says that a build is complete cannot be read, or is gone."""
    mark.unlink()
    if how == "damaged":
        mark.write_text("{")
    elif how == "not to be read":
        mark.mkdir()


@pytest.mark.parametrize("how", ["damaged", "not to be read", "gone"])
@pytest.mark.parametrize("code", [0, 1])
def test_the_exq_in_force_stays_whatever_its_mark_says(
    home: Path, monkeypatch: pytest.MonkeyPatch, how: str, code: int
) -> None:
    build(home, "0-a")
    builds.activate({"build": "0-a"})
    spoil(home / ".local/share/exq/0-a" / builds.COMPLETE, how)
    request = wheels(monkeypatch, code)
    if code:
        with pytest.raises(tools.Refused):
            builds.install(request, b"")
    else:
        assert builds.install(request, b"") == {"build": "0-a.2"}
    assert (home / ".local/share/exq/current/bin/exq").exists()


def test_a_build_whose_mark_cannot_be_read_is_not_taken_for_a_leftover(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(home, "0-a")
    spoil(home / ".local/share/exq/0-a" / builds.COMPLETE, "damaged")
    assert builds.install(wheels(monkeypatch, 0), b"") == {"build": "0-a.2"}
    assert (home / ".local/share/exq/0-a/bin/exq").exists()


def test_what_an_interrupted_push_has_left_goes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / ".local/share/exq/0-a/half")
    assert builds.install(wheels(monkeypatch, 0), b"") == {"build": "0-a"}
    assert not (home / ".local/share/exq/0-a/half").exists()


def test_a_build_that_is_half_gone_is_not_complete(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(home, "0-a", "0-b", "0-c", "0-d", "0-e", "0-f")

    class Cut(Exception):
        pass

    def cut(path: str, **_: object) -> None:
        raise Cut(path)

    with monkeypatch.context() as patch:
        patch.setattr(tools.shutil, "rmtree", cut)
        with pytest.raises(Cut):
            builds.prune({})
    assert look.exq_facts(asked(build="0-b"))["complete"] is None
    builds.prune({})
    left = {path.name for path in (home / ".local/share/exq").iterdir()}
    assert left == {"0-c", "0-d", "0-e", "0-f", "lock"}, "and the next one goes on with it"


def aged(home: Path, *build_names: str) -> None:
    """Builds of weeks ago, the oldest first."""
    long_ago = time.time() - WEEKS_AGO
    for number, name in enumerate(build_names):
        build(home, name)
        os.utime(home / ".local/share/exq" / name / builds.COMPLETE, (long_ago + number, long_ago + number))


def left(home: Path) -> str:
    """The letters of the builds that are there."""
    return "".join(sorted(path.name[2:] for path in (home / ".local/share/exq").glob("0-*")))


def unit(home: Path, text: str) -> None:
    put(home / ".config/systemd/user/exq.service", text)


def test_the_newest_builds_stay(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "commands", dict)
    aged(home, "0-a", "0-b", "0-c", "0-d", "0-e", "0-f")
    builds.prune({})
    assert left(home) == "cdef"


def test_the_one_that_counts_stays_however_old(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "commands", dict)
    aged(home, "0-a", "0-b", "0-c", "0-d", "0-e", "0-f")
    builds.activate({"build": "0-a"})
    builds.prune({})
    assert left(home) == "acdef"
    assert os.readlink(home / ".local/share/exq/current") == "0-a"


def test_a_build_that_counted_until_lately_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "commands", dict)
    aged(home, "0-a", "0-b", "0-c", "0-d", "0-e", "0-f")
    builds.activate({"build": "0-a"})
    builds.activate({"build": "0-f"})  # on another machine with this home a loop may still run the one before
    builds.prune({})
    assert left(home) == "adef"


@pytest.mark.parametrize("active", ["active", "stopped"])
def test_the_build_that_a_service_names_stays(home: Path, monkeypatch: pytest.MonkeyPatch, active: str) -> None:
    program = f"{home}/.local/share/exq/0-a/bin/exq"
    monkeypatch.setattr(builds, "commands", lambda: {7: f"python {program} run"} if active == "active" else {})
    aged(home, "0-a", "0-b", "0-c", "0-d", "0-e", "0-f")
    unit(home, f"[Service]\nExecStart={program} --specs /x run\n")
    builds.prune({})
    assert left(home) == "acdef"


def test_a_service_that_cannot_be_read_keeps_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "commands", dict)
    aged(home, "0-a", "0-b", "0-c", "0-d", "0-e", "0-f")
    (home / ".config/systemd/user/exq.service").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        builds.prune({})
    assert left(home) == "abcdef"
    assert look.look(asked())["unit"] == {}
