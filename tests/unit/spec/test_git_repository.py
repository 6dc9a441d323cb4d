"""Reading real repositories: what a commit has, how commits are related, and why git has no answer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.spec import git_run
from reconciler.spec.git_repository import GitProblem, NotInCommit, Place, Repository
from reconciler.spec.git_run import run_git
from reconciler.spec.reading import Unreadable
from reconciler.spec.yaml_nodes import MAX_BYTES
from tests.unit.spec.gits import Git, git_init

pytestmark = pytest.mark.needs("git")

SPEC = "jobs:\n  - id: a\n    cmd: 'true'\n"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return git_init(tmp_path / "repo")


def repository(git: Git) -> Repository:
    return Repository(git.folder)


def test_the_files_are_those_of_the_commit_whatever_the_work_tree_has(git: Git) -> None:
    commit = git.commit({"specs/a.yaml": SPEC, "specs/b.yml": "x: 1\n"})
    git.write({"specs/a.yaml": "half wri", "specs/new.yaml": SPEC})
    assert repository(git).texts(commit, "specs") == {"a.yaml": SPEC, "b.yml": "x: 1\n"}


@pytest.mark.parametrize("path", ["specs", "specs/", "./specs", "/".join(["specs", "."])])
def test_a_folder_may_be_written_in_several_ways(git: Git, path: str) -> None:
    commit = git.commit({"specs/a.yaml": SPEC})
    assert list(repository(git).texts(commit, path)) == ["a.yaml"]


@pytest.mark.parametrize("path", ["", "."])
def test_the_top_of_the_repository(git: Git, path: str) -> None:
    commit = git.commit({"a.yaml": SPEC, "specs/b.yaml": SPEC})
    assert list(repository(git).texts(commit, path)) == ["a.yaml"]


@pytest.mark.parametrize("path", ["/specs", "../specs", "specs/../.."])
def test_a_folder_outside_of_the_repository_is_refused(git: Git, path: str) -> None:
    commit = git.commit({"specs/a.yaml": SPEC})
    with pytest.raises(GitProblem, match="not a folder in the repository"):
        repository(git).texts(commit, path)


def test_only_specs_are_read(git: Git) -> None:
    files = {f"s/{name}": SPEC for name in ("exq.yaml", ".hidden.yaml", "readme.md", "below/c.yaml", "a.yaml~")}
    assert repository(git).texts(git.commit(files), "s") == {}


def test_what_is_no_plain_text_file_says_what_it_is(git: Git) -> None:
    git.write({"a.yaml": SPEC, "latin.yaml": b"# caf\xe9\n", "big.yaml": b"#" * (MAX_BYTES + 1), "d.yaml/x": ""})
    os.symlink("a.yaml", git.folder / "link.yaml")
    git.write({"bad\nname.yaml": SPEC})
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module.yaml")
    texts = repository(git).texts(git.commit({}), "")
    assert texts.pop("a.yaml") == SPEC
    words = {name: str(text) for name, text in texts.items() if isinstance(text, Unreadable)}
    assert (
        set(words)
        == set(texts)
        == {"latin.yaml", "big.yaml", "d.yaml", "link.yaml", "bad\nname.yaml"} | ({"module.yaml"} & set(words))
    )
    assert "not UTF-8 text: byte 0xe9 on line 1" in words["latin.yaml"]
    assert "larger than 16 MiB" in words["big.yaml"]
    assert "a folder" in words["d.yaml"]
    assert "a symbolic link" in words["link.yaml"]
    assert "control characters" in words["bad\nname.yaml"]


def test_a_submodule_is_not_a_spec(git: Git) -> None:
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module.yaml")
    git("commit", "--quiet", "--message", "a module")
    texts = repository(git).texts(git("rev-parse", "HEAD"))
    assert "a submodule" in str(texts["module.yaml"])


def test_a_commit_without_the_folder(git: Git) -> None:
    commit = git.commit({"a.yaml": SPEC})
    with pytest.raises(NotInCommit, match=f"there is no folder `specs` in commit {commit[:7]}"):
        repository(git).texts(commit, "specs")
    with pytest.raises(NotInCommit, match=r"no folder `a\.yaml`"):
        repository(git).texts(commit, "a.yaml")


def test_a_commit_that_is_not_there(git: Git) -> None:
    git.commit({"a.yaml": SPEC})
    with pytest.raises(GitProblem, match="there is no commit 1111111"):
        repository(git).texts("1" * 40)
    assert not repository(git).has("1" * 40)


def test_names_of_commits(git: Git) -> None:
    first = git.commit({"a.yaml": SPEC})
    git("tag", "--annotate", "v1", "--message", "one")
    second = git.commit({"a.yaml": SPEC + "# more\n"})
    git("branch", "side")
    names = ("HEAD", "main", "side", "refs/heads/main", "HEAD~1", "v1", first, first[:9])
    assert [repository(git).resolve(name) for name in names] == [second] * 4 + [first] * 4
    assert repository(git).describe(first) == "v1"
    assert repository(git).describe(second) == f"v1-1-g{second[:7]}"


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("mian", "there is no branch, tag or commit `mian` in .*; did you mean `main`?"),
        ("zzzz", "no branch, tag or commit `zzzz` in .*; it has `main`, `v1`"),
        ("--all", "`--all` is not the name of a commit"),
        ("", "`` is not the name of a commit"),
        ("a b", "`a b` is not the name of a commit"),
        ("main:a.yaml", "no branch, tag or commit `main:a.yaml`"),
    ],
)
def test_a_name_that_means_no_commit(git: Git, ref: str, words: str) -> None:
    git.commit({"a.yaml": SPEC})
    git("tag", "v1")
    with pytest.raises(GitProblem, match=words):
        repository(git).resolve(ref)


def test_a_repository_without_a_commit(git: Git) -> None:
    with pytest.raises(GitProblem, match="has no commit yet; commit something"):
        repository(git).resolve("HEAD")


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(GitProblem, match="there is no git repository at"):
            Repository(folder).resolve("HEAD")


def test_how_commits_are_related(git: Git) -> None:
    first, second, third = (git.commit({"a.yaml": f"# {n}\n"}) for n in range(3))
    git("checkout", "--quiet", "--detach", first)
    other = git.commit({"a.yaml": "# other\n"})
    found = repository(git)
    assert [found.missing(first, third), found.missing(third, first), found.missing(second, other)] == [2, 0, 1]
    assert found.missing("1" * 40, third) is None
    assert found.is_ancestor(first, other) and not found.is_ancestor(second, other)
    with pytest.raises(GitProblem):
        found.is_ancestor("1" * 40, third)


def test_where_head_is(git: Git) -> None:
    commit = git.commit({"sub/a.yaml": SPEC})
    assert repository(git).branch() == "main"
    git("checkout", "--quiet", "--detach", commit)
    assert repository(git).branch() is None
    assert repository(git).place() == Place(git.folder / ".git", False, "")
    assert Repository(git.folder / "sub").place() == Place(git.folder / ".git", False, "sub")


def test_a_bare_repository(git: Git, tmp_path: Path) -> None:
    commit = git.commit({"specs/a.yaml": SPEC})
    git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    for private in (False, True):
        bare = Repository(tmp_path / "bare.git", private=private)
        assert bare.texts(bare.resolve("main"), "specs") == {"a.yaml": SPEC}
        assert bare.resolve("HEAD") == commit
        assert bare.place() == Place(tmp_path / "bare.git", True, "")


def test_a_hook_of_another_repository_does_not_lead_elsewhere(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git.commit({"a.yaml": SPEC})
    other = git_init(tmp_path / "other")
    other.commit({"b.yaml": SPEC})
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.folder / "none"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.folder))
    assert repository(git).resolve("HEAD") == commit


def test_somebody_elses_repository(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    git.commit({"a.yaml": SPEC})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    with pytest.raises(GitProblem, match="belongs to somebody else; if you trust it: git config --global --add safe"):
        repository(git).resolve("HEAD")


def test_reading_changes_nothing_in_the_repository(git: Git) -> None:
    commit = git.commit({"a.yaml": SPEC})
    git.write({"a.yaml": "changed"})

    def state() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in (git.folder / ".git").rglob("*"))

    before = state()
    found = repository(git)
    found.texts(found.resolve("main"))
    found.describe(commit), found.missing(commit, commit), found.branch()
    assert state() == before


def test_lost_content_is_said(git: Git) -> None:
    commit = git.commit({"a.yaml": SPEC})
    digest = git("rev-parse", "HEAD:a.yaml")
    (git.folder / ".git/objects" / digest[:2] / digest[2:]).unlink()
    with pytest.raises(GitProblem):
        repository(git).texts(commit)


def test_git_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitProblem, match="git is not installed; install it: apt install git"):
        Repository(tmp_path).resolve("HEAD")


def test_a_git_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\nsleep 600 & echo $! >{tmp_path}/pid; wait\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GitProblem, match="git gave no answer within"):
        run_git("status", deadline_s=0.5)
    pid = (tmp_path / "pid").read_text().strip()
    stat = subprocess.run(["ps", "-o", "stat=", "-p", pid], check=False, capture_output=True, text=True).stdout
    assert not stat.strip() or stat.startswith("Z")


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (b"", "git says nothing about it"),
        (b"warning: x\nfatal: no such thing\nhint: y\n", "no such thing"),
        (
            b"ssh: Could not resolve hostname h: Name\r\nfatal: Could not read from remote repository.\n\n",
            "resolve hostname h",
        ),
        (b"ERROR: Repository not found.\nfatal: Could not read from remote repository.\n", "Repository not found"),
    ],
)
def test_complaints(err: bytes, words: str) -> None:
    assert words in git_run._complaint(err)
