"""docs/ci.md as it stands: every command in it, the hooks, and the workflow, in real git repositories."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.cli.box import ROOT, Box, Ended
from tests.unit.spec.gits import Git, git_init

CI = ROOT / "docs" / "ci.md"
EXAMPLES = ROOT / "examples" / "ci"
SPEC = "project: sweep\ngpus: none\nlauncher: process\nmax_parallel: 2\njobs:\n  - {id: s1, cmd: 'echo 1'}\n"
MORE = SPEC.replace("max_parallel: 2", "max_parallel: 4") + "  - {id: s2, cmd: 'echo 2'}\n"
BROKEN = "jobs:\n  - {id: a, cmd: 5}\n"

pytestmark = pytest.mark.needs("git")


def fenced(info: str) -> list[str]:
    return re.findall(rf"^```{info}\n(.*?)^```$", CI.read_text(), re.MULTILINE | re.DOTALL)


def shell_lines() -> list[str]:
    lines = [line.partition("   ")[0].rstrip() for block in fenced("sh") for line in block.splitlines()]
    assert len(lines) >= 8
    return lines


@pytest.fixture
def git(box: Box) -> Git:
    """A clone whose branch has left origin/main: with another setting and another job; origin is bare."""
    origin = git_init(box.folder / "origin.git", "--bare")
    git = git_init(box.folder)
    git.write({".gitignore": "state\nhome-state\norigin.git\nbin\nplan.json\nexperiment_queue\n"})
    git.commit({"specs/sweep.yaml": SPEC})
    git("remote", "add", "origin", str(origin.folder))
    git("push", "--quiet", "origin", "main")
    git("checkout", "--quiet", "-b", "topic")
    git.commit({"specs/sweep.yaml": MORE})
    git("fetch", "--quiet", "origin")
    return git


def shell(box: Box, line: str) -> Ended:
    """A line as a shell runs it where exq is on the PATH."""
    folder = box.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "exq").write_text(f'#!/bin/sh\nexec {shlex.join(box.command)} "$@"\n')
    (folder / "exq").chmod(0o755)
    env = box.environment()
    env["PATH"] = f"{folder}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", line], cwd=box.folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_every_command_of_the_page_does_what_it_says(box: Box, git: Git) -> None:
    for line in shell_lines():
        ended = shell(box, line)
        assert (ended.code, "Traceback" in ended.err) == (0, False), f"{line}: {ended.err}"
        if "--exit-code ||" in line:
            assert ended.out.splitlines()[-1] == "exit code 2", line


def test_what_a_branch_changes(box: Box, git: Git) -> None:
    ended = box.exq("diff", "--rev", "origin/main...HEAD")
    assert ended.code == 0, ended.err
    assert "  ~ settings  max_parallel: 2 -> 4\n  + s2        echo 2\n" in ended.out
    assert "Specs: 1 job added, 0 removed, 0 changed (0 in what they run); 1 setting changed." in ended.out
    assert box.exq("diff", "--rev", "origin/main...HEAD", "--exit-code").code == 2
    assert box.exq("diff", "--rev", "HEAD..HEAD", "--exit-code").code == 0
    assert not box.state.exists()


def test_three_dots_leave_out_what_main_did_meanwhile(box: Box, git: Git) -> None:
    git("checkout", "--quiet", "main")
    git.commit({"specs/other.yaml": SPEC.replace("sweep", "other")})
    git("checkout", "--quiet", "topic")
    assert "other" not in box.exq("diff", "--rev", "main...topic").out
    assert "other         removed: specs/other.yaml" in box.exq("diff", "--rev", "main..topic").out


def test_the_working_tree_against_a_commit(box: Box, git: Git) -> None:
    assert "The specs ask for the same." in box.exq("diff", "--rev", "HEAD").out
    git.write({"specs/sweep.yaml": MORE.replace("echo 2", "echo 22")})
    found = box.exq("diff", "--rev", "HEAD", "--json").json
    assert (found["schema"], found["new"]["commit"]) == ("exq.compare/v1", None)
    assert found["projects"][0]["jobs"] == [
        {
            "job": "sweep/s2",
            "phase": "main",
            "change": "changed",
            "new_generation": True,
            "fields": [{"field": "cmd", "old": "echo 2", "new": "echo 22"}],
        }
    ]


def test_a_bare_repository_without_a_specs_folder_in_sight(box: Box, git: Git) -> None:
    git("push", "--quiet", "origin", "topic")
    ended = box.exq("--specs", "origin.git/specs", "diff", "--rev", "main..topic")
    assert (ended.code, "  + s2" in ended.out) == (0, True), ended.err


def test_files_that_are_broken_at_a_revision(box: Box, git: Git) -> None:
    git.commit({"specs/new.yaml": BROKEN})
    there = box.exq("diff", "--rev", "origin/main...HEAD")
    assert there.code == 1
    assert "specs/new.yaml:2:18: `cmd` must be text" in there.out
    assert "  + s2" in there.out
    git.commit({"specs/new.yaml": SPEC.replace("sweep", "new")})
    back = box.exq("diff", "--rev", "HEAD~1..HEAD")
    assert (back.code, "broken in HEAD~1" in back.out) == (0, True)
    assert "specs/new.yaml does not load on one side: its jobs are not compared" in back.out
    assert box.exq("diff", "--rev", "HEAD~1..HEAD", "--json").json["not_compared"] == ["specs/new.yaml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rev", "nosuch..HEAD"], "there is no branch, tag or commit `nosuch`"),
        (["--rev=--upload-pack=x..HEAD"], "is not the name of a commit"),
        (["--rev", ".."], "names no revision"),
        (["--rev", "HEAD..HEAD", "sweep"], "leave sweep out"),
    ],
)
def test_revisions_that_are_none(words: list[str], message: str, box: Box, git: Git) -> None:
    ended = box.exq("diff", *words)
    assert ended.code in (1, 2)
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_where_there_is_no_repository_or_no_common_commit(box: Box, tmp_path: Path) -> None:
    box.spec(SPEC, "sweep.yaml")
    none = box.exq("diff", "--rev", "HEAD")
    assert (none.code, "there is no git repository" in none.err) == (1, True)
    git = git_init(box.folder)
    git.commit({"specs/sweep.yaml": SPEC})
    git("checkout", "--quiet", "--orphan", "other")
    git.commit({"specs/sweep.yaml": MORE})
    apart = box.exq("diff", "--rev", "main...other")
    assert apart.code == 1
    assert "have no commit in common here" in apart.err
    assert "git fetch --unshallow" in apart.err
    assert "  + s2" in box.exq("diff", "--rev", "main..other").out


def test_a_folder_that_no_revision_has(box: Box, git: Git) -> None:
    ended = box.exq("--specs", "elsewhere", "diff", "--rev", "main..topic")
    assert (ended.code, "there is no spec in the folder elsewhere" in ended.err) == (1, True)


def test_a_folder_that_came_later(box: Box, git: Git) -> None:
    git("mv", "specs", "more")
    git("commit", "--quiet", "--message", "moved")
    ended = box.exq("--specs", "more", "diff", "--rev", "main..HEAD")
    assert (ended.code, "sweep   new: more/sweep.yaml" in ended.out) == (0, True), ended.out


# --- the hooks


def hooks() -> dict[str, dict[str, Any]]:
    """The hook as the page has it for a repository that has exq, and as exq's own repository offers it."""
    (local,) = yaml.safe_load(fenced("yaml local-hook")[0])["repos"]
    (remote,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (named,) = yaml.safe_load(fenced("yaml remote-hook")[0])["repos"]
    assert [hook["id"] for hook in named["hooks"]] == [remote["id"]]
    return {"local": local["hooks"][0], "remote": remote}


def run_hook(box: Box, git: Git, hook: dict[str, Any]) -> Ended | None:
    """As pre-commit does: not at all where no staged file is meant; else the entry, its arguments, and the files."""
    staged = [name for name in git("diff", "--cached", "--name-only").splitlines() if re.search(hook["files"], name)]
    if not staged:
        return None
    files = staged if hook.get("pass_filenames", True) else []
    return shell(box, " ".join([hook["entry"], *map(shlex.quote, [*hook.get("args", []), *files])]))


@pytest.mark.parametrize("which", ["local", "remote"])
def test_a_hook_stops_a_broken_spec_and_no_other(which: str, box: Box, git: Git) -> None:
    hook = hooks()[which]
    assert {"id", "name", "entry", "language", "files"} <= set(hook)
    git.write({"specs/new.yaml": BROKEN})
    git("add", "specs")
    stopped = run_hook(box, git, hook)
    assert stopped is not None
    assert (stopped.code, "specs/new.yaml:2:18: `cmd` must be text" in stopped.out) == (1, True)
    git.write({"specs/new.yaml": SPEC})
    git("add", "specs")
    twice = run_hook(box, git, hook)
    assert twice is not None
    assert (twice.code, "the project `sweep` is in specs/new.yaml already" in twice.out) == (1, True)
    git.write({"specs/new.yaml": SPEC.replace("sweep", "new")})
    git("add", "specs")
    passed = run_hook(box, git, hook)
    assert passed is not None
    assert passed.code == 0


@pytest.mark.parametrize("which", ["local", "remote"])
def test_a_hook_is_for_specs_alone(which: str, box: Box, git: Git) -> None:
    git.write({"train.py": "", "configs/x.yaml": "", "specs/notes/x.yaml": "", "README.md": ""})
    git("add", "--all")
    assert run_hook(box, git, hooks()[which]) is None


COMMIT = "git -c user.name=a -c user.email=a@example.org commit -m x"


@pytest.fixture
def hooked(box: Box, git: Git) -> Git:
    """With the hook of the page."""
    hook = box.folder / ".git" / "hooks" / "pre-commit"
    hook.write_text(fenced("sh git-hook")[0])
    hook.chmod(0o755)
    return git


def test_git_s_own_hook_stops_a_broken_spec(box: Box, hooked: Git) -> None:
    hooked.write({"specs/new.yaml": BROKEN})
    hooked("add", "specs")
    stopped = shell(box, COMMIT)
    assert (stopped.code, "specs/new.yaml:2:18: `cmd` must be text" in stopped.out + stopped.err) == (1, True)
    hooked.write({"specs/new.yaml": SPEC.replace("sweep", "new")})
    hooked("add", "specs")
    assert shell(box, COMMIT).code == 0
    hooked("rm", "--quiet", "-r", "specs")
    assert shell(box, COMMIT).code == 0


def test_git_s_own_hook_checks_what_is_staged(box: Box, hooked: Git) -> None:
    good = SPEC.replace("sweep", "new")
    hooked.write({"specs/new.yaml": BROKEN})
    hooked("add", "specs")
    hooked.write({"specs/new.yaml": good})
    assert shell(box, COMMIT).code == 1
    assert shell(box, f"{COMMIT} --all").code == 0
    hooked.write({"specs/new.yaml": BROKEN, "train.py": ""})
    hooked("add", "train.py")
    assert shell(box, COMMIT).code == 0
    hooked.write({"specs/sweep.yaml": SPEC})
    hooked("add", "specs/sweep.yaml")
    assert shell(box, COMMIT).code == 0
    assert "new.yaml" in hooked("status", "--porcelain")


# --- the workflow


def test_the_files_in_examples_are_those_of_the_page() -> None:
    assert _without_comments(EXAMPLES / "github-workflow.yml") == fenced("yaml workflow")[0]
    assert _without_comments(EXAMPLES / "pre-commit-config.yaml") == fenced("yaml local-hook")[0]
    assert "#!/bin/sh\n" + _without_comments(EXAMPLES / "git-hook.sh") == fenced("sh git-hook")[0]


def _without_comments(path: Path) -> str:
    return "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))


def steps() -> list[str]:
    workflow = yaml.safe_load(fenced("yaml workflow")[0])
    found = [step["run"] for step in workflow["jobs"]["specs"]["steps"] if "run" in step]
    assert found[0].startswith("pip install")
    assert found[1:] == ["exq validate", "exq diff --rev origin/main...HEAD"]
    return found[1:]


def test_the_steps_of_the_workflow(box: Box, git: Git) -> None:
    """On a fresh clone of the branch, as a runner has it, without any host or state."""
    git("push", "--quiet", "origin", "topic")
    git("clone", "--quiet", "--branch", "topic", "origin.git", "runner")
    runner = Box(box.folder / "runner", box.command, box.env)
    validated, compared = (shell(runner, step) for step in steps())
    assert (validated.code, compared.code) == (0, 0)
    assert "  + s2" in compared.out
    git.commit({"specs/new.yaml": BROKEN})
    git("push", "--quiet", "origin", "topic")
    Git(runner.folder)("pull", "--quiet")
    assert [shell(runner, step).code for step in steps()] == [1, 1]
    assert not runner.state.exists()


def test_with_the_last_commit_alone_it_says_what_is_missing(box: Box, git: Git) -> None:
    """What `fetch-depth: 0` is for."""
    git("push", "--quiet", "origin", "topic")
    git("clone", "--quiet", "--depth", "1", "--no-single-branch", f"file://{box.folder}/origin.git", "shallow")
    Git(box.folder / "shallow")("checkout", "--quiet", "topic")
    shallow = Box(box.folder / "shallow", box.command, box.env)
    ended = shallow.exq("diff", "--rev", "origin/main...HEAD")
    assert (ended.code, "git fetch --unshallow" in ended.err) == (1, True), ended.err


def test_a_clone_of_one_branch_and_one_commit_says_how_to_get_the_rest(box: Box, git: Git) -> None:
    git("push", "--quiet", "origin", "topic")
    git("clone", "--quiet", "--depth", "1", "--branch", "topic", f"file://{box.folder}/origin.git", "one")
    one = Box(box.folder / "one", box.command, box.env)
    ended = one.exq("diff", "--rev", "origin/main...HEAD")
    assert (ended.code, "did you mean" in ended.err) == (1, False)
    assert "fetch-depth: 0" in ended.err
    (command,) = re.findall("git fetch [^;]*", ended.err)
    assert shell(one, command).code == 0
    assert "  + s2" in one.exq("diff", "--rev", "origin/main...HEAD").out
    other = git_init(box.folder / "two")
    other.commit({"specs/sweep.yaml": SPEC})
    other("branch", "topic")
    assert "did you mean `topic`?" in Box(other.folder, box.command, box.env).exq("diff", "--rev", "topik..HEAD").err


def test_the_page_shows_what_is_printed(box: Box) -> None:
    """The first example of the page, made for real."""
    git = git_init(box.folder)
    base = "project: sweep\nmax_parallel: %d\njobs:\n  - {id: s1, cmd: %s}\n  - {id: s2, cmd: %s}\n"
    train, amp = "'python train.py'", "'python train.py --amp'"
    git.commit({"specs/sweep.yaml": base % (2, train, train)})
    git("checkout", "--quiet", "-b", "topic")
    git.commit({"specs/sweep.yaml": base % (4, amp, amp) + "  - {id: s3, cmd: 'python train.py --amp'}\n"})
    shown = fenced("console")[0].partition("\n")[2].splitlines()[1:]
    assert box.exq("diff", "--rev", "main...HEAD").out.splitlines()[1:] == shown
    assert json.loads(box.exq("diff", "--rev", "main...HEAD", "--json").out)["summary"]["added"] == 1
