"""Who else could write to a file: owner, group and everyone, private groups, ACLs, and the words that mend it."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.trust import Access, SystemAccounts, distrust, folder_distrust, writers

ME, ROOT, BOB = 1000, 0, 1001
MINE, TEAM, OTHERS = 1000, 500, 1001
NO_ID = 0xFFFFFFFF


@dataclass
class People:
    uid: int = ME
    private: frozenset[int] = field(default=frozenset({MINE}))

    def user(self, uid: int) -> str:
        return {ME: "ann", BOB: "bob", ROOT: "root"}[uid]

    def group(self, gid: int) -> str:
        return {MINE: "ann", TEAM: "team", OTHERS: "bob"}[gid]

    def is_private(self, gid: int) -> bool:
        return gid in self.private


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def acl_with(tag: int, rights: int, number: int, *, owning_group: int = 5) -> bytes:
    return acl((1, 7, NO_ID), (tag, rights, number), (4, owning_group, NO_ID), (0x10, 7, NO_ID), (0x20, 5, NO_ID))


@pytest.mark.parametrize(
    ("access", "words", "change"),
    [
        (Access(0o755, ME, MINE), [], ""),
        (Access(0o700, ME, TEAM), [], ""),
        (Access(0o755, ROOT, 0), [], ""),
        (Access(0o775, ME, MINE), [], ""),  # umask 002 with a group of one's own
        (Access(0o664, ME, MINE), [], ""),
        (Access(0o775, ME, TEAM), ["the group team"], "g-w"),
        (Access(0o757, ME, MINE), ["everyone on this machine"], "o-w"),
        (Access(0o1777, ROOT, 0), ["the group root", "everyone on this machine"], "go-w"),
        (Access(0o777, ME, TEAM), ["the group team", "everyone on this machine"], "go-w"),
        (Access(0o700, BOB, MINE), ["its owner bob"], ""),
        (Access(0o777, BOB, TEAM), ["its owner bob"], ""),
        (Access(0o775, ME, MINE, acl_with(0x02, 7, BOB)), ["the user bob (by an ACL)"], "g-w"),
        (Access(0o775, ME, MINE, acl_with(0x02, 5, BOB)), [], ""),
        (Access(0o775, ME, MINE, acl_with(0x02, 7, ME)), [], ""),
        (Access(0o775, ME, MINE, acl_with(0x02, 7, ROOT)), [], ""),
        (Access(0o775, ME, MINE, acl_with(0x08, 7, TEAM)), ["the group team"], "g-w"),
        (Access(0o775, ME, MINE, acl_with(0x08, 5, TEAM)), [], ""),
        (Access(0o775, ME, TEAM, acl_with(0x08, 5, OTHERS)), [], ""),  # the mask writes, nobody it masks does
        (Access(0o775, ME, TEAM, acl_with(0x08, 5, OTHERS, owning_group=7)), ["the group team"], "g-w"),
        (Access(0o755, ME, MINE, acl_with(0x02, 7, BOB)), [], ""),  # masked
        (Access(0o775, ME, TEAM, b"\x02\0\0\0\x01"), ["the group team"], "g-w"),  # damaged: as without one
    ],
)
def test_writers(access: Access, words: list[str], change: str) -> None:
    people = People()
    people.group = lambda gid: {MINE: "ann", TEAM: "team", OTHERS: "bob", 0: "root"}[gid]  # type: ignore[method-assign]
    assert writers(access, people) == (words, change)


def account(name: str, uid: int, gid: int) -> SimpleNamespace:
    return SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid)


GROUPS = {
    1000: ("ann", []),
    100: ("users", []),
    500: ("team", ["ann", "bob"]),
    600: ("solo", ["ann"]),
    700: ("ann-too", []),
}


@pytest.mark.parametrize(
    ("gid", "members", "primaries", "private"),
    [
        (1000, [], {"ann": 1000, "bob": 1001}, True),  # a user private group
        (1000, ["ann", "root"], {"ann": 1000}, True),
        (1000, ["bob"], {"ann": 1000, "bob": 1001}, False),  # someone was added to it
        (100, [], {"ann": 100, "bob": 100}, False),  # everyone's primary group
        (100, [], {"ann": 100}, True),
        (600, ["ann"], {"ann": 100}, False),  # nobody's primary group: whose it is, nothing says
        (500, ["ann", "bob"], {"ann": 500}, False),
        (700, [], {}, False),  # a directory service that lists nobody
        (9999, None, {"ann": 9999}, False),  # a group without an entry
    ],
)
def test_a_private_group(
    monkeypatch: pytest.MonkeyPatch, gid: int, members: list[str] | None, primaries: dict[str, int], private: bool
) -> None:
    uids = {"ann": os.geteuid(), "bob": 54321}

    def group_of(asked: int) -> SimpleNamespace:
        if members is None:
            raise KeyError(asked)
        return SimpleNamespace(gr_name=GROUPS[asked][0], gr_mem=members)

    monkeypatch.setattr(grp, "getgrgid", group_of)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: account("ann", uid, primaries.get("ann", gid)))
    monkeypatch.setattr(pwd, "getpwall", lambda: [account(name, uids[name], g) for name, g in primaries.items()])
    assert SystemAccounts().is_private(gid) is private


def test_a_user_without_an_entry_has_no_private_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> SimpleNamespace:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    accounts = SystemAccounts()
    assert not accounts.is_private(0)
    assert accounts.user(4242) == "uid 4242"


@pytest.mark.parametrize(
    ("mode", "change"), [(0o755, ""), (0o700, ""), (0o757, "o-w"), (0o702, "o-w"), (0o777, "o-w"), (0o1777, "o-w")]
)
def test_real_folders_say_the_chmod_that_mends_them(tmp_path: Path, mode: int, change: str) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    folder.chmod(mode)
    said = folder_distrust(folder)
    if not change:
        assert said == ""
        return
    assert "everyone on this machine could write to it" in said
    command = said.split("`")[1]
    assert command.startswith("chmod ") and command.endswith(f"'{folder}'")
    assert os.system(command) == 0
    assert folder_distrust(folder) == ""


@pytest.mark.root
@pytest.mark.parametrize(("uid", "gid", "words"), [(65534, 0, "its owner nobody"), (0, 65534, "the group nogroup")])
def test_other_owners_and_groups(tmp_path: Path, uid: int, gid: int, words: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("")
    path.chmod(0o664)
    os.chown(path, uid, gid)
    said = distrust(path, path.stat())
    assert words.replace("nogroup", grp.getgrgid(65534).gr_name) in said
    assert ("chown" in said) == (uid != 0)


def test_an_acl_is_read_from_the_file_itself(tmp_path: Path, missing: Callable[[str], None]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("")
    path.chmod(0o664)
    value = acl((1, 6, NO_ID), (2, 6, 54321), (4, 4, NO_ID), (0x10, 6, NO_ID), (0x20, 4, NO_ID))
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            missing("needs a filesystem with ACLs")
        raise
    with path.open("rb") as file:
        for said in (distrust(path, path.stat()), distrust(path, os.fstat(file.fileno()), file.fileno())):
            assert "the user uid 54321 (by an ACL) could write to it" in said
    path.chmod(0o644)
    assert distrust(path, path.stat()) == ""


def test_no_folder_is_no_distrust(tmp_path: Path) -> None:
    assert folder_distrust(tmp_path / "none") == ""
