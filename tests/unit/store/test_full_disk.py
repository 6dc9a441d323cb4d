"""A disk that is really full, or really read-only: nothing is half done, and it goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from io import RawIOBase
from itertools import count
from pathlib import Path

import pytest

from reconciler.model.enums import RequestKind
from reconciler.model.ledger import JobRecord
from reconciler.store.audit import AuditTrail, read
from reconciler.store.errors import StoreError, StoreFull
from reconciler.store.last_good import LastGoodTexts
from reconciler.store.ledger import LedgerStore
from reconciler.store.lock import DaemonLock, holder
from reconciler.store.paths import StatePaths
from reconciler.store.requests import pending, submit
from tests.unit.store.samples import NOW, done_job, open_job

pytestmark = pytest.mark.root


class Disk:
    """A small filesystem of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = StatePaths(root / "state")

    def fill(self) -> None:
        """Take all room."""
        with (self.root / "ballast").open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                with pytest.raises(OSError, match="No space left"):
                    write_for_ever(file, size)

    def fill_inodes(self) -> None:
        """Take all inodes; there is room for data."""
        (self.root / "many").mkdir()
        with pytest.raises(OSError, match="No space left"):
            touch_for_ever(self.root / "many")

    def free(self) -> None:
        """Give the room back."""
        (self.root / "ballast").unlink(missing_ok=True)
        for path in self.root.glob("many/*"):
            path.unlink()

    def remount(self, option: str) -> None:
        """Make it read-only ("ro") or writable ("rw")."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.root)], check=True)


def write_for_ever(file: RawIOBase, size: int) -> None:
    while True:
        file.write(bytes(size))


def touch_for_ever(folder: Path) -> None:
    for number in count():
        (folder / str(number)).touch()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=60", "exq-test", str(root)], check=True)
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def commit_until_full(store: LedgerStore) -> int:
    """How many jobs went in."""
    for number in count():
        try:
            store.commit([done_job(f"p/job_{number}")], accepted=[f"r{number}"])
        except StoreFull:
            return number
    raise AssertionError


def test_a_commit_without_room_changes_nothing_and_works_later(disk: Disk) -> None:
    with LedgerStore.open(disk.paths, writable=True) as store:
        store.commit([open_job("p/first")], pause=["p"])
        disk.fill()
        fitted = commit_until_full(store)
        before = store.ledger()
        assert len(before.jobs) == fitted + 1
        for _ in range(3):
            with pytest.raises(StoreFull, match="free some space"):
                store.commit([done_job("p/late")] + [done_job(f"q/{n}") for n in range(100)], resume=["p"])
        assert store.ledger() == before
        assert not store.is_accepted(f"r{fitted}")
        disk.free()
        store.commit([done_job("p/late")], resume=["p"])
        assert len(store.ledger().jobs) == fitted + 2
    for writable in (False, True):
        with LedgerStore.open(disk.paths, writable=writable) as again:
            assert again.notices == ()
            assert len(again.ledger().jobs) == fitted + 2
            assert again.ledger().paused == frozenset()


def test_the_first_start_without_room_works_later(disk: Disk) -> None:
    disk.fill()
    for _ in range(2):
        with pytest.raises(StoreFull):
            LedgerStore.open(disk.paths, writable=True)
    disk.free()
    with LedgerStore.open(disk.paths, writable=True) as store:
        store.commit([open_job("p/a")])


def test_a_start_without_room_loses_nothing(disk: Disk) -> None:
    with LedgerStore.open(disk.paths, writable=True) as store:
        store.commit([open_job("p/a")])
    disk.fill()
    with LedgerStore.open(disk.paths, writable=False) as reader:
        assert list(reader.ledger().jobs) == ["p/a"]
    with pytest.raises(StoreFull):
        LedgerStore.open(disk.paths, writable=True).commit([done_job(f"p/{number}") for number in range(100)])
    disk.free()
    with LedgerStore.open(disk.paths, writable=True) as store:
        assert (list(store.ledger().jobs), store.notices) == (["p/a"], ())


@pytest.mark.parametrize("fill", [Disk.fill, Disk.fill_inodes])
def test_everything_else_without_room(disk: Disk, fill: Callable[[Disk], None]) -> None:
    disk.paths.ensure()
    trail = AuditTrail(disk.paths, lambda: NOW)
    texts = LastGoodTexts(disk.paths, writable=True)
    fill(disk)
    with pytest.raises(StoreFull):
        submit(disk.paths, RequestKind.STOP, "p/a", "ann", NOW)
    assert pending(disk.paths) == ()
    texts.put("a.yaml", "jobs: []\n")
    assert texts.problem is not None and texts.get("a.yaml") == "jobs: []\n"
    for number in range(40):
        trail.write("action", text="x" * 5000, number=number)
    assert trail.problem is not None and "No space left" in trail.problem
    disk.free()
    trail.close()
    assert [record["number"] for record in read(disk.paths)] == list(range(40))
    assert submit(disk.paths, RequestKind.STOP, "p/a", "ann", NOW) in pending(disk.paths)


def test_the_lock_holds_without_room_for_its_facts(disk: Disk) -> None:
    disk.paths.ensure()
    disk.paths.daemon_lock.write_text('{"pid":1,"host":"old","command":"old"}')
    disk.paths.daemon_lock.write_text("")
    disk.fill()
    with DaemonLock(disk.paths, lambda: NOW):
        found = holder(disk.paths)
        assert found is not None and found.pid is None
    assert holder(disk.paths) is None


@pytest.mark.parametrize("crashed", [False, True], ids=["after a clean end", "after a crash"])
def test_a_read_only_disk_can_be_read(disk: Disk, crashed: bool) -> None:
    store = LedgerStore.open(disk.paths, writable=True)
    store.commit([open_job("p/a")])
    if crashed:
        files = {path: path.read_bytes() for path in disk.paths.root.glob("ledger*")}
        store.close()
        for path, content in files.items():
            path.write_bytes(content)
        assert len(files) == 3
    store.close()
    disk.remount("ro")
    with LedgerStore.open(disk.paths, writable=False) as reader:
        assert list(reader.ledger().jobs) == ["p/a"]
        assert reader.notices == ()
    with pytest.raises(StoreError, match=r"read-only|readonly|unable to open"):
        LedgerStore.open(disk.paths, writable=True).commit([JobRecord("p/b")])
    with pytest.raises(StoreError, match="read-only"):
        submit(disk.paths, RequestKind.STOP, "p/a", "ann", NOW)
    disk.remount("rw")
    with LedgerStore.open(disk.paths, writable=True) as again:
        again.commit([JobRecord("p/b")])
        assert list(again.ledger().jobs) == ["p/a", "p/b"]
