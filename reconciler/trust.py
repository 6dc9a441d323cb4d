"""Who else could write to a file that exq believes. A spec is code that runs as its user, and so is the state folder.

The rule is that of ssh for its keys, with one difference: a group that holds nobody but the user is no one else, since
many systems give every user such a group and a umask of 002.
"""

from __future__ import annotations

import grp
import os
import pwd
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Protocol

ROOT_UID = 0
_GROUP_WRITE = 0o020
_OTHERS_WRITE = 0o002
_ACL = "system.posix_acl_access"
_ACL_HEAD_BYTES = 4
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_WRITE = 2
_ACL_USER, _ACL_OWNING_GROUP, _ACL_GROUP, _ACL_MASK = 0x02, 0x04, 0x08, 0x10


@dataclass(frozen=True, slots=True)
class Access:
    """What decides who may write to one file or folder. `acl` is the value of its ACL attribute, empty without one."""

    mode: int
    uid: int
    gid: int
    acl: bytes = b""


class Accounts(Protocol):
    """What the rule asks the account database."""

    uid: int
    """The user that exq runs as."""

    def user(self, uid: int) -> str:
        """The name of a user."""

    def group(self, gid: int) -> str:
        """The name of a group."""

    def is_private(self, gid: int) -> bool:
        """Nobody but the user that exq runs as (and root) is in this group."""


def writers(access: Access, accounts: Accounts) -> tuple[list[str], str]:
    """Who else could write there, in words, and the arguments of the chmod that ends it (empty: chmod cannot)."""
    if access.uid not in (ROOT_UID, accounts.uid):
        return [f"its owner {accounts.user(access.uid)}"], ""
    others = [*_of_group(access, accounts), *(["everyone on this machine"] if access.mode & _OTHERS_WRITE else [])]
    classes = ("g" if access.mode & _GROUP_WRITE else "") + ("o" if access.mode & _OTHERS_WRITE else "")
    return others, f"{classes}-w" if others else ""


def _of_group(access: Access, accounts: Accounts) -> Iterator[str]:
    """With an ACL the group bits of the mode are its mask: the most that anyone named in it may do."""
    if not access.mode & _GROUP_WRITE:
        return
    entries = list(_acl_entries(access.acl)) or [(_ACL_OWNING_GROUP, _ACL_WRITE, 0)]
    for tag, rights, number in entries:
        group = access.gid if tag == _ACL_OWNING_GROUP else number
        if not rights & _ACL_WRITE:
            continue
        if tag == _ACL_USER and number not in (ROOT_UID, accounts.uid):
            yield f"the user {accounts.user(number)} (by an ACL)"
        elif tag in (_ACL_OWNING_GROUP, _ACL_GROUP) and not accounts.is_private(group):
            yield f"the group {accounts.group(group)}"


def _acl_entries(acl: bytes) -> Iterator[tuple[int, int, int]]:
    whole = (len(acl) - _ACL_HEAD_BYTES) // _ACL_ENTRY.size * _ACL_ENTRY.size
    if whole > 0:
        yield from _ACL_ENTRY.iter_unpack(acl[_ACL_HEAD_BYTES : _ACL_HEAD_BYTES + whole])


class SystemAccounts:
    """The accounts of this machine. A group counts as shared where the database cannot tell."""

    def __init__(self) -> None:
        self.uid = os.geteuid()

    def user(self, uid: int) -> str:
        """The name, or `uid 1234` for one without."""
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"

    def group(self, gid: int) -> str:
        """The name, or `gid 1234` for one without."""
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            return f"gid {gid}"

    def is_private(self, gid: int) -> bool:
        """It lists nobody else, and has the user's name or is the primary group of this user alone."""
        try:
            group, me = grp.getgrgid(gid), pwd.getpwuid(self.uid)
        except KeyError:
            return False
        if set(group.gr_mem) - {me.pw_name, "root"}:
            return False
        if group.gr_name == me.pw_name:
            return True
        return {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid} == {self.uid}


def distrust(path: Path, found: os.stat_result, handle: int | None = None) -> str:
    """Why what is at `path` cannot be believed, with the command that mends it; empty when nobody else may write there.

    `found` is its stat, and `handle` the open file where there is one: then nothing can be swapped in between."""
    accounts = SystemAccounts()
    acl = _acl_of(path if handle is None else handle) if found.st_mode & _GROUP_WRITE else b""
    others, change = writers(Access(found.st_mode, found.st_uid, found.st_gid, acl), accounts)
    if not others:
        return ""
    mend = f"chmod {change} {quote(str(path))}"
    if not change:
        mend = f"make it yours with `chown {accounts.user(accounts.uid)} {quote(str(path))}`, or run exq as its owner"
    return f"{' and '.join(others)} could write to it, and what it says runs as you; {_sentence(mend, change)}"


def _sentence(mend: str, change: str) -> str:
    return f"mend it with `{mend}`" if change else mend


def folder_distrust(folder: Path) -> str:
    """The same for a folder; empty also where there is none."""
    try:
        found = os.stat(folder)
    except OSError:
        return ""
    return distrust(folder, found)


def _acl_of(place: Path | int) -> bytes:
    try:
        return os.getxattr(place, _ACL)
    except OSError:  # no ACL, or a filesystem that knows none
        return b""
