"""What a git source makes of repositories that change, move and are lost, and of what was kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model.source import Fetched, Taken
from reconciler.model.spec import Desired
from reconciler.spec import git_run
from reconciler.spec.exq_yaml import GitSource
from reconciler.spec.git_follow import ASK_AGAIN_S
from reconciler.spec.git_source import PUSHED, GitSpecs, identity_of
from reconciler.store.paths import StatePaths
from reconciler.store.source import KeptSource
from tests.unit.spec.gits import Git, git_init
from tests.unit.spec.kept import Kept

pytestmark = pytest.mark.needs("git")

NOW = 1_800_000_000.0


def spec(*ids: str) -> dict[str, str]:
    return {"specs/a.yaml": "jobs: [" + ", ".join(f"{{id: {name}, cmd: 'true'}}" for name in ids) + "]\n"}


class Place:
    """A source at a repository on this machine, opened as often as a test likes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = NOW
        self.paths = StatePaths(root / "state")
        self.paths.ensure()
        self.texts = Kept()
        self.source = GitSource(None, str(root / "repo"), "specs", "HEAD")
        self.git = git_init(root / "repo")
        self.kept: KeptSource
        self.specs = self.opened()

    def opened(self) -> GitSpecs:
        self.kept = KeptSource(self.paths, identity_of(self.source), writable=True)
        self.specs = GitSpecs.open(self.root / "here", self.source, self.kept, self.texts, set())
        return self.specs

    def reopened(self, source: GitSource) -> None:
        self.source = source
        self.opened()

    def load(self, later_s: float = 15.0) -> Desired:
        self.now += later_s
        return self.specs.load(settle=True, now=self.now)

    def jobs(self) -> list[str]:
        return [key.partition("/")[2] for key in self.load().index]

    @property
    def taken(self) -> Path:
        return self.root / "state" / "source" / f"{identity_of(self.source)}.taken.json"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The git commands that were started."""
    found: list[tuple[str, ...]] = []
    start = git_run.GitRun.__init__

    def noted(self: git_run.GitRun, *arguments: str, text_in: bytes | None = None) -> None:
        found.append(arguments)
        start(self, *arguments, text_in=text_in)

    monkeypatch.setattr(git_run.GitRun, "__init__", noted)
    return found


def damage(path: Path) -> None:
    path.write_text("{")


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("lose", [damage, put_a_folder_there])
def test_what_was_taken_cannot_be_read(place: Place, lose: Callable[[Path], None]) -> None:
    """Then a rewritten history could not be told from a new commit: nothing is taken before somebody says so."""
    place.git.commit(spec("one"))
    assert place.jobs() == ["one"]
    lose(place.taken)
    place.git.commit(spec("other"))
    place.git("reset", "--quiet", "--soft", "HEAD~1")
    rewritten = place.git.commit(spec("two"))
    place.opened()
    for _ in range(2):
        desired = place.load()
        assert desired.source is not None and not desired.index
        assert (desired.source.commit, desired.source.newest) == (None, rewritten)
        assert (desired.source.rewritten, desired.source.advice) == (True, "exq source --accept takes it")
        assert f"it is not known which commit was last taken: {place.taken}" in desired.source.problem
        assert "no commit of it is in force" in str(desired.errors[0])
    if place.taken.is_dir():
        place.taken.rmdir()
    place.specs.accept(rewritten)
    place.opened()  # the loop was ended in between
    later = place.git.commit(spec("two", "three"))
    assert place.jobs() == ["two", "three"]
    assert place.kept.taken() == Taken(later, place.now, ("a.yaml",))
    place.git("reset", "--quiet", "--hard", "HEAD~2")
    assert place.jobs() == ["two", "three"]


def test_another_commit_than_the_accepted_one_is_not_taken(place: Place) -> None:
    seen = place.git.commit(spec("one"))
    place.taken.parent.mkdir(mode=0o700, exist_ok=True)
    damage(place.taken)
    place.opened()
    place.specs.accept(seen)
    place.git.commit({})
    place.git("checkout", "--quiet", "--orphan", "other")
    place.git.commit(spec("two"))
    desired = place.load()
    assert desired.source is not None and not desired.index
    assert f"which was not made from {seen[:7]}, the commit that was accepted" in desired.source.problem


def test_a_look_at_what_did_not_change_starts_no_git(place: Place, started: list[tuple[str, ...]]) -> None:
    place.git.commit(spec("one"))
    first = place.load()
    started.clear()
    assert place.load() is first
    assert started == []
    assert place.load(ASK_AGAIN_S) is first
    assert 0 < len(started) <= 2, "now and then it is asked all the same"


def test_a_history_that_stays_rewritten_is_not_judged_in_each_look(
    place: Place, started: list[tuple[str, ...]]
) -> None:
    place.git.commit(spec("one"))
    place.load()
    place.git("commit", "--quiet", "--amend", "--message", "other")
    first = place.load()
    assert first.source is not None and (first.source.rewritten, first.source.behind) == (True, 1)
    started.clear()
    assert place.load() is first
    assert started == []


def packed(git: Git) -> None:
    git.commit(spec("two"))
    git("pack-refs", "--all", "--prune")


def put_in_front(git: Git) -> None:
    git.commit(spec("two"))
    git("tag", "main", "HEAD~1")


def deleted(git: Git) -> None:
    git("switch", "--quiet", "--create", "other")
    git("branch", "--delete", "--force", "main")


MOVES: list[Callable[[Git], object]] = [
    lambda git: git.commit(spec("two")),
    packed,
    lambda git: (packed(git), git.commit(spec("three"))),
    lambda git: (git.commit(spec("two")), git("reset", "--quiet", "--hard", "HEAD~1")),
    lambda git: (git("switch", "--quiet", "--create", "x"), git.commit(spec("two")), git("branch", "-f", "main", "x")),
    put_in_front,
    deleted,
    lambda git: git("symbolic-ref", "refs/heads/alias", "refs/heads/main"),
]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("ref", ["HEAD", "main", "refs/heads/main", "alias", "heads/main"])
def test_whatever_moves_a_branch_is_seen_at_the_next_look(
    place: Place, ref: str, move: Callable[[Git], object]
) -> None:
    place.git.commit(spec("one"))
    if ref == "alias":
        place.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    place.reopened(replace(place.source, ref=ref))
    place.load()
    move(place.git)
    desired = place.load()
    assert desired.source is not None
    assert (desired.source.newest or "") == place.git("rev-parse", "--quiet", "--verify", ref, check=False)


def test_a_linked_work_tree(place: Place) -> None:
    place.git.commit(spec("one"))
    place.git("worktree", "add", "--quiet", "-b", "side", str(place.root / "linked"))
    linked = Git(place.root / "linked")
    place.reopened(replace(place.source, folder=str(linked.folder)))
    assert place.jobs() == ["one"]
    linked.commit(spec("one", "two"))
    place.git.commit(spec("elsewhere"))
    assert place.jobs() == ["one", "two"]


def test_a_folder_that_is_mounted_later(place: Place) -> None:
    """Before, git finds the repository around it, which has no such folder."""
    outer = git_init(place.root / "home")
    outer.commit({"dotfile": ""})
    (outer.folder / "exp").mkdir()
    place.reopened(replace(place.source, folder=str(outer.folder / "exp")))
    desired = place.load()
    assert "there is no folder `exp/specs` in commit" in str(desired.errors[0])
    place.git.commit(spec("one"))
    (outer.folder / "exp").rmdir()
    place.git.folder.rename(outer.folder / "exp")
    assert place.jobs() == ["one"]
    assert place.load().errors == ()


def test_a_mount_that_is_lost_is_not_taken_for_a_rewritten_history_for_ever(place: Place) -> None:
    outer = git_init(place.root / "home")
    outer.commit({"dotfile": ""})
    place.git.commit(spec("one"))
    place.git.folder.rename(outer.folder / "exp")
    place.reopened(replace(place.source, folder=str(outer.folder / "exp")))
    assert place.jobs() == ["one"]
    (outer.folder / "exp").rename(place.root / "away")
    (outer.folder / "exp").mkdir()
    assert place.jobs() == ["one"]
    (outer.folder / "exp").rmdir()
    (place.root / "away").rename(outer.folder / "exp")
    source = place.load().source
    assert source is not None and (source.problem, source.rewritten, source.behind) == ("", False, 0)


def test_a_git_that_hangs_is_left_alone_for_a_while(
    place: Place, started: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.git.commit(spec("one"))
    first = place.load()
    second = place.git.commit(spec("one", "two"))

    def silent(*_: object, **__: object) -> None:
        raise git_run.GitSilent("git gave no answer within 10 s")

    started.clear()
    with monkeypatch.context() as changed:
        changed.setattr(git_run.GitRun, "answer", silent)
        for _ in range(3):
            desired = place.load()
            assert list(desired.index) == list(first.index)
            assert desired.source is not None and desired.source.problem == "git gave no answer within 10 s"
        assert len(started) == 1
        place.opened()
        assert list(place.load().index) == list(first.index), "its texts are kept apart from the repository"
        assert len(started) == 2
    desired = place.load(ASK_AGAIN_S)
    assert desired.source is not None and (desired.source.commit, desired.source.problem) == (second, "")


def test_a_fetch_that_brings_nothing_new_makes_no_new_wish(place: Place) -> None:
    commit = place.git.commit(spec("one"))
    place.reopened(GitSource(f"file://{place.git.folder}", "", "specs", "main"))
    mirror = place.specs.follower.mirror
    assert mirror is not None
    (place.root / "state" / "source").mkdir(mode=0o700, exist_ok=True)
    mirror.fetch()
    place.kept.keep_fetched(Fetched(NOW, NOW))
    first = place.load()
    assert first.source is not None and (first.source.commit, first.source.fetched_at) == (commit, NOW)
    place.kept.keep_fetched(Fetched(NOW + 60, NOW + 60))
    assert place.load() is first
    place.opened()
    again = place.load()
    assert again.source is not None and again.source.fetched_at == NOW + 60, "who looks afresh sees it"


@pytest.mark.parametrize("pushed", [False, True])
@pytest.mark.parametrize("around", [False, True])
def test_specs_that_were_pushed_without_their_repository(tmp_path: Path, pushed: bool, around: bool) -> None:
    """Also where the folder that they were pushed into is in a repository of its own."""
    place = Place(tmp_path)
    folder = tmp_path / "home" / "specs"
    folder.mkdir(parents=True)
    if around:
        git_init(tmp_path / "home").commit({"dotfile": ""})
    if pushed:
        (folder / ".exq-revision").write_text("1111111\n")
    source = GitSource(None, str(folder), "", "HEAD")
    kept = KeptSource(place.paths, identity_of(source), writable=True)
    desired = GitSpecs.open(folder, source, kept, Kept(), set()).load(settle=True, now=NOW)
    assert (PUSHED in str(desired.errors[0])) is pushed
