"""What makes and removes work trees, cut off at every step: nobody's work tree goes while it is used."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.host import agent, provenance, snapshot
from tests.integration.repositories import Repository

pytestmark = pytest.mark.needs("git")

# Ends like a kill -9 before the step of that number, counting all that is done to the files of the snapshot.
CUT = """
import importlib.util, os, sys
path, commit, left, limit, name, *arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location("snapshot", path)
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)
left = int(left)
STEPS = "open os.rename os.remove os.rmdir os.mkdir os.listdir shutil.rmtree subprocess.Popen".split()

def step(event, told):
    global left
    if event in STEPS and commit in repr(told):
        if left == 0:
            os._exit(9)
        left -= 1

sys.addaudithook(step)
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
getattr(helper, name)(*arguments)
"""
NEVER = 1 << 30


class Tree:
    """The snapshot of a repository, in a state folder with one attempt."""

    def __init__(self, root: Path) -> None:
        self.code = Repository(root / "work", train_dot_py="1\n")
        self.state, self.commit = root / "state", self.code.head()
        self.place = snapshot.Place(str(self.state), snapshot.name_of(str(self.code.root)), self.commit)
        self.path = Path(self.place.tree)
        self.attempt = self.state / "attempts" / "p" / "a" / "1"

    def _run(self, name: str, *arguments: str, cut: int = NEVER, full_disk: bool = False) -> bool:
        """Whether it came to its end."""
        told = [self.commit, str(cut), "full" if full_disk else "", name, str(self.state), *arguments]
        done = subprocess.run(
            [sys.executable, "-c", CUT, snapshot.__file__, *told],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 9) or full_disk, done.stderr
        return done.returncode == 0

    def make(self, cut: int = NEVER) -> bool:
        return self._run("make", str(self.code.root), self.commit, cut=cut)

    def drop(self, cut: int = NEVER, *, full_disk: bool = False) -> bool:
        return self._run("drop", self.path.parent.name, self.commit, cut=cut, full_disk=full_disk)

    def enter(self) -> None:
        """An attempt is started in it, and something in there tells this work tree from one that was made anew."""
        self.attempt.mkdir(parents=True, exist_ok=True)
        (self.path / "mark").touch()
        (Path(self.place.users) / "p%a%1").write_text(f"p/a/1\n{self.state}/locks/p%a.lock\n")

    def leave(self) -> None:
        (self.attempt / "exit.json").write_text("{}")

    @property
    def ready(self) -> bool:
        return os.path.exists(self.place.ready)

    def is_whole(self, *, with_mark: bool = False) -> bool:
        return (self.path / "train.py").exists() and (not with_mark or (self.path / "mark").exists())

    def left(self) -> list[str]:
        return sorted(path.name.partition(".")[2] for path in self.path.parent.iterdir())


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    found = Tree(tmp_path)
    assert found.make() and found.ready
    return found


def test_a_drop_that_is_cut_off_anywhere_leaves_a_used_tree_whole(tree: Tree) -> None:
    tree.enter()
    for cut in itertools.count():
        whole = tree.drop(cut)
        assert tree.is_whole(with_mark=True), f"cut off before step {cut}"
        tree.drop()
        assert tree.is_whole(with_mark=True), f"cut off before step {cut}, and then dropped again"
        tree.make()
        assert tree.ready and tree.is_whole(with_mark=True), f"cut off before step {cut}, and then made again"
        if whole:
            break
    assert cut > 2


@pytest.mark.parametrize("then", ["make", "drop"])
def test_one_that_is_cut_off_when_nobody_uses_it_is_made_or_dropped_anew(tree: Tree, then: str) -> None:
    for cut in itertools.count():
        tree.enter()
        tree.leave()
        whole = tree.drop(cut)
        if then == "drop":
            tree.drop()
            assert tree.left() == ["lock"], f"cut off before step {cut}"
            tree.make()
        else:
            tree.make()
        assert tree.ready and tree.is_whole(), f"cut off before step {cut}"
        (tree.attempt / "exit.json").unlink()
        if whole:
            break
    assert cut > 5
    assert tree.code.git("worktree", "list").count("\n") == 2


def test_making_one_that_is_cut_off_anywhere_is_done_anew(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for cut in itertools.count():
        whole = tree.make(cut)
        assert tree.make() and tree.ready and tree.is_whole(), f"cut off before step {cut}"
        if whole:
            break
        tree.drop()
        shutil.rmtree(tree.path.parent)
    assert cut > 5


def test_on_a_full_disk_it_stays_as_it_is(tree: Tree) -> None:
    tree.enter()
    tree.drop(full_disk=True)
    assert tree.ready and tree.is_whole(with_mark=True)


@pytest.mark.parametrize("damage", ["", "[]", '{"root": 1}', "folder"])
def test_what_cannot_be_read_is_kept(tree: Tree, damage: str) -> None:
    ready = Path(tree.place.ready)
    ready.unlink()
    if damage == "folder":
        ready.mkdir()
    else:
        ready.write_text(damage)
    tree.drop()
    assert tree.is_whole() and tree.ready


def test_one_in_use_that_lost_its_mark_is_not_made_anew(tree: Tree) -> None:
    tree.enter()
    Path(tree.place.ready).unlink()
    tree.make()
    assert tree.is_whole(with_mark=True)
    assert "attempts may still run in what is left of" in Path(tree.place.failed).read_text()
    tree.leave()
    tree.make()
    assert tree.ready and not tree.is_whole(with_mark=True)
    assert not os.path.exists(tree.place.failed)


def test_an_attempt_whose_folder_cannot_be_looked_at_counts_as_live(tree: Tree) -> None:
    tree.enter()
    shutil.rmtree(tree.attempt.parent)
    tree.attempt.parent.touch()  # ENOTDIR, as good as EACCES or ESTALE
    tree.drop()
    assert tree.is_whole(with_mark=True)
    tree.attempt.parent.unlink()
    tree.drop()
    assert not tree.path.exists(), "one that was removed is over"


def test_a_half_written_name_is_of_nobody_who_is_inside(tree: Tree) -> None:
    (Path(tree.place.users) / "p%a%1.tmp").write_text("p/")
    tree.drop()
    assert not tree.path.exists()


class TestBothSidesAgree:
    """The agent and its helper are sent as files of their own, and meet in names alone."""

    def test_on_where_things_are(self, tree: Tree) -> None:
        (tree.code.root / "deep").mkdir()
        theirs = agent.SnapshotPlace(str(tree.state), str(tree.code.root / "deep"), tree.commit)
        assert (theirs.tree, theirs.root) == (tree.place.tree, str(tree.code.root))
        top = agent.SnapshotPlace(str(tree.state), str(tree.code.root), tree.commit)
        assert top.facts() == {"path": tree.place.tree, "ready": True, "problem": ""}
        Path(tree.place.ready).unlink()
        Path(tree.place.failed).write_text("no room\n")
        assert top.facts()["problem"] == "no room" and not top.may_be_tried

    def test_on_who_is_inside(self, tree: Tree) -> None:
        tree.attempt.mkdir(parents=True)
        theirs = agent.SnapshotPlace(str(tree.state), str(tree.code.root), tree.commit)
        theirs.enter("p%a%1", "p/a/1", f"{tree.state}/locks/p%a.lock", [], [])
        tree.drop()
        assert tree.is_whole()
        tree.leave()
        tree.drop()
        assert not tree.path.exists()

    def test_nobody_enters_one_that_was_made_anew_meanwhile(self, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever dropped the one before took the name away with it."""
        theirs = agent.SnapshotPlace(str(tree.state), str(tree.code.root), tree.commit)
        facts = theirs.facts
        name = Path(tree.place.users) / "p%a%1"
        monkeypatch.setattr(theirs, "facts", lambda: [name.unlink(), facts()][1])
        with pytest.raises(agent.Refused):
            theirs.enter("p%a%1", "p/a/1", "", [], [])

    @pytest.mark.parametrize("kind", ["folder", "file", "none"])
    def test_on_what_a_repository_is(self, tmp_path: Path, kind: str) -> None:
        below = tmp_path / "a" / "b"
        below.mkdir(parents=True)
        if kind == "folder":
            (tmp_path / "a" / ".git").mkdir()
        elif kind == "file":  # as in a work tree
            (tmp_path / "a" / ".git").write_text("gitdir: /elsewhere\n")
        found = {each.repository_of(str(below)) for each in (agent, snapshot, provenance)}
        assert found == {None if kind == "none" else str(tmp_path / "a")}


def test_what_is_in_the_mark(tree: Tree) -> None:
    assert json.loads(Path(tree.place.ready).read_text()) == {"root": str(tree.code.root)}
