"""The sets of a specs folder: which of them go, and which stay for what somebody has put there."""

import contextlib
import os
from itertools import islice
from typing import Iterator, List, Optional

from reconciler.host.landing.tools import Json, read_json, sha256

ABOUT = ".exq-push.json"
REVISION = ".exq-revision"
KEPT = 5
NAMED = 3


def prune_releases(store: str, current: Optional[str]) -> List[Json]:
    """Only the newest stay, the one that counts, and those with files of somebody. The latter are returned, apart from
    the one that counts, each with the names of some of these files."""
    numbers = sorted(name for name in os.listdir(store) if is_release(store, name))
    held = []
    for number in numbers:
        if number == current:
            continue
        folder = os.path.join(store, number)
        names = foreign(folder)
        if names:
            held.append({"folder": folder, "names": names})
        elif number in numbers[:-KEPT]:
            take_away(folder)
    return held


def is_release(store: str, name: str) -> bool:
    """A folder that has no name of ours for something else."""
    return not name.startswith(".") and os.path.isdir(os.path.join(store, name))


def foreign(folder: str) -> List[str]:
    """Some of what is in a set and is not what the push has put there, hidden or not: paths in there."""
    files = recorded(folder)
    strange = (
        path
        for path in paths_in(folder)
        if path not in (ABOUT, REVISION) and not is_as_pushed(os.path.join(folder, path), files.get(path))
    )
    return list(islice(strange, NAMED))


def recorded(folder: str) -> Json:
    """The SHA-256 of each file that the push has put there. Nothing where that cannot be read: all is strange then."""
    files = read_json(os.path.join(folder, ABOUT)).get("files")
    return files if isinstance(files, dict) else {}


def paths_in(folder: str) -> Iterator[str]:
    """All that is no folder, and folders that cannot be looked into."""
    closed: List[OSError] = []
    for base, folders, names in os.walk(folder, onerror=closed.append):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]
        for name in sorted([*links, *names]):
            yield os.path.relpath(os.path.join(base, name), folder)
    for error in closed:
        yield os.path.relpath(str(error.filename), folder)


def is_as_pushed(path: str, digest: Optional[str]) -> bool:
    """A plain file that nobody has changed."""
    if digest is None or os.path.islink(path) or not os.path.isfile(path):
        return False
    try:
        return sha256(path) == digest
    except OSError:  # whoever took the right to read it away has changed it
        return False


def take_away(folder: str) -> None:
    """What the push has put there, and nothing that somebody adds meanwhile. The list of these files goes last, so that
    the next push goes on with it when this one is interrupted."""
    ours = {REVISION, *recorded(folder)}
    for path in [path for path in paths_in(folder) if path in ours]:
        with contextlib.suppress(OSError):  # it is gone already, or stays: then its folder stays, too
            os.unlink(os.path.join(folder, path))
    for base, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # something is in there
            os.rmdir(base)
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [ABOUT]:
            os.unlink(os.path.join(folder, ABOUT))
            os.rmdir(folder)
