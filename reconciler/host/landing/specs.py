"""The specs: releases beside a link that leads to one of them."""

import contextlib
import hashlib
import os
import time
from typing import Iterator, List, Optional, Tuple

from reconciler.host.landing.names import LAST
from reconciler.host.landing.releases import ABOUT, REVISION, prune_releases, take_away
from reconciler.host.landing.tools import (
    DATA,
    Json,
    Refused,
    boot_mark,
    locked,
    make_folders,
    point,
    read_json,
    remove,
    sync_folder,
    write,
    write_json,
)

OLD_S = 86400.0
RENAME_EXCHANGE = 2


class Place:
    """One specs folder that is pushed to: a link beside a folder of releases."""

    def __init__(self, folder: str, name: str) -> None:
        if os.path.basename(name) != name or name in ("", ".", ".."):
            raise Refused("failed", f"{name!r} is no name of a folder")
        self.folder = folder
        self.link = os.path.join(folder, name)
        self.store_name = f".{name}.pushed"
        self.store = os.path.join(folder, self.store_name)
        self.staged_prefix = f".{name}.staged-"

    def release(self, number: str) -> str:
        """The folder of a release."""
        if os.path.basename(number) != number or number.startswith("."):
            raise Refused("failed", f"{number!r} is no release")
        return os.path.join(self.store, number)

    def staged_link(self, number: str) -> str:
        """A name for a release beside the link itself, so that relative paths mean the same from it."""
        return os.path.join(self.folder, self.staged_prefix + number)

    def current(self) -> Optional[str]:
        """The release that counts; None where the link is not one of ours."""
        try:
            target = os.readlink(self.link)
        except OSError:
            return None
        store, _, number = target.rpartition("/")
        return number if store == self.store_name else None

    def kind(self) -> str:
        """What is at the place of the link: nothing, a release, another link or a folder of somebody's own."""
        if not os.path.lexists(self.link):
            return "nothing"
        if self.current() is not None:
            return "pushed"
        return "link" if os.path.islink(self.link) else "folder" if os.path.isdir(self.link) else "file"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else switches meanwhile. Raises Refused when it takes too long."""
        with locked(os.path.join(self.store, "lock"), f"another push to {self.link} is under way"):
            yield


def stage(request: Json, blob: bytes) -> Json:
    """Unpack a release beside the others; nothing leads to it yet."""
    place = Place(request["folder"], request["name"])
    made: List[str] = []
    fresh = os.path.join(place.store, f".fresh-{boot_mark()}-{os.getpid()}")
    link = place.staged_link(request["release"])
    try:
        make_folders(place.folder, made)
        make_store(place)
        sweep(place)
        os.mkdir(fresh, 0o700)
        unpack(fresh, request["files"], blob)
        write(os.path.join(fresh, REVISION), request["revision"].encode("utf-8") + b"\n")
        write_json(os.path.join(fresh, ABOUT), dict(request["about"], release=request["release"], made=made))
        for base, _, _ in os.walk(fresh):
            sync_folder(base)
        os.rename(fresh, place.release(request["release"]))
        sync_folder(place.store)
        os.symlink(os.path.join(place.store_name, request["release"]), link)
    except BaseException:
        remove(fresh)
        withdraw(place, request["release"], made)
        raise
    return {"staged": link}


def make_store(place: Place) -> None:
    """The folder of releases, which git is not to see."""
    if not os.path.isdir(place.store):
        os.mkdir(place.store, 0o700)
    ignore = os.path.join(place.store, ".gitignore")
    if not os.path.exists(ignore):
        write(ignore, b"*\n")


def unpack(folder: str, files: List[Json], blob: bytes) -> None:
    """Write the files of a release, each checked. Raises Refused."""
    at = 0
    for file in files:
        path = os.path.join(folder, file["path"])
        parts = file["path"].split("/")
        if os.path.isabs(file["path"]) or {"", ".", ".."} & set(parts):
            raise Refused("failed", "{!r} leads out of the folder".format(file["path"]))
        data = blob[at : at + file["size"]]
        at += file["size"]
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise Refused("failed", "{} came damaged".format(file["path"]))
        for depth in range(1, len(parts)):
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.join(folder, *parts[:depth]), 0o700)
        write(path, data, 0o700 if file["executable"] else 0o600)
        # a file that has just changed counts as half-written for a moment; this one is whole
        os.utime(path, ns=(file["mtime_ns"], file["mtime_ns"]))


def discard(request: Json) -> Json:
    """Take a staged release away again, and what was made for it."""
    place = Place(request["folder"], request["name"])
    number = request["release"]
    withdraw(place, number, read_json(os.path.join(place.release(number), ABOUT)).get("made", []))
    return {"discarded": True}


def withdraw(place: Place, number: str, made: List[str]) -> None:
    """Nothing is left of a release that never counted."""
    remove(place.staged_link(number))
    if place.current() == number:
        return
    take_away(place.release(number))
    with contextlib.suppress(FileNotFoundError):  # it was not made
        if not set(os.listdir(place.store)) - {".gitignore", "lock", LAST}:
            remove(place.store)
    for folder in reversed(made):
        with contextlib.suppress(OSError):  # something else is in there
            os.rmdir(folder)


def switch(request: Json) -> Json:
    """Have the link lead to a staged release. Raises Refused when it does not lead where the pusher saw it lead."""
    place = Place(request["folder"], request["name"])
    number = request["release"]
    kept = None
    with place.locked():
        if (place.kind(), place.current()) != (request["kind"], request["current"]):
            about = read_json(os.path.join(place.release(place.current() or "none"), ABOUT))
            raise Refused("moved", f"{place.link} has changed meanwhile", about=about)
        target = os.path.join(place.store_name, number)
        if request["kind"] in ("folder", "link", "file"):
            kept = "{}.before-push-{}".format(place.link, number.partition("-")[0])
            take_over(place.link, target, kept)
        else:
            point(place.link, target)
        held, problem = afterwards(place, number)
        return {"switched": True, "kept": kept, "held": held, "problem": problem}


def afterwards(place: Place, number: str) -> Tuple[List[Json], str]:
    """What a switch brings with it: the sets that stay for what is in them, and what went wrong. It counts already, so
    that this is only told."""
    data = os.path.expanduser(DATA)
    try:
        sync_folder(place.folder)
        remove(place.staged_link(number))
        write_json(os.path.join(place.store, LAST), {"release": number})
        make_folders(data)
        point(os.path.join(data, "specs"), place.link)
        return prune_releases(place.store, place.current()), ""
    except OSError as error:
        return [], f"{error.filename or place.store}: {error.strerror}"


def take_over(link: str, target: str, kept: str) -> None:
    """Put a link in the place of something else, which gets the name `kept`; there is always one of the two."""
    fresh = f"{link}.{os.getpid()}"
    remove(fresh)
    os.symlink(target, fresh)
    swapped = exchange(fresh, link)
    if not swapped:
        os.rename(link, kept)  # no exchange on this filesystem: for a moment there is none
    try:
        os.rename(fresh, kept if swapped else link)
    except OSError:
        if swapped:
            exchange(fresh, link)
        else:
            os.rename(kept, link)
        remove(fresh)
        raise


def exchange(one: str, other: str) -> bool:
    """Swap two names in one step; False where the system or its filesystem cannot."""
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at = -100  # relative paths from the current folder
    return bool(call(at, os.fsencode(one), at, os.fsencode(other), RENAME_EXCHANGE) == 0)


def sweep(place: Place) -> None:
    """What pushes that were killed have left: of processes that are gone, or old."""
    for name in os.listdir(place.store):
        path = os.path.join(place.store, name)
        if name.startswith(".fresh-"):
            _, boot, pid = name.split("-", 2)
            gone = boot == boot_mark() and not os.path.exists("/proc/" + pid)
            if gone or time.time() - os.lstat(path).st_mtime > OLD_S:
                remove(path)
    for name in os.listdir(place.folder):
        path = os.path.join(place.folder, name)
        if not name.startswith(place.staged_prefix) or not os.path.islink(path):
            continue
        if not os.path.exists(path) or time.time() - os.lstat(path).st_mtime > OLD_S:
            remove(path)
