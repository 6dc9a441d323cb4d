"""Specs from commits: real repositories, a loop that follows one, and everything that may go wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab import Lab
from tests.unit.spec.gits import ENVIRONMENT, Git, git_init

pytestmark = pytest.mark.needs("git")

SPEC = """\
project: {project}
cwd: {work}
gpus: none
max_parallel: 4
jobs:
{jobs}
"""


class Team:
    """A remote repository, a colleague's clone of it, and the lab whose exq.yaml names the remote."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.remote = lab.root / "remote.git"
        git_init(self.remote, "--bare")
        self.git = git_init(lab.root / "colleague")
        self.git("remote", "add", "origin", self.url)
        lab.env.update(ENVIRONMENT)

    @property
    def url(self) -> str:
        return f"file://{self.remote}"

    def spec(self, *ids: str, project: str = "exp") -> str:
        jobs = "\n".join(f"  - {{id: {name}, cmd: 'echo {name} >>ran'}}" for name in ids)
        return SPEC.format(project=project, work=self.lab.work, jobs=jobs)

    def push(self, files: dict[str, str], *options: str) -> str:
        """Commit and push; the commit."""
        commit = self.git.commit({f"specs/{name}": text for name, text in files.items()})
        self.git("push", "--quiet", *options, "origin", "HEAD:main")
        return commit

    def follow(self, interval: str = "1s", **more: str) -> None:
        """Write the exq.yaml, as long ago as any other spec of the lab."""
        git = {"url": self.url, "path": "specs", "ref": "main", "interval": interval, **more}
        settle(self.lab, f"source:\n  git: {json.dumps(git)}\n")

    def source(self, *options: str) -> dict[str, Any]:
        return self.lab.json("source", *options, code=None)

    def wait_for(self, commit: str) -> None:
        """Wait until the loop has taken a commit."""
        kept = self.lab.state / "source"
        self.lab.wait(f"{commit} to be taken", lambda: any(commit in f.read_text() for f in kept.glob("*.taken.json")))

    def wait_until_said(self, words: str) -> None:
        """Wait until the audit trail has an alert with these words."""
        trail = self.lab.state / "audit.jsonl"
        self.lab.wait(f"an alert that says {words!r}", lambda: trail.exists() and words in trail.read_text())


def settle(lab: Lab, text: str) -> None:
    path = lab.specs / "exq.yaml"
    path.write_text(text)
    past = time.time() - 60
    os.utime(path, (past, past))


@pytest.fixture
def team(lab: Lab) -> Team:
    return Team(lab)


def test_a_loop_follows_pushes_through_everything(team: Team) -> None:
    """One long story: a push, a broken file, a force-push, a remote that is away, the loop killed in between."""
    lab = team.lab
    first = team.push({"a.yaml": team.spec("one"), "b.yaml": team.spec("b", project="other")})
    team.follow()
    with lab.daemon():
        lab.wait_for_status("exp/one", "completed")
        second = team.push({"a.yaml": team.spec("one", "two")})
        lab.wait_for_status("exp/two", "completed")
        assert lab.verdict("exp/two")["status"] == "completed"
        intent = json.loads((lab.attempt("exp/two") / "intent.json").read_text())
        assert intent["revision"] == second[:7]

        broken = team.push({"a.yaml": "jobs: [{id: x, cmnd: y}]\n", "b.yaml": team.spec("b", "c", project="other")})
        lab.wait_for_status("other/c", "completed")
        files = {file["path"]: file for file in lab.json("status")["files"]}
        assert files["specs/a.yaml"] | {"unsettled": False} == {
            "path": "specs/a.yaml",
            "observed_rev": broken[:7],
            "last_good_rev": second[:7],
            "broken": True,
            "unsettled": False,
        }
        assert (
            f"specs/a.yaml is broken at {broken[:7]}; its jobs are those of {second[:7]}." in lab.exq("status").stdout
        )

    team.git("reset", "--quiet", "--hard", first)
    rewritten = team.push({"a.yaml": team.spec("one", "three")}, "--force")
    with lab.daemon():
        team.wait_until_said("exq source --accept takes it")
        told = team.source()
        assert (told["commit"], told["newest"], told["rewritten"], told["behind"]) == (broken, rewritten, True, 1)
        shown = " ".join(lab.exq("status").stdout.split())
        assert f"the specs stay at {broken[:7]} of {team.url}, 1 commit behind: `main` is at {rewritten[:7]}" in shown
        assert "exp/three" not in lab.status() and lab.status()["exp/two"]["status"] == "completed"
        assert lab.exq("source", code=1).stderr.strip().endswith("Next: exq source --accept takes it")

        accepted = lab.json("source", "--accept")
        assert (accepted["schema"], accepted["accepting"]) == ("exq.source/v1", rewritten)
        lab.wait_for_status("exp/three", "completed")
        assert lab.exq("source").returncode == 0

        team.remote.rename(lab.root / "away")
        team.wait_until_said("it cannot be fetched")
        status = lab.json("status")
        assert (status["source"]["commit"], status["source"]["behind"]) == (rewritten, None)
        assert status["source"]["next"] == f"try it by hand: git ls-remote {team.url}"
        (lab.root / "away").rename(team.remote)
        last = team.push({"a.yaml": team.spec("one", "three", "four")})
        lab.exq("source", "--fetch")
        lab.wait_for_status("exp/four", "completed")
        team.wait_for(last)

    requests = [json.loads(line) for line in (lab.state / "audit.jsonl").read_text().splitlines()]
    (asked,) = [line for line in requests if line["event"] == "request"]
    assert (asked["action"], asked["job"], "@" in asked["by"]) == ("accept_source", rewritten, True)
    revisions = {line["revision"] for line in requests if line["event"] == "action" and line["job"] == "exp/four"}
    assert revisions == {last[:7]}
    assert sorted(lab.ran()) == ["b", "c", "four", "one", "three", "two"]


def test_what_was_taken_stays_over_a_restart_without_the_remote(team: Team) -> None:
    lab = team.lab
    commit = team.push({"a.yaml": team.spec("one")})
    team.follow()
    lab.settle()
    shutil.rmtree(team.remote)
    shutil.rmtree(next((lab.state / "source").glob("*.git")))
    diff = lab.json("diff")
    assert diff["errors"] == [] and not any(file["broken"] for file in diff["files"]), "nobody made a mistake"
    assert diff["source"]["commit"] == commit and "cannot be fetched" in diff["source"]["problem"]
    assert diff["summary"]["completed"] == 1, "its texts are kept, though no repository has them any more"
    with lab.daemon():
        team.wait_until_said("cannot be fetched")
    assert lab.ran() == ["one"]


def test_a_branch_that_is_gone(team: Team) -> None:
    lab = team.lab
    commit = team.push({"a.yaml": team.spec("one")})
    team.follow()
    lab.settle()
    Git(team.remote)("branch", "--move", "main", "other")
    told = team.source("--fetch")
    assert (told["commit"], told["problem"]) == (commit, "there is no branch or tag `main` in it")
    assert told["next"] == f"correct `ref` in {lab.specs}/exq.yaml:2; git ls-remote {team.url} lists what it has"
    assert lab.json("diff")["summary"]["completed"] == 1


def test_a_commit_without_the_folder(team: Team) -> None:
    lab = team.lab
    commit = team.push({"a.yaml": team.spec("one")})
    team.follow()
    lab.settle()
    team.git("mv", "specs", "elsewhere")
    team.push({})
    told = team.source("--fetch")
    assert (told["commit"], told["behind"], told["rewritten"]) == (commit, 1, False)
    assert told["problem"].startswith("there is no folder `specs` in commit")
    assert told["next"] == f"correct `path` in {lab.specs}/exq.yaml:2"


def test_nothing_was_ever_fetched(team: Team) -> None:
    team.follow()
    shutil.rmtree(team.remote)
    done = team.lab.exq("diff", code=1)
    assert "no commit was taken from it yet: it cannot be fetched" in done.stdout
    assert not (team.lab.state / "ledger.sqlite3").exists(), "a verb that only looks opens no ledger"


def test_a_password_is_shown_nowhere(team: Team) -> None:
    team.follow(url="http://ann:hunter22@127.0.0.1:9/x.git")
    done = team.lab.exq("diff", code=1)
    said = done.stdout + done.stderr + team.lab.exq("settings").stdout + json.dumps(team.source())
    kept = [path.read_text() for path in (team.lab.state / "source").glob("*.json")]
    assert kept and "hunter22" not in said + "".join(kept)
    assert "http://127.0.0.1:9/x.git" in said


def test_a_reload_fetches_at_once(team: Team) -> None:
    lab = team.lab
    team.push({"a.yaml": team.spec("one")})
    team.follow(interval="1h")
    pid = lab.json("run", "--detach")["pid"]
    try:
        lab.wait_for_status("exp/one", "completed")
        team.push({"a.yaml": team.spec("one", "two")})
        os.kill(pid, signal.SIGHUP)
        lab.wait_for_status("exp/two", "completed")
    finally:
        os.kill(pid, signal.SIGTERM)
        lab.wait("the loop to end", lambda: not Path(f"/proc/{pid}").exists())


def test_the_source_changes_while_the_loop_runs(team: Team) -> None:
    """From the folder to git, then an exq.yaml that is broken, which changes nothing, and back."""
    lab = team.lab
    team.push({"a.yaml": team.spec("two")})
    lab.spec(team.spec("one"))
    with lab.daemon():
        lab.wait_for_status("exp/one", "completed")
        team.follow()
        lab.nudge()
        lab.wait_for_status("exp/two", "completed")
        settle(lab, "sorce: {git: {path: .}}\n")
        lab.nudge()
        team.push({"a.yaml": team.spec("two", "three")})
        lab.wait_for_status("exp/three", "completed")
        done = lab.exq("validate", code=1)
        assert f"{lab.specs}/exq.yaml:1:1: unknown key `sorce` (did you mean `source`?)" in done.stdout
        assert "unknown key `sorce`" in lab.exq("diff", code=1).stdout
        (lab.specs / "exq.yaml").unlink()
        lab.spec(team.spec("one", "four"))
        lab.nudge()
        lab.wait_for_status("exp/four", "completed")
    assert sorted(lab.ran()) == ["four", "one", "three", "two"]


class Own:
    """The lab's own folder is a repository, and exq.yaml says to take what is committed there."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.git: Git = git_init(lab.root)
        self.team = Team(lab)
        lab.env.update(ENVIRONMENT)
        settle(lab, "source: {git: {path: .}}\n")

    def commit(self, *ids: str, check: bool = True) -> str:
        self.git.write({"specs/a.yaml": self.team.spec(*ids)})
        self.git("add", "specs/a.yaml")
        self.git("commit", "--quiet", "--message", " ".join(ids), check=check)
        return self.git("rev-parse", "HEAD")

    def source(self) -> dict[str, Any]:
        return self.lab.json("source", code=None)


@pytest.fixture
def own(lab: Lab) -> Own:
    return Own(lab)


def test_only_what_is_committed_counts(own: Own) -> None:
    lab = own.lab
    commit = own.commit("one")
    (lab.specs / "a.yaml").write_text("half wri")
    (lab.specs / "new.yaml").write_text(own.team.spec("two", project="new"))
    lab.settle()
    assert (sorted(lab.status()), own.source()["commit"]) == (["exp/one"], commit)
    assert lab.exq("validate", code=1).stdout.startswith(f"{lab.specs}/a.yaml"), "what is edited is what is checked"
    (expanded,) = lab.json("expand", str(lab.specs / "new.yaml"))["jobs"]
    assert expanded["key"] == "new/two"


def test_a_rebase_in_progress_is_waited_out(own: Own) -> None:
    lab = own.lab
    own.commit("one")
    own.git("branch", "topic")
    mine = own.commit("one", "mine")
    lab.settle()
    own.git("switch", "--quiet", "topic")
    own.commit("one", "theirs")
    own.git("switch", "--quiet", "main")
    own.git("rebase", "--quiet", "topic", check=False)
    assert "a.yaml" in own.git("diff", "--name-only", "--diff-filter=U"), "the rebase stopped at a conflict"
    told = own.source()
    assert (told["commit"], told["newest"]) == (mine, None)
    assert told["problem"].startswith("a git rebase is not finished in ")
    assert lab.json("diff")["actions"] == []
    own.git("rebase", "--abort")
    assert own.source()["problem"] is None


@pytest.mark.parametrize("detached", [True, False])
def test_head_that_is_elsewhere(own: Own, detached: bool) -> None:
    first = own.commit("one")
    own.lab.settle()
    if detached:
        own.git("checkout", "--quiet", "--detach", first)
        own.commit("one", "two")
    else:
        own.git("switch", "--quiet", "--orphan", "other")
        own.commit("two")
    told = own.source()
    assert (told["commit"], told["rewritten"]) == (first, not detached)
    assert ("on no branch (detached)" in told["problem"]) is detached
    assert own.lab.json("diff")["actions"] == []
    own.git("switch", "--quiet", "main")
    assert own.source()["problem"] is None


def test_a_branch_by_name_is_followed_whatever_is_checked_out(own: Own) -> None:
    own.commit("one")
    settle(own.lab, "source: {git: {url: .., path: specs, ref: main}}\n")
    own.git("switch", "--quiet", "--create", "work")
    own.commit("one", "draft")
    own.lab.settle()
    assert sorted(own.lab.status()) == ["exp/one"]
    own.git("switch", "--quiet", "main")
    own.git("merge", "--quiet", "work")
    assert sorted(own.lab.status()) == ["exp/draft", "exp/one"]


def test_a_repository_of_somebody_else(own: Own) -> None:
    commit = own.commit("one")
    own.lab.settle()
    own.lab.env["GIT_TEST_ASSUME_DIFFERENT_OWNER"] = "1"
    told = own.source()
    assert told["commit"] == commit and "belongs to somebody else" in told["problem"]
    assert told["next"].startswith("if you trust it: git config --global --add safe.directory ")
    assert own.lab.json("diff")["summary"]["completed"] == 1


def test_a_repository_that_is_lost_is_no_mistake_of_the_specs(own: Own) -> None:
    lab = own.lab
    commit = own.commit("one")
    assert (own.source()["repository"], own.source()["taken_at"]) == (str(lab.root), None)
    assert "not taken by a loop yet" in lab.exq("source").stdout
    lab.settle()
    (lab.root / ".git").rename(lab.root / "gone")
    told = own.source()
    assert (told["commit"], told["problem"]) == (commit, f"there is no git repository at {lab.specs}")
    assert told["next"] == f"put it back, or correct `path` in {lab.specs}/exq.yaml:1"
    shown = lab.exq("diff").stdout + lab.exq("status").stdout + lab.exq("run", "--once").stdout
    assert f"the specs stay at {commit[:7]} of" in shown and "mistake" not in shown


def test_exq_yaml_is_kept_from_the_first_run_on(own: Own) -> None:
    lab = own.lab
    own.commit("one")
    lab.settle()
    assert "cannot write" not in lab.exq("history").stdout
    settle(lab, "host_names: [b\n")
    diff = lab.json("diff", code=1)
    assert (diff["source"]["kind"], diff["summary"]["completed"]) == ("git", 1)


def test_the_history_has_that_exq_yaml_broke_and_was_mended(own: Own) -> None:
    lab = own.lab
    own.commit("one")
    good = (lab.specs / "exq.yaml").read_text()
    with lab.daemon():
        lab.wait_for_status("exp/one", "completed")
        (lab.specs / "exq.yaml").write_text("host_names: [b\n")  # just now, so that it is waited for first
        lab.nudge()
        lab.wait("the break to be noted", lambda: "is broken, what it said" in (lab.state / "audit.jsonl").read_text())
        (lab.specs / "exq.yaml").write_text(good)
        lab.nudge()
        lab.wait(
            "the mend to be noted",
            lambda: "exq.yaml has no mistake any more" in (lab.state / "audit.jsonl").read_text(),
        )
    trail = (lab.state / "audit.jsonl").read_text()
    assert "is gone" not in trail
    assert trail.count("exq.yaml is broken") == trail.count("exq.yaml has no mistake any more") == 1


@pytest.mark.parametrize("key", ["url", "path"])
def test_a_folder_that_is_not_there_is_named_as_it_was_written(own: Own, key: str) -> None:
    settle(own.lab, f"source:\n  git:\n    {key}: /nope/x.git\n")
    told = own.source()
    assert told["problem"] == "there is no git repository at /nope/x.git"
    assert told["next"] == f"put it back, or correct `{key}` in {own.lab.specs}/exq.yaml:3"


def test_a_local_branch_that_is_not_there(own: Own) -> None:
    own.commit("one")
    settle(own.lab, "source: {git: {path: ., ref: nothing}}\n")
    assert own.source()["next"].startswith(f"correct `ref` in {own.lab.specs}/exq.yaml:1: it has `")


def test_without_git(own: Own, tmp_path: Path) -> None:
    commit = own.commit("one")
    own.lab.settle()
    for name in ("screen", "ps", "sh", "bash", "sleep", "env"):
        found = shutil.which(name)
        if found:
            (tmp_path / name).symlink_to(found)
    own.lab.env["PATH"] = str(tmp_path)
    told = own.source()
    assert (told["commit"], told["problem"], told["next"]) == (
        commit,
        "git is not installed",
        "install it: apt install git",
    )


def test_an_accept_without_a_loop_is_carried_out_by_the_next_one(own: Own) -> None:
    lab = own.lab
    own.commit("one")
    lab.settle()
    assert "there is no rewritten history to accept" in lab.exq("source", "--accept", code=1).stderr
    own.git.write({"specs/a.yaml": own.team.spec("one", "two")})
    own.git("commit", "--quiet", "--all", "--amend", "--message", "other")
    seen = own.git("rev-parse", "HEAD")
    assert lab.json("diff")["actions"] == []
    assert lab.json("source", "--accept")["accepting"] == seen
    assert [action["job"] for action in lab.json("diff")["actions"]] == ["exp/two"], "what the next loop will do"
    own.git("commit", "--quiet", "--amend", "--message", "once more")
    assert lab.json("diff")["actions"] == [], "only what was seen is accepted"
    lab.settle()
    assert "exp/two" not in lab.status()
    own.git("reset", "--quiet", "--hard", seen)
    lab.settle()
    assert lab.status()["exp/two"]["status"] == "completed"


def test_a_second_accept_takes_what_it_shows(own: Own) -> None:
    lab = own.lab
    own.commit("one")
    lab.settle()
    for name in ("two", "three"):
        own.git.write({"specs/a.yaml": own.team.spec("one", name)})
        own.git("commit", "--quiet", "--all", "--amend", "--message", name)
        assert lab.json("source", "--accept")["accepting"] == own.git("rev-parse", "HEAD")
    lab.settle()
    assert {key: job["status"] for key, job in lab.status().items()} == dict.fromkeys(
        ("exp/one", "exp/three"), "completed"
    )


def test_the_source_is_not_known_while_exq_yaml_has_mistakes(lab: Lab) -> None:
    settle(lab, "sorce: {}\n")
    shown = lab.exq("source", code=1).stdout
    assert "not known" in shown and "unknown key `sorce`" in shown
    refused = lab.exq("source", "--accept", code=1).stderr
    assert "is not known" in refused and "exq validate" in refused


def test_settings_tell_where_they_come_from(lab: Lab) -> None:
    settle(lab, "nvidia_smi: ./tools/smi\nhost_names: [box]\nscreen: screen-5\n")
    told = {row["name"]: row for row in lab.json("settings", code=None)["settings"]}
    assert told["nvidia_smi"] == {
        "name": "nvidia_smi",
        "value": lab.env["NVIDIA_SMI"],
        "origin": "NVIDIA_SMI",
        "problem": None,
    }
    assert told["screen"]["origin"] == f"{lab.specs}/exq.yaml:3"
    assert (told["host_names"]["value"], told["state"]["origin"]) == (["box"], "EXQ_STATE")
    assert told["source"] == {"name": "source", "value": {"kind": "folder"}, "origin": "default", "problem": None}
    flag = {
        row["name"]: row["origin"]
        for row in lab.json("--state", str(lab.root / "x"), "settings", code=None)["settings"]
    }
    assert flag["state"] == "--state"
    del lab.env["NVIDIA_SMI"]
    told = {row["name"]: row["value"] for row in lab.json("settings", code=None)["settings"]}
    assert told["nvidia_smi"] == f"{lab.specs}/tools/smi"
    settle(lab, "screen: [a]\n")
    done = lab.exq("settings", code=1)
    assert f"{lab.specs}/exq.yaml:1:9: `screen` must be text, not a list" in done.stderr
