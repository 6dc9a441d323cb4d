"""How often a source is fetched, and what is kept of how that went."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.loop.sources import BACKOFF_MAX_S, Sources
from reconciler.model.source import Fetched, SourceState, Taken
from reconciler.planner.source import source_alert
from reconciler.spec.exq_yaml import GitSource
from reconciler.spec.files import SpecFolder
from reconciler.spec.git_mirror import Mirror
from reconciler.store.errors import StoreError
from reconciler.store.paths import StatePaths
from reconciler.store.source import KeptSource
from tests.unit.spec.gits import Git, git_init
from tests.unit.spec.kept import Kept

NOW = 1_800_000_000.0


class Place:
    """Sources with a clock that stands, in a state folder of their own."""

    def __init__(self, root: Path, woken: Callable[[], None] = lambda: None) -> None:
        self.now = NOW
        self.root = root
        self.paths = StatePaths(root / "state")
        self.sources = Sources(
            self.paths,
            plain=SpecFolder(root / "specs", Kept()),
            last_good=Kept(),
            passed=set(),
            writable=True,
            clock=lambda: self.now,
            wake=woken,
        )

    def remote(self) -> Git:
        git = git_init(self.root / "remote")
        git.commit({"a.yaml": "jobs: [{id: a, cmd: 'true'}]\n"})
        return git

    def source(self, interval_s: float = 60.0) -> GitSource:
        return GitSource(f"file://{self.root}/remote", "", "", "main", interval_s)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("interval_s", "failures", "wait_s"),
    [
        (60, 0, 60),
        (60, 1, 120),
        (60, 2, 240),
        (60, 9, 900),
        (60, 5000, 900),
        (1, 3, 8),
        (7200, 0, 7200),
        (7200, 3, 7200),
    ],
)
def test_failures_are_tried_again_later_and_later(
    place: Place, interval_s: float, failures: int, wait_s: float
) -> None:
    place.sources.open(place.source(interval_s))
    assert place.sources.wait_s(Fetched(NOW, failures=failures)) == wait_s
    assert wait_s <= max(BACKOFF_MAX_S, interval_s)


@pytest.mark.needs("git")
def test_how_it_went_is_kept(place: Place) -> None:
    specs = place.sources.open(place.source())
    failed = place.sources.fetch()
    assert failed is not None
    assert (failed.succeeded_at, failed.failures) == (None, 1)
    assert "does not appear to be a git repository" in failed.problem
    git = place.remote()
    place.now += 100
    assert place.sources.is_due()
    assert place.sources.fetch() == Fetched(NOW + 100, NOW + 100)
    assert not place.sources.is_due()
    assert specs.load(settle=True, now=place.now).revision == git("rev-parse", "HEAD")[:7]
    (place.root / "remote").rename(place.root / "away")
    place.now += 100
    again = place.sources.fetch()
    assert again is not None
    assert (again.succeeded_at, again.failures) == (NOW + 100, 1)


def test_a_source_on_this_machine_is_never_fetched(place: Place) -> None:
    place.sources.open(GitSource(None, str(place.root), "", "HEAD"))
    assert place.sources.fetch() is None
    assert not place.sources.is_due()
    place.sources.start()
    place.sources.refresh()
    place.sources.close()


@pytest.mark.needs("git")
def test_it_is_fetched_beside_the_loop_and_when_asked(tmp_path: Path) -> None:
    woken = threading.Semaphore(0)
    place = Place(tmp_path, woken.release)
    git = place.remote()
    specs = place.sources.open(place.source(interval_s=3600))
    place.sources.start()
    assert woken.acquire(timeout=60)
    second = git.commit({"a.yaml": "jobs: [{id: b, cmd: 'true'}]\n"})
    place.sources.refresh()
    assert woken.acquire(timeout=60)
    place.sources.close()
    desired = specs.load(settle=True, now=NOW)
    assert (list(desired.index), desired.source and desired.source.commit) == (["a/b"], second)


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), RuntimeError("odd")])
def test_whatever_goes_wrong_in_the_thread_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    woken = threading.Semaphore(0)
    place = Place(tmp_path, woken.release)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Mirror, "fetch", fail)
    specs = place.sources.open(place.source(interval_s=3600))
    place.sources.start()
    for _ in range(2):
        assert woken.acquire(timeout=60)
        desired = specs.load(settle=True, now=NOW)
        assert desired.source is not None
        assert desired.source.problem == f"it cannot be fetched: {getattr(error, 'strerror', error)}"
        place.sources.refresh()
    place.sources.close()


@pytest.mark.needs("git")
def test_a_source_that_is_left_is_fetched_no_more(tmp_path: Path) -> None:
    woken = threading.Semaphore(0)
    place = Place(tmp_path, woken.release)
    place.remote()
    place.sources.open(place.source(interval_s=3600))
    place.sources.start()
    assert woken.acquire(timeout=60)
    place.sources.leave()
    place.sources.refresh()
    assert not any(thread.name == "fetch" and thread.is_alive() for thread in threading.enumerate())
    assert place.sources.fetch() is None and not place.sources.is_due()
    place.now += 100
    place.sources.open(place.source(interval_s=3600))
    assert woken.acquire(timeout=60), "and again, once it is back"
    place.sources.close()


def test_a_fetch_is_broken_off_at_the_end_and_that_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it go on by itself."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "git"
    script = f"case $* in *init*) mkdir -p {tmp_path}/state/source; exit 0;; esac; echo $$ >{tmp_path}/pid; sleep 600"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    place = Place(tmp_path)
    place.sources.open(place.source())
    place.sources.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    thread = next(thread for thread in threading.enumerate() if thread.name == "fetch")
    place.sources.close()
    thread.join(60)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert list((tmp_path / "state" / "source").glob("*.fetched.json")) == []


def test_the_taken_commit_is_kept_by_the_loop_alone(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    taken = Taken("1" * 40, NOW, ("a.yaml", "b.yaml"), "2" * 40)
    KeptSource(paths, "x", writable=False).keep_taken(taken)
    assert KeptSource(paths, "x", writable=True).taken() is None
    KeptSource(paths, "x", writable=True).keep_taken(taken)
    assert KeptSource(paths, "x", writable=False).taken() == taken
    assert KeptSource(paths, "y", writable=False).taken() is None
    (tmp_path / "source" / "x.taken.json").write_text("{")
    damaged = KeptSource(paths, "x", writable=False)
    assert damaged.taken() is None and damaged.doubt.endswith("x.taken.json is damaged")
    never = KeptSource(paths, "y", writable=False)
    assert never.taken() is None and not never.doubt


def test_a_fetch_that_cannot_be_kept_is_known_to_this_process(tmp_path: Path) -> None:
    kept = KeptSource(StatePaths(tmp_path / "nowhere"), "x", writable=True)
    with pytest.raises(StoreError):
        kept.keep_fetched(Fetched(NOW, problem="away"))
    found = kept.fetched()
    assert found is not None and found.problem == "away"
    kept.keep_taken(Taken("1" * 40, NOW))
    assert "the revision could not be kept" in kept.problem


STATE = SourceState("git@h:x", "main", "specs", "1" * 40)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"commit": None, "problem": "p"}, ""),
        ({"problem": "p"}, "the specs stay at 1111111 of git@h:x, how far behind is not known: p"),
        (
            {"problem": "p", "advice": "do a", "behind": 1},
            "the specs stay at 1111111 of git@h:x, 1 commit behind: p; do a",
        ),
        ({"problem": "p", "behind": 1200}, "the specs stay at 1111111 of git@h:x, 1,200 commits behind: p"),
    ],
)
def test_one_line_says_how_far_behind_and_why(change: dict[str, object], words: str) -> None:
    from dataclasses import replace

    assert source_alert(replace(STATE, **change)) == words  # type: ignore[arg-type]
    assert source_alert(None) == ""
