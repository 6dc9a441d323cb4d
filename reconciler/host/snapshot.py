"""Makes and removes the work trees that jobs with `snapshot` run from.

    python snapshot.py STATE make FOLDER COMMIT      FOLDER: where the jobs would run otherwise
    python snapshot.py STATE drop REPOSITORY COMMIT  REPOSITORY: the name of its folder below <state>/snapshots

Beside the work tree <state>/snapshots/REPOSITORY/COMMIT are `COMMIT.ready` (its repository, once it is whole),
`COMMIT.failed` (why it could not be made), `COMMIT.users` (a file for each attempt that was started in it),
`COMMIT.leaving` (what `.ready` is called while `drop` looks who is inside) and `COMMIT.lock`.

What attempts run in is never removed, wherever any of this is cut off: a work tree goes only after all its users were
found to be over, and whatever cannot be read counts as in use. It uses the standard library only and runs on
Python 3.6: it is sent to where the jobs run.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import Any, Iterator, List, Optional

GIT_DEADLINE_S = 3600
LINKS_MAX = 2000
MADE_BY_PYTHON = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")


class Problem(Exception):
    """It cannot be done; the text says why and what to do."""


class Place:
    """The files of one snapshot."""

    def __init__(self, state: str, repository: str, commit: str) -> None:
        self.tree = os.path.join(state, "snapshots", repository, commit)
        self.ready, self.failed = self.tree + ".ready", self.tree + ".failed"
        self.leaving = self.tree + ".leaving"
        self.users, self.lock = self.tree + ".users", self.tree + ".lock"


def repository_of(path: str) -> Optional[str]:
    """The work tree that a folder is in, without asking git."""
    while not os.path.lexists(os.path.join(path, ".git")):
        above = os.path.dirname(path)
        if above == path:
            return None
        path = above
    return path


def name_of(root: str) -> str:
    """What a repository is called below <state>/snapshots."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:12]


def git(root: str, *arguments: str) -> bytes:
    """What it prints. Raises Problem."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    argv = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-C", root, *arguments]
    quiet = subprocess.DEVNULL
    try:
        child = subprocess.Popen(argv, env=env, stdin=quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise Problem(f"git cannot be run on this host: {error.strerror}") from None
    try:
        text, complaint = child.communicate(timeout=GIT_DEADLINE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        raise Problem(f"`git {arguments[0]}` took longer than an hour") from None
    if child.returncode != 0:
        said = [line.strip() for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
        raise Problem(f"git: {said[-1][:500] if said else f'it ended with exit code {child.returncode}'}")
    return text


def write_whole(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def make(state: str, folder: str, commit: str) -> None:
    """Make it, unless it is there; one that was begun and not finished is made anew."""
    root = repository_of(os.path.realpath(folder))
    if root is None:
        return
    place = Place(state, name_of(root), commit)
    os.makedirs(os.path.dirname(place.tree), mode=0o700, exist_ok=True)
    with locked(place) as mine:
        if not mine or is_whole(place):
            return
        try:
            if is_there(place.tree) and is_used(state, place):
                raise Problem(f"attempts may still run in what is left of {place.tree}: they have to end first")
            fill(place, root, commit, state)
        except Problem as problem:
            write_whole(place.failed, f"{problem}\n")
            return
        os.makedirs(place.users, mode=0o700, exist_ok=True)
        write_whole(place.ready, json.dumps({"root": root}) + "\n")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.failed)


def is_whole(place: Place) -> bool:
    """It was made, and nobody removed it by hand since; else it is said to be so no more. Raises OSError."""
    if not os.path.lexists(place.ready) and not back_in_place(place):
        return False
    whole = is_there(os.path.join(place.tree, ".git"))
    if not whole:
        os.unlink(place.ready)  # before anything of it is made: nobody must enter until it is whole
    return whole


@contextlib.contextmanager
def locked(place: Place) -> Iterator[bool]:
    """Whether nobody else is at it, meanwhile."""
    fd = os.open(place.lock, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


def fill(place: Place, root: str, commit: str, state: str) -> None:
    try:
        git(root, "cat-file", "-e", commit + "^{commit}")
    except Problem as problem:
        if "not a valid object" in str(problem).lower() or "exit code" in str(problem):
            raise Problem(f"{root} does not have the commit {commit[:12]}: git -C {root} fetch") from None
        raise
    remove_tree(place, root)
    try:
        git(root, "worktree", "add", "--force", "--detach", "--quiet", place.tree, commit)
        put_data(place, root, state)
    except Problem:
        remove_tree(place, root)  # nobody can have entered it: it was never ready
        raise


def put_data(place: Place, root: str, state: str) -> None:
    """Link into a work tree what is no code."""
    if any(entry.startswith(b"160000 ") for entry in git(place.tree, "ls-files", "--stage", "-z").split(b"\0")):
        raise Problem(f"{root} has submodules, which a snapshot does not take along: leave `snapshot` out")
    # what git is told to ignore (data, checkpoints) is no code: it is used where it is
    ignored = git(root, "status", "--porcelain", "-z", "--ignored=traditional", "--untracked-files=normal")
    paths = [os.fsdecode(entry[3:]).rstrip("/") for entry in ignored.split(b"\0") if entry.startswith(b"!! ")]
    for path in [path for path in paths if is_data(os.path.join(root, path), state)][:LINKS_MAX]:
        link(os.path.join(root, path), os.path.join(place.tree, path))


def is_data(path: str, state: str) -> bool:
    """Not what python makes of code, and not exq's own."""
    name = os.path.basename(path)
    return name not in MADE_BY_PYTHON and not name.endswith(".pyc") and not (state + "/").startswith(path + "/")


def link(source: str, target: str) -> None:
    """Where there is a folder for it, and nothing else yet."""
    with contextlib.suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
        os.symlink(source, target)


def remove_tree(place: Place, root: str) -> None:
    """Whatever is there of it; links are removed, never what they lead to. Only where nobody is in it."""
    if os.path.lexists(place.tree):
        with contextlib.suppress(Problem):  # it was not registered yet, or its repository is gone
            git(root, "worktree", "remove", "--force", "--force", place.tree)
        shutil.rmtree(place.tree, ignore_errors=True)


def drop(state: str, repository: str, commit: str) -> None:
    """Remove it, unless an attempt that was started in it is not over."""
    place = Place(state, repository, commit)
    with locked(place) as mine:
        if not mine:
            return
        back_in_place(place)
        if is_used(state, place):
            return
        try:
            root = root_of(place)
        except (OSError, ValueError):
            return  # whatever damaged the file may have damaged what is known of its users
        if clear_out(state, place):
            remove_tree(place, root)
            shutil.rmtree(place.users, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place.failed)


def clear_out(state: str, place: Place) -> bool:
    """Let nobody in any more. False: somebody is inside, and it is as it was.

    In this order: whoever starts an attempt puts its name down first, and then looks whether it is ready. `.ready` is
    renamed, not written anew: so it comes back on a full disk, too, and is found where this is cut off."""
    was_ready = os.path.lexists(place.ready)
    if was_ready:
        os.rename(place.ready, place.leaving)
    empty = False
    try:
        empty = not is_used(state, place)
    finally:
        if was_ready and not empty:
            os.rename(place.leaving, place.ready)
    if was_ready and empty:
        os.unlink(place.leaving)  # before anything of it goes: from here on it is not whole
    return empty


def back_in_place(place: Place) -> bool:
    """Someone who looked who is inside never came back: it is whole. False: that is not so."""
    try:
        os.rename(place.leaving, place.ready)
    except FileNotFoundError:
        return False
    return True


def root_of(place: Place) -> str:
    """Its repository. Where it was never ready, the work tree itself may know. Raises OSError, ValueError."""
    try:
        with open(place.ready, encoding="utf-8") as file:
            about: Any = json.load(file)
    except FileNotFoundError:
        return place.tree
    if not isinstance(about, dict) or not isinstance(about.get("root"), str):
        raise ValueError("not what is written into it")
    root: str = about["root"]
    return root


def is_used(state: str, place: Place) -> bool:
    """An attempt that was started in it is not known to be over."""
    # one that is being written is of someone who has yet to look whether it is ready
    return any(in_use(state, place, name) for name in names_in(place.users) if not name.endswith(".tmp"))


def names_in(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def in_use(state: str, place: Place, name: str) -> bool:
    """The attempt is not known to be over. Of one that is, the name is taken off."""
    path = os.path.join(place.users, name)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            attempt, _, lock = file.read(1 << 16).partition("\n")
        if not is_over(os.path.join(state, "attempts", attempt)) or is_held(lock.strip()):
            return True
        os.unlink(path)
    except (OSError, ValueError):  # a disk that does not answer proves nothing
        return True
    return False


def is_over(folder: str) -> bool:
    """The attempt has ended, or its folder was removed. Raises OSError."""
    return not is_there(folder) or any(is_there(os.path.join(folder, e)) for e in ("exit.json", "verdict.json"))


def is_there(path: str) -> bool:
    """Raises OSError where that cannot be told."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def is_held(lock: str) -> bool:
    """Something of the job still runs: its processes hold the lock."""
    try:
        fd = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(5)
    {"make": make, "drop": drop}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
