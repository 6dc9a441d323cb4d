"""`exq --host HOST VERB` over a real sshd: what is typed arrives as it was, and what comes back is the verb's own.

The exq there is a stand-in that tells what it was given: what real ones do is in test_push.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.cli.far_command import Arrival, Wanted, remote_command
from tests.integration.ssh.far import Far, Person, wait_for
from tests.unit.cli.test_far import HOSTILE

pytestmark = pytest.mark.needs("ssh", "ssh-keygen", "/usr/sbin/sshd")

TELLING = """\
import json, os, sys, time, signal
words = sys.argv[1:]
if words == ["--version"]:
    print("exq VERSION")
elif "logs" in words:
    print(os.getpid(), flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
elif "retry" in words:
    print("on a terminal" if all(os.isatty(fd) for fd in (0, 1, 2)) else "on none")
    print("said", input("sure? "))
else:
    environ = {"specs": os.environ.get("EXQ_SPECS"), "far": os.environ.get("EXQ_FAR")}
    print(json.dumps({"words": words, "cwd": os.getcwd(), **environ}), flush=True)
    print("a message", file=sys.stderr)
    sys.exit(int(words[-1]) if words[-1].isdigit() else 0)
"""


@pytest.fixture
def far(tmp_path: Path, exq_command: list[str]) -> Iterator[Far]:
    made = Far(tmp_path, exq_command, tmp_path)
    stand_in(made.home)
    yield made
    made.close()


@pytest.fixture
def ann(far: Far) -> Person:
    return far.person("ann")


def stand_in(home: Path, version: str = __version__) -> None:
    """Put it where a push puts exq."""
    place = home / ".local/share/exq" / f"{version}-0123456789ab" / "bin" / "exq"
    place.parent.mkdir(parents=True)
    place.write_text("#!/usr/bin/env python3\n" + TELLING.replace("VERSION", version))
    place.chmod(0o755)
    current = home / ".local/share/exq/current"
    current.unlink(missing_ok=True)
    current.symlink_to(place.parents[1].name)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "tcsh"])
def test_no_word_breaks_out_of_a_login_shell(tmp_path: Path, shell: str, require: Callable[[str], None]) -> None:
    require(shell)
    stand_in(tmp_path)
    specs = tmp_path / "it's $(touch pwned) !x \\ specs"
    words = ["status", *HOSTILE]
    life_line = os.pipe()
    for terminal in (False, True):
        arrival = Arrival()
        done = subprocess.run(
            [shell, "-c", remote_command(Wanted(words, str(specs), terminal), arrival.mark)],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            cwd=tmp_path,
            stdin=life_line[0],
            capture_output=True,
            check=True,
        )
        told = json.loads(arrival.feed(done.stdout))
        assert (told["words"], told["specs"]) == (words, str(specs))
    for end in life_line:
        os.close(end)
    assert not list(tmp_path.rglob("pwned"))


def test_over_ssh_the_same(far: Far, ann: Person) -> None:
    words = ["status", *[word for word in HOSTILE if "\udcff" not in word]]
    done = ann.exq("--host", "box", *words)
    assert json.loads(done.stdout)["words"] == words
    assert done.stderr == "a message\n"
    assert not list(far.folder.rglob("pwned"))


def test_the_ssh_config_of_exq_yaml_counts(ann: Person) -> None:
    (ann.specs / "exq.yaml").write_text(f"ssh_config: {ann.env['EXQ_SSH_CONFIG']}\n")
    ann.env["EXQ_SSH_CONFIG"] = "/dev/null"
    assert ann.exq("--host", "box", "status", code=None).returncode == 255, "the variable wins"
    del ann.env["EXQ_SSH_CONFIG"]
    assert json.loads(ann.exq("--host", "box", "status").stdout)["words"] == ["status"]


def test_it_is_told_what_the_machine_is_called_here(ann: Person) -> None:
    assert json.loads(ann.exq("--host", "box", "status").stdout)["far"] == "box"


def test_data_and_messages_into_one_pipe_stay_in_order(ann: Person) -> None:
    done = subprocess.run(
        [*ann.far.command, "--host", "box", "status"],
        env=ann.env,
        cwd=ann.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    data, message = done.stdout.splitlines()
    assert (json.loads(data)["words"], message) == (["status"], "a message")


@pytest.mark.parametrize("words", [["--host", "box", "why", "7"], ["why", "7", "--host=box"]])
def test_the_exit_code_comes_back(ann: Person, words: list[str]) -> None:
    ann.exq(*words, code=7 if words[-1] == "7" else None)
    assert json.loads(ann.exq(*words, code=None).stdout)["words"] == ["why", "7"]


def test_a_noisy_login_does_not_spoil_json(far: Far, ann: Person) -> None:
    far.server.bashrc("echo welcome; printf 'no line end'; echo to stderr >&2; sleep 0.2\n")
    done = ann.exq("--host", "box", "status", "--json")
    assert json.loads(done.stdout)["words"] == ["status", "--json"]


def test_nothing_is_installed(far: Far, ann: Person) -> None:
    (far.home / ".local/share/exq/current").unlink()
    done = ann.exq("--host", "box", "status", "--json", code=1)
    assert json.loads(done.stdout) == {
        "schema": "exq.error/v1",
        "error": "exq is not installed on box",
        "hint": "exq push box",
    }


@pytest.mark.parametrize(
    ("version", "words"), [("0.0.1", "exq push box upgrades it"), ("99.0", "this is the older"), (__version__, "")]
)
def test_another_version_is_told(far: Far, ann: Person, version: str, words: str) -> None:
    if version != __version__:
        stand_in(far.home, version)
    done = ann.exq("--host", "box", "status", "--json")
    assert json.loads(done.stdout)["words"] == ["status", "--json"]
    notes = [line for line in done.stderr.splitlines() if line != "a message"]
    assert [words in note for note in notes] == [True] * bool(words)


def test_an_exq_that_no_push_has_installed(far: Far, ann: Person) -> None:
    (far.home / ".local/share/exq/current").unlink()
    (far.home / ".local/bin").mkdir()
    (far.home / ".local/bin/exq").symlink_to(next((far.home / ".local/share/exq").glob("*/bin/exq")))
    assert json.loads(ann.exq("--host", "box", "status").stdout)["words"] == ["status"]


def test_the_specs_are_those_of_the_last_push(far: Far, ann: Person) -> None:
    assert json.loads(ann.exq("--host", "box", "status").stdout)["specs"] is None
    there = far.home / "it's here"
    there.mkdir()
    (far.home / ".local/share/exq/specs").symlink_to(there / "specs")
    told = json.loads(ann.exq("--host", "box", "status").stdout)
    assert (told["specs"], told["cwd"]) == (str(there / "specs"), str(there))
    told = json.loads(ann.exq("--host", "box", "--specs", "/x", "status").stdout)
    assert told["words"] == ["--specs", "/x", "status"]


def test_ssh_words_and_ours(far: Far, ann: Person) -> None:
    far.server.stop()
    refused = ann.exq("--host", "box", "status", code=255).stderr
    assert "refuses connections" in refused and "start it there" in refused


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_far_verb_ends_with_ours(ann: Person, number: signal.Signals) -> None:
    child = subprocess.Popen(
        [*ann.far.command, "--host", "box", "logs", "-f"],
        env=ann.env,
        cwd=ann.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    if number == signal.SIGINT:
        os.killpg(child.pid, number)  # as a terminal sends it: to all in the foreground
    else:
        os.kill(child.pid, number)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), lambda: "the far verb ends")
    assert child.wait(timeout=30) in (130, -number)
    child.stdout.close()


def test_a_reader_that_goes_away_ends_it(ann: Person) -> None:
    child = subprocess.Popen(
        [*ann.far.command, "--host", "box", "status"],
        env=ann.env,
        cwd=ann.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(timeout=30) == 141


def test_on_a_terminal_it_is_on_a_terminal(ann: Person) -> None:
    shown = ann.terminal("--host", "box", "retry", "x")
    shown.until("sure? ")
    shown.type("yes\r")
    shown.until("said yes")
    assert "on a terminal" in shown.shown
    assert shown.end() == 0


def test_ctrl_c_goes_there(ann: Person) -> None:
    shown = ann.terminal("--host", "box", "logs")
    wait_for(lambda: shown._more().strip().isdigit(), lambda: "it runs")
    pid = int(shown.shown)
    shown.type("\x03")
    shown.until("interrupted")
    assert shown.end() == 130
    assert not os.path.exists(f"/proc/{pid}")
