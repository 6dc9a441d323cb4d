"""Files are brought from host to host: whole or not at all, and again where something went wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.host import agent as agent_module
from reconciler.host import bring as bring_module
from reconciler.host.agent import part_of
from reconciler.host.bring import Brought, NotBrought, bring
from reconciler.host.ssh.link import SshHost
from tests.unit.host.ssh.pipes import Pipes
from tests.unit.host.two_homes import Host, collected, pushed

PIECE = 1000
BIG = bytes(range(256)) * 20  # 5120 bytes: six pieces


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring_module, "PIECE_BYTES", PIECE)


@pytest.fixture
def source(tmp_path: Path) -> Host:
    return Host(tmp_path / "a" / "home")


@pytest.fixture
def target(tmp_path: Path) -> Host:
    return Host(tmp_path / "b" / "elsewhere")


def test_from_home_to_home(source: Host, target: Host) -> None:
    source.file("exp/out/big.bin", BIG)
    source.file("exp/out/small.bin", b"s")
    source.file("exp/out/other.txt")
    assert bring(source, target, pushed()) == Brought(2, len(BIG) + 1)
    assert target.tree() == {"exp/out/big.bin": BIG, "exp/out/small.bin": b"s"}


def test_an_absolute_path_stays_the_same(source: Host, target: Host, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.bin").write_bytes(BIG)
    brought = bring(source, target, pushed(f"{tmp_path}/data/*.bin"))
    assert brought == Brought(1, len(BIG))
    assert target.tree() == {}
    assert target.count("write_pieces") == 0  # one machine in this test: the file is there already


def test_time_and_permissions_come_along(source: Host, target: Host) -> None:
    for name, mode in [("run.bin", 0o4775), ("private.bin", 0o600), ("open.bin", 0o666)]:
        os.utime(source.file(f"exp/out/{name}", b"x", mode), ns=(1, 1_700_000_000_123_456_789))
    bring(source, target, pushed())
    there = {path.name: path.stat() for path in (target.home / "exp/out").iterdir()}
    assert {name: oct(stat.st_mode & 0o7777) for name, stat in there.items()} == {
        "run.bin": "0o755",
        "private.bin": "0o600",
        "open.bin": "0o644",
    }
    assert {stat.st_mtime_ns for stat in there.values()} == {1_700_000_000_123_456_789}


def test_a_folder_with_everything_in_it(source: Host, target: Host) -> None:
    source.file("exp/out/a/.hidden", b"h")
    source.file("exp/out/a/deep/er/x", BIG)
    source.file("exp/out/empty.txt", b"")
    (source.home / "exp/out/nothing").mkdir()
    (source.home / "exp/out/again").symlink_to("a")
    (source.home / "exp/out/broken").symlink_to("nowhere")
    (source.home / "exp/out/linked").symlink_to("a/deep/er/x")
    os.mkfifo(source.home / "exp/out/pipe")
    assert bring(source, target, pushed("out")) == Brought(4, 1 + 2 * len(BIG))
    assert target.tree("exp/out") == {"a/.hidden": b"h", "a/deep/er/x": BIG, "empty.txt": b"", "linked": BIG}
    assert (target.home / "exp/out/nothing").is_dir()
    assert bring(target, source, pushed("out/a/*")) == Brought(1, len(BIG))


def test_parts_are_not_brought_on(source: Host, target: Host) -> None:
    left = part_of(str(source.home / "exp/out/y.bin"))
    source.file(os.path.relpath(left, source.home), BIG)
    source.file("exp/out/x.bin", BIG)
    assert bring(source, target, pushed("out")) == Brought(1, len(BIG))


def test_what_is_there_is_not_sent_again(source: Host, target: Host) -> None:
    source.file("exp/out/same.bin", BIG)
    source.file("exp/out/other.bin", BIG)
    target.file("exp/out/same.bin", BIG)
    target.file("exp/out/other.bin", b"?" * len(BIG))
    bring(source, target, pushed())
    assert target.tree("exp/out") == {"same.bin": BIG, "other.bin": BIG}
    sent = {row[0] for request in target.asked if request["op"] == "write_pieces" for row in request["pieces"]}
    assert sent == {"~/exp/out/other.bin"}
    assert bring(source, target, pushed()) == Brought(2, 2 * len(BIG))


class Cut(Exception):
    """The connection is gone."""


def cut_after(host: Host, op: str, number: int) -> None:
    """Let so many requests of an operation through, and no more."""

    def before(request: dict[str, Any]) -> None:
        if request["op"] == op and host.count(op) > number:
            raise Cut

    host.asked.clear()
    host.before = before


def written(host: Host) -> int:
    return sum(row[2] for request in host.asked if request["op"] == "write_pieces" for row in request["pieces"])


@pytest.mark.parametrize("pieces", range(6))
@pytest.mark.parametrize("old", [b"", b"?" * len(BIG)])
def test_a_cut_at_every_piece_is_continued(source: Host, target: Host, pieces: int, old: bytes) -> None:
    source.file("exp/out/big.bin", BIG)
    if old:
        target.file("exp/out/big.bin", old)
    cut_after(target, "write_pieces", pieces)
    with pytest.raises(Cut):
        bring(source, target, pushed())
    seen = target.home / "exp/out/big.bin"
    assert (seen.read_bytes() if seen.exists() else b"") == old
    cut_after(target, "write_pieces", 99)
    assert bring(source, target, pushed()) == Brought(1, len(BIG))
    assert target.tree("exp/out") == {"big.bin": BIG}
    assert written(target) == len(BIG) - PIECE * pieces


@pytest.mark.parametrize("reads", range(6))
def test_a_cut_of_the_source_is_continued(source: Host, target: Host, reads: int) -> None:
    source.file("exp/out/big.bin", BIG)
    cut_after(source, "read_pieces", reads)
    with pytest.raises(Cut):
        bring(source, target, pushed())
    source.before = lambda request: None
    bring(source, target, pushed())
    assert target.tree("exp/out") == {"big.bin": BIG}


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (b"?", 5120), (b"?" * 2000, 5120), (BIG[:1500] + b"?", 5120), (BIG[:-1] + b"?", 5120), (BIG + b"?", 5120),
        (BIG, 0), (BIG[:1500], 3620), (b"", 5120),
    ],
    ids=["wrong", "wrong and long", "wrong at its end", "wrong last byte", "too long", "whole", "odd", "empty"],
)  # fmt: skip
def test_a_part_that_an_earlier_try_left(source: Host, target: Host, part: bytes, sent: int) -> None:
    source.file("exp/out/big.bin", BIG)
    left = Path(part_of(str(target.home / "exp/out/big.bin")))
    target.file(str(left.relative_to(target.home)), part)
    bring(source, target, pushed())
    assert target.tree("exp/out") == {"big.bin": BIG}
    assert written(target) == sent


def test_a_part_that_is_damaged_meanwhile(source: Host, target: Host) -> None:
    source.file("exp/out/big.bin", BIG)
    left = Path(part_of(str(target.home / "exp/out/big.bin")))

    def damage(request: dict[str, Any]) -> None:
        if request["op"] == "write_pieces" and target.count("write_pieces") == 4:
            left.write_bytes(b"?" * left.stat().st_size)

    target.before = damage
    assert bring(source, target, pushed()) == Brought(1, len(BIG))
    assert target.tree("exp/out") == {"big.bin": BIG}
    assert target.count("write_pieces") == 12


@pytest.mark.parametrize("at", range(1, 7))
def test_a_source_that_changes_while_it_is_read(source: Host, target: Host, at: int) -> None:
    path = source.file("exp/out/big.bin", BIG)
    source.file("exp/out/still.bin", BIG)
    new = BIG[::-1] + b"more"

    def change(request: dict[str, Any]) -> None:
        if request["op"] == "read_pieces" and source.count("read_pieces") == at:
            path.write_bytes(new)

    source.before = change
    assert bring(source, target, pushed()) == Brought(2, len(BIG) + len(new))
    assert target.tree("exp/out") == {"big.bin": new, "still.bin": BIG}
    # the other one was not touched twice
    sent = [row for request in target.asked if request["op"] == "write_pieces" for row in request["pieces"]]
    assert sum(row[0].endswith("still.bin") for row in sent) == 6
    begun = [row[0] for request in target.asked if request["op"] == "begin_files" for row in request["files"]]
    assert begun.count("~/exp/out/still.bin") == 1


def test_a_source_that_goes_away_while_it_is_read(source: Host, target: Host) -> None:
    path = source.file("exp/out/big.bin", BIG)
    source.file("exp/out/still.bin", BIG)

    def remove(request: dict[str, Any]) -> None:
        if request["op"] == "read_pieces" and source.count("read_pieces") == 2:
            path.unlink()

    source.before = remove
    assert bring(source, target, pushed()) == Brought(1, len(BIG))
    assert "still.bin" in target.tree("exp/out")
    assert "big.bin" not in target.tree("exp/out")


def test_a_source_that_becomes_a_pipe(source: Host, target: Host) -> None:
    path = source.file("exp/out/big.bin", BIG)

    def replace(request: dict[str, Any]) -> None:
        if request["op"] == "read_pieces" and source.count("read_pieces") == 2:
            path.unlink()
            os.mkfifo(path)

    source.before = replace
    with pytest.raises(NotBrought, match=r"big\.bin is not a file any more"):  # and nobody waits for a writer
        bring(source, target, pushed())


def test_a_source_that_never_stays_the_same(source: Host, target: Host) -> None:
    path = source.file("exp/out/big.bin", BIG)

    def change(request: dict[str, Any]) -> None:
        if request["op"] == "read_pieces":
            path.write_bytes(BIG + bytes(len(source.asked)))

    source.before = change
    with pytest.raises(NotBrought, match=r"big\.bin changes while it is being read") as caught:
        bring(source, target, pushed())
    assert (caught.value.kind, caught.value.place) == ("changed", "gpu-a")


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "rename", "mkdir"])
def test_a_full_disk(source: Host, target: Host, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    source.file("exp/out/big.bin", BIG)
    monkeypatch.setattr(agent_module.os, where, no_space)
    with pytest.raises(NotBrought, match=r"the disk of gpu-b is full: .*No space left") as caught:
        bring(source, target, pushed())
    monkeypatch.undo()
    assert (caught.value.kind, caught.value.place) == ("disk_full", "gpu-b")
    assert target.tree() == {}  # and the room is given back, since jobs may need it
    monkeypatch.setattr(bring_module, "PIECE_BYTES", PIECE)
    bring(source, target, pushed())
    assert target.tree("exp/out") == {"big.bin": BIG}


@pytest.mark.root
@pytest.mark.needs("mount")
def test_a_really_full_disk(source: Host, target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        source.file(f"exp/out/{number:02}.bin", BIG)
    folder = target.home / "exp/out"
    folder.mkdir(parents=True)
    monkeypatch.setattr(agent_module, "free_bytes", lambda folder: None)  # as a quota is not seen before either
    with ExitStack() as mounts:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "exq-test", str(folder)], check=True)
        mounts.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        with pytest.raises(NotBrought, match="the disk of gpu-b is full") as caught:
            bring(source, target, pushed())
        assert caught.value.kind == "disk_full"
        there = target.tree("exp/out")
        assert 0 < len(there) < 20
        assert set(there.values()) == {BIG}  # nothing half, not even a part
        subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
        assert bring(source, target, pushed()) == Brought(20, 20 * len(BIG))


def test_too_little_room_is_seen_before_the_disk_is_filled(
    source: Host, target: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.file("exp/out/big.bin", BIG)
    monkeypatch.setattr(agent_module, "free_bytes", lambda folder: len(BIG) - 1)
    with pytest.raises(NotBrought, match="MiB are needed on gpu-b") as caught:
        bring(source, target, pushed())
    assert caught.value.kind == "disk_full"
    assert target.count("write_pieces") == 0
    monkeypatch.setattr(agent_module, "free_bytes", lambda folder: None)  # it does not say
    bring(source, target, pushed())


def test_what_is_missing_is_not_called_brought(source: Host, target: Host) -> None:
    source.file("exp/out/x.bin")
    with pytest.raises(NotBrought, match=r"gpu-a has nothing at gone/\*") as caught:
        bring(source, target, pushed("out/*.bin", "gone/*"))
    assert caught.value.kind == "missing"


@pytest.mark.parametrize("op", ["list_files", "read_pieces", "begin_files", "write_pieces"])
@pytest.mark.parametrize("kind", ["unreachable", "lost", "refused", "failed"])
def test_what_a_host_says_is_passed_on(source: Host, target: Host, op: str, kind: str) -> None:
    source.file("exp/out/big.bin", BIG)
    side, place = (source, "gpu-a") if op in ("list_files", "read_pieces") else (target, "gpu-b")
    answer = side.agent.handle

    class Broken:
        def handle(self, request: dict[str, Any]) -> dict[str, Any]:
            return {"error": "no\nluck \udcff", "kind": kind} if request["op"] == op else answer(request)

    side.agent = Broken()  # type: ignore[assignment]
    with pytest.raises(NotBrought, match=r"no luck \\udcff") as caught:
        bring(source, target, pushed())
    assert (caught.value.kind, caught.value.place) == (kind, place)


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        ("list_files", "files", None), ("list_files", "files", [[0, "../x", 1, 1, 1, 1]]),
        ("list_files", "files", [[7, "x", 1, 1, 1, 1]]), ("list_files", "files", [["0", "x", 1, 1, 1, 1]]),
        ("list_files", "matched", []), ("list_files", "bases", []), ("list_files", "cwd", None),
        ("read_pieces", "read", []), ("read_pieces", "read", [[1]]), ("read_pieces", "blob", b"too much" * 999),
        ("begin_files", "files", [[]]), ("begin_files", "free", None), ("begin_files", "free", {}),
    ],
)  # fmt: skip
def test_nonsense_of_a_host_is_no_crash(source: Host, target: Host, op: str, field: str, value: Any) -> None:
    source.file("exp/out/big.bin", BIG)
    for side in (source, target):
        answer = side.agent.handle

        class Odd:
            def handle(self, request: dict[str, Any], answer: Any = answer) -> dict[str, Any]:
                return {**answer(request), **({field: value} if request["op"] == op else {})}

        side.agent = Odd()  # type: ignore[assignment]
    with pytest.raises(NotBrought, match="cannot be right"):
        bring(source, target, pushed())
    assert "exp/out/big.bin" not in target.tree()


NAMES = [
    "a b",
    "new\nline",
    "ümläut",
    "-rf",
    "~",
    "$(id)",
    "x" * 255,
    "ü" * 127,
    "'\"",
    "\\..",
    "...",
    "日本",
    "*",
    "[x]",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_odd_names(source: Host, target: Host, name: str) -> None:
    source.file(f"exp/out/{name}", BIG)
    bring(source, target, pushed("out"))
    assert target.tree("exp/out") == {name: BIG}


def test_names_that_are_no_text(source: Host, target: Host) -> None:
    name = os.fsdecode(b"\xff\xfe \xe4")
    source.file(f"exp/out/{name}", BIG)
    bring(source, target, pushed("out/*"))
    assert target.tree("exp/out") == {name: BIG}


@pytest.mark.parametrize(
    "names",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "a//b",
        ".",
        "",
        "a/./b",
        "a\0b",
        "evil",
        "evil.bin/../x.bin",
        ".ssh/x.bin",
    ],
)
def test_a_hostile_source_gets_nothing_written(source: Host, target: Host, names: str, tmp_path: Path) -> None:
    source.file("exp/out/x.bin", BIG)
    answer = source.agent.handle

    class Hostile:
        def handle(self, request: dict[str, Any]) -> dict[str, Any]:
            said = answer(request)
            if request["op"] == "list_files":
                said["files"] = [[0, names, *said["files"][0][2:]]]
            return said

    source.agent = Hostile()  # type: ignore[assignment]
    for transfer in (pushed(), collected(str(tmp_path / "kept"))):
        with pytest.raises(NotBrought, match="no pattern asks for"):
            bring(source, target, transfer)
    assert target.tree() == {}
    assert not (tmp_path / "kept").exists()


# --- collected


@pytest.fixture
def ran(source: Host) -> Host:
    """A host with the outputs and the log of an attempt."""
    source.file("exp/out/x.bin", BIG)
    source.file("state/attempts/demo/job/1/log", b"it ran\n", 0o600)
    return source


def test_outputs_and_log_are_collected(ran: Host, target: Host) -> None:
    outside = ran.file("data/y.bin", b"y")
    transfer = collected("~/kept", "out/*.bin", "~/exp/out/x.bin", str(outside), "gone/*")
    assert bring(ran, target, transfer) == Brought(3, len(BIG) + 1 + 7)
    assert target.tree("kept/demo/job") == {
        "out/x.bin": BIG,
        "log": b"it ran\n",
        f"{str(outside).lstrip('/')}": b"y",
    }


@pytest.mark.parametrize(
    ("folder", "below"), [("~/kept", "kept/demo/job"), ("~/kept/demo", "kept/demo/job"), ("~/demo/", "demo/job")]
)
def test_projects_may_share_a_folder(ran: Host, target: Host, folder: str, below: str) -> None:
    bring(ran, target, collected(folder))
    assert target.tree(below) == {"out/x.bin": BIG, "log": b"it ran\n"}


def test_an_output_called_log_keeps_its_name(ran: Host, target: Host) -> None:
    ran.file("exp/log", b"mine")
    bring(ran, target, collected("~/demo", "log"))
    assert target.tree("demo/job") == {"log": b"mine", "attempt-log": b"it ran\n"}


def test_a_job_without_an_attempt_has_no_log(ran: Host, target: Host) -> None:
    assert bring(ran, target, collected("~/demo", attempt=0)) == Brought(1, len(BIG))


def test_a_link_does_not_lead_out_of_the_folder(ran: Host, target: Host) -> None:
    (target.home / "secret").mkdir()
    (target.home / "demo/job").mkdir(parents=True)
    (target.home / "demo/job/out").symlink_to(target.home / "secret")
    with pytest.raises(NotBrought, match="would be written outside") as caught:
        bring(ran, target, collected("~/demo"))
    assert caught.value.kind == "refused"
    assert target.tree("secret") == {}


def test_the_folder_itself_may_be_a_link(ran: Host, target: Host) -> None:
    (target.home / "big").mkdir()
    (target.home / "demo").symlink_to(target.home / "big")
    bring(ran, target, collected("~/demo"))
    assert target.tree("big/job") == {"out/x.bin": BIG, "log": b"it ran\n"}


def test_two_outputs_for_one_place(ran: Host, target: Host) -> None:
    outside = ran.file("data/y.bin", b"y")
    ran.file(f"exp/{str(outside).lstrip('/')}", b"z")
    with pytest.raises(NotBrought, match=r"both .* belong at"):
        bring(ran, target, collected("~/demo", str(outside), str(outside).lstrip("/")))


# --- behind connections


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[SshHost, SshHost]]:
    with ExitStack() as opened:
        hosts = []
        for name in "ab":
            home = tmp_path / name
            home.mkdir()
            pipes = opened.enter_context(closing(Pipes()))
            pipes.wrap = partial(_at_home, home, pipes.wrap)
            hosts.append(opened.enter_context(closing(SshHost(name, {}, connect=pipes))))
        yield hosts[0], hosts[1]


def _at_home(home: Path, wrap: Callable[[str], str], command: str) -> str:
    return f"export HOME={home}; {wrap(command)}"


def test_from_one_streamed_agent_to_another(far: tuple[SshHost, SshHost], tmp_path: Path) -> None:
    folder = tmp_path / "a/exp/out"
    folder.mkdir(parents=True)
    for number in range(50):
        (folder / f"{number}.bin").write_bytes(BIG * number)
    (folder / os.fsdecode(b"\xff.bin")).write_bytes(BIG)
    bring(far[0].open_second(), far[1].open_second(), pushed())
    there = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / "b/exp/out").iterdir()}
    assert there == {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}
