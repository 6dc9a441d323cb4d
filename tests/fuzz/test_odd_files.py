"""Odd files of every kind in the specs folder, huge ones in the state folder: the command, with little memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMORY_MAX_BYTES = 768 << 20
PATIENCE_S = 100
COMMAND = f"""\
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_MAX_BYTES}, {MEMORY_MAX_BYTES}))
from reconciler.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
SOUND = "project: sound\ncwd: {cwd}\ngpus: none\nlauncher: process\njobs: [{{id: j, cmd: echo ran >> ran}}]\n"
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
HUGE_BYTES = 100 << 20


class Place:
    """Specs and state, and the command with bounded memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs = root / "specs"
        self.specs.mkdir()
        self.state = root / "state"
        (self.specs / "a-sound.yaml").write_text(SOUND.format(cwd=root))
        os.utime(self.specs / "a-sound.yaml", (1e9, 1e9))

    def exq(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "EXQ_STATE": str(self.state), "PYTHONPATH": str(ROOT),
            "EXQ_SPECS": str(self.specs), "NVIDIA_SMI": "/nonexistent/nvidia-smi", "LANG": "C.UTF-8",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *words], env=env, cwd=self.root, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False, errors="replace",
        )  # fmt: skip
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        assert "MemoryError" not in done.stderr
        return done

    def ran(self) -> list[str]:
        path = self.root / "ran"
        return path.read_text().split() if path.exists() else []

    def settle(self) -> None:
        """The sound file's job runs once, whatever lies beside its file."""
        for _ in range(100):
            self.exq("run", "--once")
            if "1/1" in self.exq("status").stdout:
                break
            time.sleep(0.1)
        assert self.ran() == ["ran"]


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="exq", dir="/tmp") as root:
        yield Place(Path(root))


def sparse(path: Path, start: bytes = b"") -> None:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(HUGE_BYTES)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def loop_of_links(path: Path) -> None:
    path.symlink_to(path.with_name("other.yaml"))
    path.with_name("other.yaml").symlink_to(path)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "100 MB of nothing": (sparse, "larger than 16 MiB"),
    "100 MB that begin well": (lambda path: sparse(path, b"jobs: []\n#"), "larger than 16 MiB"),
    "16 MB in one line": (text(b"x" * (16 << 20)), ""),
    "16 MB of brackets": (text(b"[" * (16 << 20)), "nested more than 40 levels deep"),
    "16 MB of quotes": (text(b'"' * ((16 << 20) - 1)), ""),
    "8 MB of small lists": (text("jobs:\n" + "- []\n" * 1_600_000), "more than 500,000 values"),
    "a billion laughs": (text(LAUGHS), "aliases of this file write out to more than 250,000 values"),
    "100,000 brackets": (text("a: " + "[" * 100_000), "nested more than 40 levels deep"),
    "100,000 braces, closed": (text("a: " + "{a: " * 100_000 + "}" * 100_000), "nested more than 40 levels deep"),
    "100,000 levels of indent": (text("".join(" " * n + "a:\n" for n in range(3000))), "nested more than 40"),
    "100,000 dashes": (text("- " * 100_000), "nested more than 40 levels deep"),
    "an anchor in itself": (text("a: &a [*a]"), "stands inside its own anchor"),
    "a merge of itself": (text("a: &a {<<: *a}"), "stands inside its own anchor"),
    "a grid of 10^12": (
        text(f"grid: {{{', '.join(f'a{n}: {list(range(10))}' for n in range(12))}}}\ntemplate: {{cmd: x}}\n"),
        "",
    ),
    "not UTF-8": (text(b"jobs: \xff\xfe\n"), "is not UTF-8 text"),
    "UTF-16": (text("jobs: []".encode("utf-16")), "is not UTF-8 text"),
    "NUL": (text("jobs: \0"), "U+0000 may not stand"),
    "a program": (lambda path: path.write_bytes(Path("/bin/true").read_bytes()), ""),
    "a pipe": (os.mkfifo, "a pipe, a socket or a device"),
    "a socket": (listening, "a pipe, a socket or a device"),
    "a folder": (Path.mkdir, "this is a folder"),
    "/dev/zero": (lambda path: path.symlink_to("/dev/zero"), "a pipe, a socket or a device"),
    "/dev/full": (lambda path: path.symlink_to("/dev/full"), "a pipe, a socket or a device"),
    "/dev/tty": (lambda path: path.symlink_to("/dev/tty"), ""),
    "/proc/self/mem": (lambda path: path.symlink_to("/proc/self/mem"), ""),
    "/proc/kmsg": (lambda path: path.symlink_to("/proc/kmsg"), ""),
    "links in a circle": (loop_of_links, "cannot be read"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "a link to nothing": (lambda path: path.symlink_to("/nonexistent"), "does not exist"),
    "a link to the folder": (lambda path: path.symlink_to("."), "this is a folder"),
    "python tags": (text('a: !!python/object/apply:os.system ["touch ran"]'), "is not known here"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_said_and_the_sound_one_runs(place: Place, name: str) -> None:
    make, said = ODD[name]
    make(place.specs / "odd.yaml")
    checked = place.exq("validate")
    assert checked.returncode == 1
    assert said in checked.stdout and "odd.yaml" in checked.stdout
    assert "a-sound.yaml: ok, 1 job" in checked.stdout
    assert place.exq("validate", str(place.specs / "odd.yaml")).returncode == 1
    assert place.exq("run", "--once").returncode == 1
    for _ in range(100):
        if place.ran():
            break
        time.sleep(0.05)
    assert place.ran() == ["ran"]


def test_a_name_that_is_no_text(place: Place) -> None:
    with open(bytes(place.specs) + b"/odd\xff\n\x1b[2J.yaml", "w") as file:
        file.write("jobs: [{id: j, cmd: 'true'}]\n")
    for words in (
        ["validate"],
        ["validate", "--json"],
        ["diff"],
        ["diff", "--json"],
        ["status", "--json"],
        ["run", "--once"],
    ):
        done = place.exq(*words)
        assert "\x1b" not in done.stdout + done.stderr


def test_a_thousand_broken_files(place: Place) -> None:
    for number in range(1000):
        (place.specs / f"b{number}.yaml").write_text("[" * 1000)
    assert place.exq("validate").stdout.count("nested more than") == 1000
    place.settle()


HUGE = ["started.json", "exit.json", "intent.json", "verdict.json", "claim", "setup_failed", "log"]


def test_huge_files_in_an_attempt_folder(place: Place) -> None:
    place.settle()
    folder = place.state / "attempts/sound/j/1"
    for name in HUGE:
        sparse(folder / name, (folder / name).read_bytes() if (folder / name).exists() else b"\x1b[2J\n")
    for words in (["status"], ["why", "j"], ["diff"], ["history"], ["run", "--once"], ["logs", "j", "-n", "1"]):
        assert place.exq(*words).returncode in (0, 1, 3)
    (place.state / "ledger.sqlite3").unlink()
    place.exq("run", "--once")
    assert place.ran() == ["ran"]


def test_huge_files_in_the_state_folder(place: Place) -> None:
    place.settle()
    sparse(place.state / "requests/20260101T000000.000000Z-00000000.json")
    for name in ("audit.jsonl", "ledger.sqlite3", "daemon.lock"):
        sparse(place.state / name, (place.state / name).read_bytes())
    for words in (["status"], ["history"], ["why", "j"], ["retry", "j"], ["run", "--once"], ["history", "-n", "0"]):
        place.exq(*words)
    assert place.ran() == ["ran"]
