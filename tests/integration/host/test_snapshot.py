"""`snapshot`: jobs run from the commit that was chosen when they were first asked for, whatever is edited later."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.lab import Lab, project
from tests.integration.repositories import Repository

pytestmark = pytest.mark.needs("git")

RUN = "sh train.sh $EXQ_JOB"
SAYS = 'mkdir -p out; echo "{}" >out/$1; until [ -e "$GO" ]; do sleep 0.05; done\n'


@pytest.fixture
def code(lab: Lab) -> Repository:
    """The working folder is a repository whose program says which version it is."""
    return Repository(
        lab.work, train_dot_sh=SAYS.format("one"), _dot_gitignore="out/\ndata/\nexperiment_queue/\n__pycache__/\n"
    )


def wanted(lab: Lab, *jobs: str, **settings: object) -> str:
    entries = {job: {"cmd": RUN, "output_check": f"out/{job}", "env": {"GO": str(lab.root / "go")}} for job in jobs}
    return project(entries, launcher="process", **{"snapshot": True, "max_parallel": 1, **settings})


def go(lab: Lab) -> None:
    (lab.root / "go").touch()


def ran(lab: Lab) -> dict[str, str]:
    """By job, the version that it ran."""
    return {path.name: path.read_text().strip() for path in sorted((lab.work / "out").iterdir())}


def trees(lab: Lab) -> list[str]:
    return sorted(path.name for path in (lab.state / "snapshots").glob("*/*") if path.is_dir() and path.suffix == "")


def test_editing_the_code_never_changes_queued_jobs(lab: Lab, code: Repository) -> None:
    first = code.head()
    lab.spec(wanted(lab, "a", "b", "c"))
    with lab.daemon():
        lab.wait("a runs", (lab.work / "out" / "a").exists)
        code.write(train_dot_sh=SAYS.format("two"))
        second = code.commit("second")
        code.write(train_dot_sh=SAYS.format("not committed"))
    assert ran(lab) == {"a": "one"}
    go(lab)
    lab.settle()
    assert ran(lab) == {"a": "one", "b": "one", "c": "one"}, "after a kill -9 of the loop, too"
    code.git("checkout", "-q", "train.sh")
    lab.spec(wanted(lab, "a", "b", "c", "d"))
    lab.settle()
    assert ran(lab) == {"a": "one", "b": "one", "c": "one", "d": "two"}, "what is completed stays so"
    lab.wait("it is noted", lambda: not list((lab.state / "provenance" / "queue").iterdir()))
    for job, commit in (("c", first), ("d", second)):
        attempt = lab.json("history", job, "--full")["attempts"][0]
        assert (attempt["code"]["commit"], attempt["code"]["dirty"]) == (commit, False)
        assert (attempt["original_cwd"], attempt["code"]["snapshot"]) == (str(lab.work), True)
    assert f"snapshot of commit {second} of {lab.work}" in lab.exq("history", "d", "--full").stdout


def test_a_retry_runs_the_same_commit_and_one_by_hand_the_newest(lab: Lab, code: Repository) -> None:
    code.commit("failing", train_dot_sh="mkdir -p out; echo one >>out/tries; test -e ../never\n")
    retry = {"failure_retry": {"max_attempts": 2, "delay": 1}}
    lab.spec(project({"a": {"cmd": RUN, "output_check": "out/a"}}, launcher="process", snapshot=True, **retry))
    with lab.daemon():
        lab.wait("it has failed once", (lab.work / "out" / "tries").exists)
        code.commit("mended", train_dot_sh="echo two >>out/tries; touch out/a\n")
        assert lab.wait_for_status("p/a", "stuck")["attempts"] == 2
        assert (lab.work / "out" / "tries").read_text() == "one\none\n"
        lab.exq("retry", "a")
        lab.wait_for_status("p/a", "completed")
    assert (lab.work / "out" / "tries").read_text() == "one\none\ntwo\n"


def test_a_closed_phase_is_pinned_with_the_others(lab: Lab, code: Repository) -> None:
    go(lab)
    entries = {"env": {"GO": str(lab.root / "go")}, "cmd": RUN}
    second = [{"id": "b", "output_check": "out/b", **entries}]
    first = [{"id": "a", "output_check": "out/a", **entries, "preconditions": [{"type": "file_exists", "path": "in"}]}]
    phases = [{"name": "one", "jobs": first}, {"name": "two", "depends_on": "one", "jobs": second}]
    text = project({}, launcher="process", snapshot=True, phases=phases).replace("jobs: []\n", "")
    lab.spec(text)
    with lab.daemon():
        lab.wait("both have a commit", lambda: "2 jobs run from commit" in lab.exq("history").stdout)
        code.commit("second", train_dot_sh=SAYS.format("two"))
        (lab.work / "in").touch()
        lab.nudge()
        lab.wait_for_status("p/b", "completed", timeout_s=60)
    assert ran(lab) == {"a": "one", "b": "one"}


def test_changes_that_are_not_committed_hold_the_jobs_back(lab: Lab, code: Repository) -> None:
    go(lab)
    code.write(train_dot_sh=SAYS.format("two"))
    lab.spec(wanted(lab, "a"))
    words = f"{lab.work} has changes that no commit has (train.sh)"
    diff = lab.json("diff")
    assert (diff["actions"], diff["holds"][0]["reason"]) == ([], "UncommittedCode")
    assert lab.json("why", "a")["next"] == [f"git -C {lab.work} commit -a"]
    lab.settle(code=3)
    assert words in diff["holds"][0]["message"]
    assert f"git -C {lab.work} commit -a" in " ".join(lab.exq("why", "a").stdout.split())
    with lab.daemon():
        lab.wait_for_status("p/a", "UncommittedCode")
        said = "1 job waits for a commit"  # by the loop, which may be a moment later than one who only looks
        lab.wait("it says so", lambda: any(said in str(r.get("message")) for r in lab.json("history")["records"]))
        code.commit("second")
        lab.wait_for_status("p/a", "completed", timeout_s=60)
    assert ran(lab) == {"a": "two"}


@pytest.mark.parametrize("ref", ["HEAD", "stable", "v1", "COMMIT"])
def test_a_commit_can_be_named(lab: Lab, code: Repository, ref: str) -> None:
    go(lab)
    commit = code.head()
    code.git("tag", "v1")
    code.git("branch", "stable")
    if ref != "HEAD":
        code.commit("second", train_dot_sh=SAYS.format("two"))
    code.write(train_dot_sh=SAYS.format("three"))
    lab.spec(wanted(lab, "a", snapshot=commit if ref == "COMMIT" else ref))
    lab.settle()
    assert ran(lab) == {"a": "one"}


def test_data_is_used_where_it_is_and_code_is_not(lab: Lab, code: Repository) -> None:
    (lab.work / "data").mkdir()
    (lab.work / "data" / "x").write_text("data\n")
    code.commit("reads", train_dot_sh="cat data/x lib/keep >out/$1; echo more >>data/y\n", lib__keep="old\n")
    code.write(untracked_dot_sh="exit 1\n")
    lab.spec(wanted(lab, "a", snapshot=True).replace('"output_check": "out/a"', '"output_check": "out/a"'))
    lab.settle()
    assert (lab.work / "out" / "a").read_text() == "data\nold\n"
    assert (lab.work / "data" / "y").read_text() == "more\n"
    tree = next((lab.state / "snapshots").glob("*/*.ready")).with_suffix("")
    assert (tree / "data").is_symlink() and (tree / "out").is_symlink()
    assert not (tree / "untracked.sh").exists()
    assert not (tree / "lib").is_symlink()


def test_a_folder_kept_for_outputs_counts_as_untracked(lab: Lab, code: Repository) -> None:
    go(lab)
    code.write(results___dot_gitkeep="")
    code.commit("kept", train_dot_sh="echo one >results/$1\n")
    text = project({"a": {"cmd": RUN, "output_check": "results/a"}}, launcher="process", snapshot=True)
    lab.spec(text)
    lab.settle()
    assert (lab.work / "results" / "a").read_text() == "one\n"


def test_outputs_among_the_code_are_refused_with_words(lab: Lab, code: Repository) -> None:
    code.commit("lib", lib__a="1")
    lab.spec(project({"a": {"cmd": RUN, "output_check": "lib/a.json"}}, launcher="process", snapshot=True))
    with lab.daemon():
        words = "the output lib/a.json has no folder of its own"
        lab.wait("it says so", lambda: words in lab.status()["p/a"]["message"])
        assert lab.status()["p/a"]["reason"] == "EnvironmentBroken"
    assert not (lab.work / "lib" / "a.json").exists()


def test_outputs_that_would_stay_behind_are_a_mistake_in_the_spec(lab: Lab, code: Repository) -> None:
    lab.spec(project({"a": {"cmd": RUN, "output_check": "a.json"}}, snapshot=True))
    found = lab.exq("validate", code=1)
    assert "with `snapshot`, outputs must lie in a folder: `a.json` of `a`" in found.stdout + found.stderr


def test_a_folder_below_the_top(lab: Lab, code: Repository) -> None:
    go(lab)
    code.commit("deep", deep__er__train_dot_sh=SAYS.format("deep"))
    lab.spec(wanted(lab, "a", cwd=str(lab.work / "deep" / "er")))
    lab.settle()
    assert (lab.work / "deep" / "er" / "out" / "a").read_text() == "deep\n"


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("no repository", "is in no git repository"),
        ("no commit", "`missing` is no commit in"),
        ("submodules", "has submodules, which a snapshot does not take along"),
    ],
)
def test_what_a_person_has_to_mend_is_stuck_and_burns_no_try(lab: Lab, mistake: str, words: str) -> None:
    if mistake != "no repository":
        code = Repository(lab.work, train_dot_sh=SAYS.format("one"))
    if mistake == "submodules":
        other = Repository(lab.root / "other")
        code.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.root), "sub")
        code.commit("with a submodule")
    lab.spec(wanted(lab, "a", snapshot="missing" if mistake == "no commit" else True))
    lab.settle(code=3)
    stands = lab.status()["p/a"]
    assert (stands["status"], stands["reason"], stands["attempts"]) == ("stuck", "SnapshotNotReady", 0)
    assert words in stands["message"]
    assert lab.json("why", "a")["next"]
    if mistake != "submodules":
        checks = lab.json("doctor", code=None)["checks"]
        assert [(c["status"], words in c["message"], bool(c["mend"])) for c in checks if c["name"] == "snapshot"] == [
            ("error", True, True)
        ]


def test_it_goes_on_by_itself_once_the_named_commit_is_there(lab: Lab, code: Repository) -> None:
    go(lab)
    lab.spec(wanted(lab, "a", snapshot="v1"))
    with lab.daemon():
        lab.wait_for_status("p/a", "stuck")
        lab.wait("it says so", lambda: "1 job waits for a commit" in lab.exq("history").stdout)
        code.git("tag", "v1")
        lab.wait_for_status("p/a", "completed", timeout_s=60)
    assert ran(lab) == {"a": "one"}


def test_a_pinned_job_says_which_commit_it_will_run_from(lab: Lab, code: Repository) -> None:
    lab.spec(wanted(lab, "a", "b"))
    assert "that it would run from is made first" in lab.status()["p/a"]["message"]
    with lab.daemon():
        lab.wait("a runs", (lab.work / "out" / "a").exists)
        assert f"it will run from commit {code.head()[:12]}" in lab.json("why", "b")["chain"]
        go(lab)


def test_the_recipe_restores_all_of_the_code_from_a_subfolder(lab: Lab, code: Repository) -> None:
    go(lab)
    code.commit("more", sub__lib_dot_sh="one\n")
    code.write(train_dot_sh=SAYS.format("two"), sub__lib_dot_sh="two\n")
    entries = {"a": {"cmd": RUN, "output_check": "out/a", "env": {"GO": str(lab.root / "go")}}}
    lab.spec(project(entries, launcher="process"))
    lab.settle()
    lab.wait("it is noted", lambda: not list((lab.state / "provenance" / "queue").iterdir()))
    patch = lab.exq("history", "a", "--full", "--patch").stdout
    code.git("checkout", "-q", ".")
    told = " ".join(lab.exq("history", "a", "--full").stdout.split())
    recipe = 'git -C "$(git rev-parse --show-toplevel)" apply'
    assert f"--patch --attempt 1 | {recipe}" in told
    subprocess.run(["sh", "-c", recipe], input=patch, text=True, cwd=lab.work / "sub", check=True, timeout=60)
    assert "two" in (lab.work / "train.sh").read_text()
    assert (lab.work / "sub" / "lib.sh").read_text() == "two\n"


def test_a_half_made_work_tree_is_made_anew(lab: Lab, code: Repository) -> None:
    go(lab)
    code.commit("with data", big="x" * 1000)
    lab.spec(wanted(lab, "a"))
    lab.exq("run", "--once")
    lab.wait("it is made", lambda: list((lab.state / "snapshots").glob("*/*.ready")))
    ready = next((lab.state / "snapshots").glob("*/*.ready"))
    ready.unlink()  # as a crash leaves it
    (ready.with_suffix("") / "train.sh").write_text("half")
    lab.settle()
    assert ran(lab) == {"a": "one"}


def test_a_work_tree_that_git_knows_and_that_is_gone(lab: Lab, code: Repository) -> None:
    import shutil

    go(lab)
    lab.spec(wanted(lab, "a"))
    lab.settle()
    shutil.rmtree(lab.state / "snapshots")
    lab.spec(wanted(lab, "a", "b"))
    lab.settle()
    assert ran(lab) == {"a": "one", "b": "one"}


@pytest.mark.parametrize("what", ["everything", "what is in it"])
def test_a_work_tree_that_was_removed_by_hand_is_made_anew(lab: Lab, code: Repository, what: str) -> None:
    import shutil

    lab.spec(wanted(lab, "a"))
    lab.exq("run", "--once")
    lab.wait("it is made", lambda: list((lab.state / "snapshots").glob("*/*.ready")))
    tree = next((lab.state / "snapshots").glob("*/*.ready")).with_suffix("")
    shutil.rmtree(tree)
    if what == "what is in it":
        tree.mkdir()
    code.git("worktree", "prune")
    go(lab)
    lab.settle()
    assert ran(lab) == {"a": "one"}


def test_a_work_tree_that_was_removed_under_a_running_job_is_there_for_the_next(lab: Lab, code: Repository) -> None:
    import shutil

    lab.spec(wanted(lab, "a", "b"))
    with lab.daemon():
        lab.wait("a runs", (lab.work / "out" / "a").exists)
        tree = next((lab.state / "snapshots").glob("*/*.ready")).with_suffix("")
        shutil.rmtree(tree)
        go(lab)
        lab.wait_for_status("p/b", "completed", timeout_s=60)
    assert ran(lab) == {"a": "one", "b": "one"}


def test_work_trees_are_dropped_when_no_job_needs_them(lab: Lab, code: Repository) -> None:
    lab.spec(wanted(lab, "a", "b"))
    first = code.head()
    with lab.daemon():
        lab.wait("a runs", (lab.work / "out" / "a").exists)
        _age(lab)
        lab.nudge()
        code.commit("second", train_dot_sh=SAYS.format("two"))
        lab.spec(wanted(lab, "a", "b", "c"))
        second = code.head()
        lab.wait("both are there", lambda: trees(lab) == sorted([first, second]))
        _age(lab)
        go(lab)
        lab.wait("all is done", lambda: lab.status()["p/c"]["status"] == "completed")
    assert ran(lab) == {"a": "one", "b": "one", "c": "two"}
    _age(lab)
    with lab.daemon():
        lab.wait("they are gone", lambda: trees(lab) == [], timeout_s=60)
    assert code.git("worktree", "list").count("\n") == 1
    assert (lab.work / "out" / "a").exists(), "what a link leads to is never removed"


def test_a_work_tree_in_use_is_never_dropped(lab: Lab, code: Repository) -> None:
    """Neither by a plan that knows nothing of it: whoever drops it asks who is in it."""
    lab.spec(wanted(lab, "a"))
    with lab.daemon():
        lab.wait("a runs", (lab.work / "out" / "a").exists)
    commit = code.head()
    script = Path(__file__).parents[3] / "reconciler" / "host" / "snapshot.py"
    repository = next((lab.state / "snapshots").iterdir()).name
    drop = ["python3", str(script), str(lab.state), "drop", repository, commit]
    subprocess.run(drop, check=True, timeout=60)
    assert trees(lab) == [commit]
    go(lab)
    lab.settle()
    subprocess.run(drop, check=True, timeout=60)
    assert trees(lab) == []
    assert ran(lab) == {"a": "one"}


def test_a_lost_ledger_keeps_the_commit_of_what_has_run(lab: Lab, code: Repository) -> None:
    code.commit("failing", train_dot_sh="mkdir -p out; echo one >>out/tries; test -e ../never\n")
    retry = {"failure_retry": {"max_attempts": 2, "delay": "1h"}}
    entry = {"a": {"cmd": RUN, "output_check": "out/a"}}
    lab.spec(project(entry, launcher="process", snapshot=True, **retry))
    with lab.daemon():
        lab.wait_for_status("p/a", "failed_other")
    for path in lab.state.glob("ledger.sqlite3*"):
        path.unlink()
    code.commit("second", train_dot_sh="touch out/a\n")
    lab.spec(project(entry, launcher="process", snapshot=True, failure_retry={"max_attempts": 2, "delay": 0}))
    before = time.time()
    lab.exq("run", "--until-settled", code=None)
    assert time.time() >= before
    tries = (lab.work / "out" / "tries").read_text()
    assert tries in ("one\none\n", "one\n")
    assert not (lab.work / "out" / "a").exists()


def _age(lab: Lab) -> None:
    """What is idle is kept for a while; make it old."""
    for users in (lab.state / "snapshots").glob("*/*.users"):
        past = time.time() - 3600
        os.utime(users, (past, past))
