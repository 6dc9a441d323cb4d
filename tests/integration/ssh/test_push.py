"""`exq push` to a real sshd: a far home that is empty at first, and all that can go wrong on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.ssh.far import Far, Person, all_of, texts, wait_for

pytestmark = pytest.mark.needs("ssh", "ssh-keygen", "/usr/sbin/sshd")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, exq_command: list[str], wheels: Path) -> Iterator[Far]:
    """A machine that has this exq already. Tests push to folders of their own."""
    made = Far(tmp_path_factory.mktemp("far"), exq_command, wheels)
    person = made.person("first")
    person.write("a")
    person.push("first")
    yield made
    made.close()


@pytest.fixture
def ann(far: Far) -> Person:
    made = far.person("ann")
    made.write("a")
    return made


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A folder there for one test."""
    return str(tmp_path / "there")


# --- the usual way


@pytest.mark.timeout(300)
def test_an_empty_home_to_a_loop_that_works(bare: Far) -> None:
    ann = bare.person("ann")
    ann.write("one", command="pwd >where")
    assert "exq is not installed on box\n  exq push box" in ann.exq("--host", "box", "status", code=1).stderr

    dry = ann.json("push", "box", "--dry-run")
    assert (dry["added"], dry["exq"]["action"], dry["pushed"]) == (["exp.yaml"], "install", False)
    assert all_of(bare.home) == set()

    refused = ann.exq("push", "box", "--wheels", str(bare.wheels), code=1).stderr
    assert "has to be confirmed" in refused and "--yes" in refused
    assert all_of(bare.home) == set()

    told = ann.json("push", "box", "--yes", "--wheels", str(bare.wheels))
    assert (told["pushed"], told["loop"]["kind"]) == (True, "detached")
    assert [action["job"] for action in told["diff"]["actions"]] == ["abc/one"]
    there = bare.home / "exq" / "proj"
    assert told["specs"] == str(there / "specs")
    wait_for(lambda: ann.json("--host", "box", "status")["jobs"][0]["status"] == "completed", lambda: "the job runs")
    assert (there / "where").read_text() == f"{there}\n", "relative paths begin in the folder that holds the specs"
    assert ann.json("--host", "box", "status")["specs_rev"] == told["revision"]

    again = ann.json("push", "box")
    assert (again["pushed"], again["exq"]["action"], again["added"], again["changed"]) == (False, "keep", [], [])

    ann.write("one", "two", command="pwd >where")
    loops = bare.loops()
    told = ann.json("push", "box", "--yes")
    assert (told["changed"], told["loop"]["kind"]) == (["exp.yaml"], "other")
    assert told["loop"]["message"] == f"the loop there (pid {loops[0]}) takes them up"
    wait_for(
        lambda: {job["status"] for job in ann.json("--host", "box", "status")["jobs"]} == {"completed"},
        lambda: "the running loop takes the new set up",
    )
    assert len(ann.json("--host", "box", "status")["jobs"]) == 2
    assert bare.loops() == loops

    ann.write("three")
    for _ in range(2):
        told = ann.json("push", "box:other", "--yes", code=1)
        assert (told["loop"]["kind"], bare.loops()) == ("elsewhere", loops)
        assert f"exq push box:{there}" in told["loop"]["hint"]
    assert bare.loops() == loops


def test_the_same_place_below_the_home_folder_is_taken(far: Far, ann: Person) -> None:
    (far.home / "proj").mkdir()
    assert ann.json("push", "box", "--dry-run")["specs"] == str(far.home / "proj" / "specs")
    ann.push("elsewhere")
    assert ann.json("push", "box", "--dry-run")["specs"] == str(far.home / "elsewhere" / "specs"), "it is remembered"
    assert ann.json("--host", "box", "status")["jobs"][0]["key"] == "abc/a"


def test_no_leaves_all_as_it_was(far: Far, ann: Person, place: str) -> None:
    ann.push(place)
    before = all_of(far.home), all_of(Path(place)), texts(Path(place) / "specs")
    ann.write("a", "b")
    asked = ann.terminal("push", f"box:{place}", "--no-service")
    shown = asked.until("[y/N]")
    assert "+ b" in shown and "launch" in shown, "the diff there is shown first"
    assert texts(Path(place) / "specs") == before[2], "and what it shows does not count yet"
    asked.type("n\n")
    assert asked.end() == 1
    wait_for(lambda: (all_of(far.home), all_of(Path(place))) == before[:2], lambda: "nothing is left there")
    assert texts(Path(place) / "specs") == before[2]


def test_yes_on_a_terminal(ann: Person, place: str) -> None:
    asked = ann.terminal("push", f"box:{place}", "--no-service")
    asked.until("[y/N]")
    asked.type("y\n")
    asked.until("specs on box is at")
    assert asked.end() == 0
    assert texts(Path(place) / "specs") == texts(ann.specs)


def test_ctrl_c_at_the_question(ann: Person, place: str) -> None:
    asked = ann.terminal("push", f"box:{place}", "--no-service")
    asked.until("[y/N]")
    asked.type("\x03")
    assert asked.end() == 130
    wait_for(lambda: not Path(place).exists(), lambda: "nothing is left there")


def test_broken_specs_are_not_pushed(ann: Person, place: str) -> None:
    (ann.specs / "bad.yaml").write_text("project: [")
    assert "specs with mistakes are not pushed" in ann.push(place, code=1).stderr
    assert not Path(place).exists()


@pytest.mark.needs("git")
def test_the_revision_goes_along(ann: Person, place: str) -> None:
    ann.git("init")
    ann.git("add", ".")
    ann.git("commit", "-m", "one")
    ann.push(place)
    assert (Path(place) / "specs" / ".exq-revision").read_text().strip() == ann.git("describe", "--always", "--dirty")
    assert ann.json("--host", "box", "diff")["specs_rev"] == ann.git("describe", "--always", "--dirty")


def test_the_ssh_config_of_exq_yaml_counts(ann: Person, place: str) -> None:
    (ann.specs / "exq.yaml").write_text(f"ssh_config: {ann.env.pop('EXQ_SSH_CONFIG')}\n")
    ann.push(place)
    assert texts(Path(place) / "specs") == texts(ann.specs)
    assert ann.json("--host", "box", "status")["jobs"][0]["key"] == "abc/a"


def test_what_was_written_there_stays_and_is_told(ann: Person, place: str) -> None:
    ann.push(place)
    first = (Path(place) / "specs").resolve()
    for name in (".hydra/result", "__pycache__/a.pyc", "exp.yaml~", "collected/abc/log"):
        (first / name).parent.mkdir(exist_ok=True, parents=True)
        (first / name).write_text("mine")
    ann.write("a", "b")
    told = ann.push(place).stdout
    assert f"stay in {first} (" in told and ".hydra/result" in told
    for number in range(6):
        ann.write(f"job{number}")
        told = ann.push(place).stdout
    assert str(first) in told
    assert (first / ".hydra" / "result").read_text() == "mine"
    assert len(list(first.parent.glob("2*"))) == 6


def test_a_place_that_takes_no_files(ann: Person, tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    for place in ("/proc/nope", str(tmp_path / "afile"), str(tmp_path / "afile/x")):
        refused = ann.exq("push", f"box:{place}", "--dry-run", code=1).stderr
        assert "the specs cannot go to" in refused and "exq push box:DIR" in refused


def test_how_to_start_a_loop_is_told(ann: Person, place: str) -> None:
    told = ann.push(place).stdout
    assert "no loop runs there; to start one: exq --host box service install" in told


# --- other people


def test_what_somebody_else_has_pushed_is_not_overwritten(far: Far, ann: Person, place: str) -> None:
    bob = far.person("bob")
    bob.write("b")
    ann.push(place)
    refused = bob.push(place, code=1).stderr
    assert "was pushed by ann@" in refused and "--force" in refused
    assert texts(Path(place) / "specs") == texts(ann.specs)
    bob.push(place, "--force")
    assert texts(Path(place) / "specs") == texts(bob.specs)
    assert "was pushed by bob@" in ann.push(place, code=1).stderr


@pytest.mark.needs("git")
def test_what_ours_is_built_on_may_be_overwritten(far: Far, ann: Person, place: str) -> None:
    ann.git("init")
    ann.git("add", ".")
    ann.git("commit", "-m", "one")
    bob = far.person("bob")
    shutil.rmtree(bob.project)
    subprocess.run(["git", "clone", "-q", str(ann.project), str(bob.project)], check=True, capture_output=True)
    ann.push(place)
    bob.write("b")
    bob.git("commit", "-am", "two")
    bob.push(place)
    ann.write("c")
    ann.git("commit", "-am", "another two")
    assert "was pushed by bob@" in ann.push(place, code=1).stderr


def test_what_was_changed_there_is_not_overwritten(ann: Person, place: str) -> None:
    ann.push(place)
    with (Path(place) / "specs" / "exp.yaml").open("a") as file:
        file.write("# by hand\n")
    ann.write("a", "b")
    refused = ann.push(place, code=1).stderr
    assert "was changed there after the push: exp.yaml" in refused
    compare = refused.partition("compare it with yours: ")[2].partition("; exq push")[0]
    done = subprocess.run(["sh", "-c", compare], env=ann.env, capture_output=True, text=True, check=False)
    assert (done.returncode, "# by hand" in done.stdout) == (1, True)


def test_a_folder_that_no_push_has_made_is_kept(ann: Person, place: str) -> None:
    mine = Path(place) / "specs"
    mine.mkdir(parents=True)
    (mine / "mine.yaml").write_text("project: mine\n")
    assert "is a folder that no push has made" in ann.push(place, code=1).stderr
    assert texts(mine) == {"mine.yaml": "project: mine\n"}
    ann.push(place, "--force")
    assert texts(mine) == texts(ann.specs)
    (kept,) = Path(place).glob("specs.before-push-*")
    assert texts(kept) == {"mine.yaml": "project: mine\n"}


def test_of_two_at_once_one_wins_whole_and_the_other_is_told(far: Far, ann: Person, place: str) -> None:
    bob = far.person("bob")
    bob.write("b", "c")
    asked = ann.terminal("push", f"box:{place}", "--no-service")
    asked.until("[y/N]")
    bob.push(place)
    asked.type("y\n")
    asked.until("somebody pushed meanwhile: bob@")
    assert asked.end() == 1
    assert texts(Path(place) / "specs") == texts(bob.specs)


# --- cuts


def big(person: Person, files: int = 500, size: int = 8000) -> None:
    (person.specs / "more").mkdir()
    for number in range(files):
        (person.specs / "more" / f"{number}.txt").write_text("x" * size)


def landings(far: Far) -> list[int]:
    """The programs there that carry a push out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                environ = (entry / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if b"exq_agent" in words and f"HOME={far.home}\0".encode() in environ and b"\0-I\0" in words:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("when", ["unpacking", "asking"])
def test_killed_there_the_old_set_stays(far: Far, ann: Person, place: str, when: str) -> None:
    ann.push(place)
    old = texts(Path(place) / "specs")
    big(ann)
    asked = ann.terminal("push", f"box:{place}", "--no-service")
    if when == "asking":
        asked.until("[y/N]")
    else:
        wait_for(lambda: list(Path(place).glob(".specs.pushed/.fresh-*/more/*")), lambda: "it unpacks")
    for pid in landings(far):
        os.kill(pid, signal.SIGKILL)
    if when == "asking":
        asked.type("y\n")
    asked.until("box")
    assert asked.end() == 1
    assert texts(Path(place) / "specs") == old
    ann.push(place)
    assert texts(Path(place) / "specs") == texts(ann.specs)
    assert not list(Path(place).glob(".specs.pushed/.fresh-*"))


def test_a_cut_connection_leaves_the_old_set(far: Far, ann: Person, place: str) -> None:
    ann.push(place)
    old, left = texts(Path(place) / "specs"), all_of(Path(place))
    big(ann)
    asked = ann.terminal("push", f"box:{place}", "--no-service")
    wait_for(lambda: list(Path(place).glob(".specs.pushed/.fresh-*/more/*")), lambda: "it unpacks")
    for pid in far.server.sessions():
        os.kill(pid, signal.SIGKILL)
    asked.until("exq: ")
    assert asked.end() == 1
    wait_for(lambda: not landings(far), lambda: "the far side ends")
    assert (texts(Path(place) / "specs"), all_of(Path(place))) == (old, left)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Puts a disk of 2 MiB at a place."""
    mounted: list[Path] = []

    def mount(at: Path) -> Path:
        at.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", str(at)], check=True)
        mounted.append(at)
        return at

    yield mount
    for at in mounted:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.mark.root
@pytest.mark.needs("mount", "umount")
def test_a_full_disk_leaves_the_old_set(ann: Person, place: str, small_disk: Callable[[Path], Path]) -> None:
    small_disk(Path(place))
    ann.push(place)
    old, left = texts(Path(place) / "specs"), all_of(Path(place))
    big(ann, files=40, size=100_000)
    refused = ann.push(place, code=1).stderr
    assert "the disk of box is full" in refused and "nothing has changed there" in refused
    assert (texts(Path(place) / "specs"), all_of(Path(place))) == (old, left)


@pytest.mark.root
@pytest.mark.needs("mount", "umount")
def test_no_room_for_exq_leaves_nothing_of_it(bare: Far, small_disk: Callable[[Path], Path]) -> None:
    ann = bare.person("ann")
    ann.write("a")
    small_disk(bare.data)
    assert "box" in ann.push("", code=1).stderr
    assert all_of(bare.data) == set()
    assert not (bare.home / "exq").exists()


def test_a_host_key_that_is_not_known(far: Far, ann: Person, place: str) -> None:
    far.user.entry(far.server, "UserKnownHostsFile none", "HostKeyAlias stranger", name="stranger")
    refused = ann.exq("push", f"stranger:{place}", "--yes", code=1).stderr
    assert "the key of stranger" in refused and "is not known" in refused
