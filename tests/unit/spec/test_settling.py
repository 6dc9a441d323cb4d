"""A specs folder that changes under the loop's eyes: half-written files, git at work, revisions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.model.spec import Desired
from reconciler.spec.files import SpecFolder, load_specs
from reconciler.spec.revision import git_folder, operation_in_progress
from tests.unit.spec.kept import Kept

NOW = 1_800_000_000.0
LONG_AGO = NOW - 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "specs"
    made.mkdir()
    os.utime(made, (LONG_AGO, LONG_AGO))
    return made


def write(folder: Path, name: str, text: str, at: float = LONG_AGO) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    os.utime(path, (at, at))
    os.utime(folder, (at, at))
    return path


def spec(command: str, project: str = "") -> str:
    return (f"project: {project}\n" if project else "") + f"jobs: [{{id: j, cmd: {command}}}]\n"


def commands(desired: Desired) -> dict[str, str]:
    return {key: job.cmd for key, job in desired.index.items()}


def test_a_file_that_changed_just_now_is_taken_once_it_is_quiet(folder: Path) -> None:
    kept = Kept()
    write(folder, "a.yaml", spec("old"))
    looked = SpecFolder(folder, kept)
    looked.load(settle=True, now=NOW)
    write(folder, "a.yaml", "jobs: [{id: j, cmd: ne", NOW + 10)
    write(folder, "new.yaml", spec("n"), NOW + 10)
    for desired in (looked.load(settle=True, now=NOW + 10.1), load_specs(folder, kept, settle=True, now=NOW + 10.1)):
        assert commands(desired) == {"a/j": "old"}
        assert not desired.errors
        assert [file.unsettled for file in desired.files] == [True, True]
    write(folder, "a.yaml", spec("new"), NOW + 10.2)
    settled = looked.load(settle=True, now=NOW + 11)
    assert commands(settled) == {"a/j": "new", "new/j": "n"}
    assert not any(file.unsettled for file in settled.files)


def test_without_settling_a_new_file_is_taken_at_once(folder: Path) -> None:
    write(folder, "a.yaml", spec("a"), NOW)
    assert commands(load_specs(folder, Kept(), settle=False, now=NOW)) == {"a/j": "a"}


def test_a_file_that_is_away_for_a_moment_is_kept(folder: Path) -> None:
    path = write(folder, "a.yaml", spec("a"))
    looked = SpecFolder(folder, Kept())
    looked.load(settle=True, now=NOW)
    path.unlink()
    os.utime(folder, (NOW + 5, NOW + 5))
    moment = looked.load(settle=True, now=NOW + 5.1)
    assert commands(moment) == {"a/j": "a"}
    assert moment.files[0].unsettled
    assert commands(looked.load(settle=True, now=NOW + 6)) == {}


LEFTOVERS = [
    ".sweep.yaml.Ab12Cd",  # rsync
    ".rsync-partial/sweep.yaml",
    ".~tmp~/sweep.yaml",  # rsync --delay-updates
    ".sweep.yaml.swp",  # vim
    "4913",
    "sweep.yaml~",
    "#sweep.yaml#",  # emacs
    ".goutputstream-AB12C3",
    "sedAb12Cd",
    "sweep.yaml___jb_tmp___",
    ".syncthing.sweep.yaml.tmp",
    "._sweep.yaml",
    "sweep.yaml.orig",
    "sweep.yaml.rej",
    "sweep.yaml.part",
]


@pytest.mark.parametrize("name", LEFTOVERS)
def test_what_programs_leave_beside_a_spec_is_none(folder: Path, name: str) -> None:
    write(folder, "sweep.yaml", spec("a"))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("half: [wri")
    desired = load_specs(folder, Kept(), settle=True, now=NOW)
    assert (commands(desired), desired.errors) == ({"sweep/j": "a"}, ())


def test_the_lock_of_an_editor_is_no_spec(folder: Path) -> None:
    write(folder, "sweep.yaml", spec("a"))
    (folder / ".#sweep.yaml").symlink_to("ada@box.1234:1800000000")
    desired = load_specs(folder, Kept(), settle=True, now=NOW)
    assert (commands(desired), desired.errors) == ({"sweep/j": "a"}, ())


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("how", [[], ["--inplace"], ["--delay-updates"], ["--temp-dir=TEMP"], ["--partial"]])
def test_what_rsync_brought_is_taken(folder: Path, how: list[str]) -> None:
    source = folder.parent / "source"
    (folder.parent / "temp").mkdir()
    source.mkdir()
    write(source, "sweep.yaml", spec("new"))
    write(folder, "sweep.yaml", spec("old-and-longer"), LONG_AGO - 5)
    looked = SpecFolder(folder, Kept())
    looked.load(settle=True, now=NOW)
    options = [option.replace("TEMP", str(folder.parent / "temp")) for option in how]
    subprocess.run(["rsync", "-rt", *options, f"{source}/", f"{folder}/"], check=True)
    assert commands(looked.load(settle=True, now=NOW + 1)) == {"sweep/j": "new"}


OPERATIONS = [
    "index.lock",
    "MERGE_HEAD",
    "rebase-merge",
    "rebase-apply",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
]


@pytest.mark.parametrize("name", OPERATIONS)
def test_while_git_is_at_work_files_stay_as_they_were(folder: Path, name: str) -> None:
    git = folder.parent / ".git"
    git.mkdir()
    kept = Kept()
    path = write(folder, "a.yaml", spec("old"))
    write(folder, "same.yaml", spec("s"))
    looked = SpecFolder(folder, kept)
    looked.load(settle=True, now=NOW)
    (git / name).touch()
    path.unlink()
    write(folder, "b.yaml", spec("b"), LONG_AGO + 7)
    desired = looked.load(settle=True, now=NOW + 5)
    assert commands(desired) == {"a/j": "old", "same/j": "s"}
    assert [file.unsettled for file in desired.files] == [True, True, False]
    assert desired.errors[0].warning
    assert "so changed specs are taken as they were before" in desired.errors[0].message
    (git / name).unlink()
    after = looked.load(settle=True, now=NOW + 6)
    assert commands(after) == {"b/j": "b", "same/j": "s"}
    assert not after.errors


@pytest.mark.parametrize("name", OPERATIONS)
def test_who_only_looks_sees_what_the_loop_sees_while_git_is_at_work(folder: Path, name: str) -> None:
    kept = Kept()
    write(folder, "a.yaml", spec("old"))
    loop = SpecFolder(folder, kept)
    loop.load(settle=True, now=NOW)
    (folder.parent / ".git").mkdir()
    (folder.parent / ".git" / name).touch()
    write(folder, "a.yaml", spec("new"), LONG_AGO + 7)
    seen = [SpecFolder(folder, kept).load(settle=False, now=NOW + 5), loop.load(settle=True, now=NOW + 5)]
    assert [commands(desired) for desired in seen] == [{"a/j": "old"}] * 2
    assert all(desired.errors[0].warning for desired in seen)
    checked = SpecFolder(folder, Kept()).load(settle=False, now=NOW + 5)  # one that checks what is written there
    assert commands(checked) == {"a/j": "new"}


def git(folder: Path, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]
    done = subprocess.run(["git", *who, "-C", str(folder), *words], capture_output=True, env=environment, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (b"3f2c1d9-dirty\n", "3f2c1d9-dirty"),
        (b"  v1.2-3-gabc  \nmore\n", "v1.2-3-gabc"),
        (b"", None),
        (b"\n", None),
        (b"\xff\n", None),
        (b"a\x1b[2J\n", None),
    ],
)
def test_a_folder_that_was_brought_says_its_revision(folder: Path, said: bytes, wanted: str | None) -> None:
    write(folder, "a.yaml", spec("a"))
    own = load_specs(folder, Kept(), settle=False, now=NOW).revision
    (folder / ".exq-revision").write_bytes(said)
    assert load_specs(folder, Kept(), settle=False, now=NOW).revision == (wanted or own)


def test_each_file_says_what_it_was_read_at_and_what_its_jobs_come_from(folder: Path) -> None:
    kept = Kept()
    write(folder, "a.yaml", spec("a"))
    (folder / ".exq-revision").write_text("one\n")
    looked = SpecFolder(folder, kept)
    (file,) = looked.load(settle=True, now=NOW).files
    assert (file.observed_rev, file.last_good_rev) == ("one", "one")
    write(folder, "a.yaml", "jobs: [", LONG_AGO + 5)
    (folder / ".exq-revision").write_text("two\n")
    for specs in (looked, SpecFolder(folder, kept)):
        desired = specs.load(settle=True, now=NOW + 5)
        (file,) = desired.files
        assert (file.broken, file.observed_rev, file.last_good_rev) == (True, "two", "one")
        assert (desired.revision, desired.revision_of("a"), desired.revision_of("b")) == ("two", "one", "two")
    write(folder, "a.yaml", spec("c"), LONG_AGO + 9)
    (file,) = looked.load(settle=True, now=NOW + 9).files
    assert (file.broken, file.observed_rev, file.last_good_rev) == (False, "two", "two")


@pytest.mark.parametrize(
    ("before", "after"), [("one-dirty", "one-dirty"), ("one", "one"), ("one-dirty", "two-dirty"), ("one-dirty", "two")]
)
def test_the_text_in_force_has_a_name_of_its_own(folder: Path, before: str, after: str) -> None:
    """Two texts may have been there at one revision: that of a work tree with changes, or one that was brought."""
    kept = Kept()
    write(folder, "a.yaml", spec("a"))
    (folder / ".exq-revision").write_text(f"{before}\n")
    looked = SpecFolder(folder, kept)
    (good,) = looked.load(settle=True, now=NOW).files
    assert (good.observed_rev, good.last_good_rev) == (before, before)
    write(folder, "a.yaml", "jobs: [", LONG_AGO + 5)
    (folder / ".exq-revision").write_text(f"{after}\n")
    for specs in (looked, SpecFolder(folder, kept)):
        (file,) = specs.load(settle=True, now=NOW + 5).files
        assert (file.broken, file.observed_rev) == (True, after)
        assert file.last_good_rev == f"{before}+{good.digest[:7]}"


def test_without_git_a_short_hash_of_the_file_is_its_revision(folder: Path) -> None:
    write(folder, "a.yaml", spec("a"))
    write(folder, "b.yaml", spec("b"))
    first, second = load_specs(folder, Kept(), settle=False, now=NOW).files
    assert (first.observed_rev, first.last_good_rev) == (first.digest[:7],) * 2
    assert first.observed_rev != second.observed_rev


@pytest.mark.needs("git")
def test_the_revision_is_that_of_the_repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    write(folder, "a.yaml", spec("a"))
    outside = load_specs(folder, Kept(), settle=False, now=NOW)
    assert len(outside.revision) == 12
    assert outside.version.startswith(outside.revision)
    git(folder.parent, "init", "-q")
    assert load_specs(folder, Kept(), settle=False, now=NOW).revision == outside.revision  # no commit yet
    git(folder.parent, "add", "specs")
    git(folder.parent, "commit", "-qm", "one")
    looked = SpecFolder(folder, Kept())
    clean = looked.load(settle=False, now=NOW)
    assert clean.revision == git(folder.parent, "describe", "--always")
    assert clean.version == outside.version
    write(folder, "a.yaml", spec("b"), LONG_AGO + 5)
    dirty = looked.load(settle=False, now=NOW + 10)
    assert dirty.revision == f"{clean.revision}-dirty"
    git(folder.parent, "commit", "-qam", "two")
    committed = looked.load(settle=False, now=NOW + 20)
    assert committed.revision == git(folder.parent, "describe", "--always") != clean.revision
    assert committed.version == dirty.version
    assert looked.load(settle=False, now=NOW + 21) is committed
    write(folder, "new.yaml", spec("c"), LONG_AGO + 6)
    assert looked.load(settle=False, now=NOW + 30).revision == f"{committed.revision}-dirty"  # no commit has it
    (folder / "new.yaml").unlink()
    write(folder, "notes.txt", "no spec", LONG_AGO + 6)
    assert looked.load(settle=False, now=NOW + 40).revision == committed.revision


@pytest.mark.needs("git")
def test_the_revision_is_asked_for_only_when_something_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "a.yaml", spec("a"))
    git(folder.parent, "init", "-q")
    asked: list[Path] = []

    def answer(where: Path) -> str:
        asked.append(where)
        return "v1"

    monkeypatch.setattr("reconciler.spec.revision._describe", answer)
    looked = SpecFolder(folder, Kept())
    for seconds in range(0, 50, 10):
        assert looked.load(settle=False, now=NOW + seconds).revision == "v1"
    assert len(asked) == 1
    looked.load(settle=False, now=NOW + 70)
    assert len(asked) == 2
    write(folder, "a.yaml", spec("b"), LONG_AGO + 5)
    looked.load(settle=False, now=NOW + 71)
    assert len(asked) == 2  # not more than once in two seconds
    looked.load(settle=False, now=NOW + 73)
    assert len(asked) == 3


def test_a_machine_without_git_has_a_revision_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / ".git").mkdir()
    write(folder, "a.yaml", spec("a"))
    monkeypatch.setenv("PATH", str(folder))
    desired = load_specs(folder, Kept(), settle=False, now=NOW)
    assert desired.version.startswith(desired.revision)
    assert len(desired.revision) == 12


def test_a_worktree_is_a_repository(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "tree" / "specs").mkdir(parents=True)
    (tmp_path / "tree" / ".git").write_text("gitdir: ../real\n", encoding="utf-8")
    found = git_folder(tmp_path / "tree" / "specs")
    assert found is not None
    assert found.resolve() == tmp_path / "real"
    assert operation_in_progress(found) is None
    (tmp_path / "real" / "MERGE_HEAD").touch()
    assert operation_in_progress(found) == "a git merge is not finished"
    assert operation_in_progress(None) is None
