"""How often a source is fetched, and what is kept of how that went."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.loop.sources import BACKOFF_MAX_S, Sources
from reconciler.model.source import Fetched, SourceState, Taken
from reconciler.planner.source import source_alert
from reconciler.spec.exq_yaml import GitSource
from reconciler.spec.files import SpecFolder
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


def test_the_taken_commit_is_kept_by_the_loop_alone(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    taken = Taken("1" * 40, NOW, ("a.yaml", "b.yaml"), "2" * 40)
    KeptSource(paths, "x", writable=False).keep_taken(taken)
    assert KeptSource(paths, "x", writable=True).taken() is None
    KeptSource(paths, "x", writable=True).keep_taken(taken)
    assert KeptSource(paths, "x", writable=False).taken() == taken
    assert KeptSource(paths, "y", writable=False).taken() is None
    (tmp_path / "source" / "x.taken.json").write_text("{")
    assert KeptSource(paths, "x", writable=False).taken() is None


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
        ({"problem": "p"}, "the specs stay at 1111111 of git@h:x: p"),
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
