"""exq itself: one virtual environment a build, and a link that leads to the one that counts."""

import contextlib
import os
import shutil
import time
from typing import Any, Dict, List, Optional

from reconciler.host.landing.tools import (
    DATA,
    Json,
    Refused,
    last_words,
    locked,
    make_folders,
    point,
    read_json,
    remove,
    run,
    write,
    write_json,
)

COMPLETE = "installed.json"
"""In a build, written last."""
KEPT_BUILDS = 4
YOUNG_S = 7 * 86400.0
"""What counted this lately may still run on another machine that has the same home folder."""
_GONE = ".gone-"
_BUSY = "another push is just installing exq there; try again when it is done"


def build_now(data: str) -> Optional[str]:
    """The build that `current` leads to, if it is there."""
    try:
        name = os.path.basename(os.readlink(os.path.join(data, "current")))
    except OSError:
        return None
    return name if os.path.isdir(os.path.join(data, name)) else None


def is_ours(link: str) -> bool:
    """A link into the builds."""
    if not os.path.islink(link):
        return False
    target = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
    return target.startswith(os.path.expanduser(DATA) + os.sep)


def free_name(data: str, build: str) -> str:
    """`build`, or with a number behind it where that is taken, as by one for another interpreter."""
    number, name = 1, build
    while is_taken(data, name):
        number, name = number + 1, f"{build}.{number + 1}"
    return name


def is_taken(data: str, name: str) -> bool:
    """It counts, or may be complete: only what has no mark at all was left by an interrupted push."""
    if name == build_now(data):
        return True
    try:
        os.lstat(os.path.join(data, name, COMPLETE))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # nobody may look there
        return True
    return True


def take_away(data: str, name: str) -> None:
    """A build, if it is there. It is none from the first moment on, however far this comes."""
    gone = os.path.join(data, _GONE + name)
    remove(gone)
    with contextlib.suppress(FileNotFoundError):
        os.rename(os.path.join(data, name), gone)
    remove(gone)


def install(request: Json, blob: bytes) -> Json:
    """Make a build out of wheels. Nothing leads to it yet. Raises Refused; then nothing is left of it."""
    data = os.path.expanduser(DATA)
    make_folders(data)
    with locked(os.path.join(data, "lock"), _BUSY):
        name = free_name(data, request["build"])
        folder = os.path.join(data, name)
        take_away(data, name)  # what an interrupted push has left
        try:
            how = make_environment(request["python"], folder)
            put_wheels(folder, request["wheels"], blob)
            install_wheels(folder, how, request)
            check(folder)
            shutil.rmtree(os.path.join(folder, "wheels"))
            os.sync()
            about = {"version": request["version"], "base": os.path.realpath(request["python"])}
            write_json(os.path.join(folder, COMPLETE), about)
        except BaseException:
            take_away(data, name)
            raise
    return {"build": name}


def make_environment(python: str, folder: str) -> List[str]:
    """A virtual environment, and the pip that installs into it. Raises Refused."""
    done = run([python, "-m", "venv", folder])
    inner = os.path.join(folder, "bin", "python")
    if done["code"] == 0:
        return [inner, "-m", "pip"]
    said = last_words(done)
    remove(folder)
    # Debian leaves ensurepip to python3-venv; a pip that the system has can install from outside
    pip = run([python, "-m", "pip", "--python", python, "--version"])
    if pip["code"] == 0 and run([python, "-m", "venv", "--without-pip", folder])["code"] == 0:
        return [python, "-m", "pip", "--python", inner]
    raise Refused("no_venv", f"{python} cannot make a virtual environment: {said}")


def put_wheels(folder: str, wheels: List[List[Any]], blob: bytes) -> None:
    """The wheels that were sent, as files."""
    place = os.path.join(folder, "wheels")
    os.mkdir(place)
    at = 0
    for name, size in wheels:
        if os.path.basename(name) != name:
            raise Refused("failed", f"{name!r} is no name of a wheel")
        write(os.path.join(place, name), blob[at : at + size])
        at += size


def install_wheels(folder: str, pip: List[str], request: Json) -> None:
    """Raises Refused with what pip said."""
    wheels = os.path.join(folder, "wheels")
    options = ["--no-input", "--disable-pip-version-check", "--quiet", "--find-links", wheels]
    options += ["--no-index"] if request["no_index"] else []
    done = run([*pip, "install", *options, os.path.join(wheels, request["wheels"][0][0])], cwd=folder)
    if done["code"] != 0:
        raise Refused("pip", f"pip could not install exq: {last_words(done)}")


def check(folder: str) -> None:
    """It has to run. Raises Refused."""
    done = run([os.path.join(folder, "bin", "exq"), "--version"])
    if done["code"] != 0:
        raise Refused("failed", f"the new exq does not run: {last_words(done)}")


def activate(request: Json) -> Json:
    """Have everything lead to a complete build."""
    data = os.path.expanduser(DATA)
    name = request["build"]
    if not read_json(os.path.join(data, name, COMPLETE)):
        raise Refused("failed", f"{name} is no complete build")
    with locked(os.path.join(data, "lock"), _BUSY):
        before = build_now(data)
        if before not in (None, name):
            with contextlib.suppress(OSError):  # it has no mark, and is not taken away then
                os.utime(os.path.join(data, str(before), COMPLETE))  # it counted until now
        point(os.path.join(data, "current"), name)
        link = os.path.expanduser("~/.local/bin/exq")
        if not os.path.lexists(link) or is_ours(link):
            make_folders(os.path.dirname(link))
            point(link, os.path.join(data, "current", "bin", "exq"))
    os.sync()
    return {"active": name}


def prune(_request: Json) -> Json:
    """Take old builds away, apart from those that processes run or the service names. Raises OSError."""
    data = os.path.expanduser(DATA)
    with locked(os.path.join(data, "lock"), _BUSY):
        for name in os.listdir(data):
            if name.startswith(_GONE):
                remove(os.path.join(data, name))
        names = complete_builds(data)
        counted_at = {name: os.stat(os.path.join(data, name, COMPLETE)).st_mtime for name in names}
        used = "\n".join([*commands().values(), unit_text()])
        for name in sorted(names, key=lambda one: -counted_at[one])[KEPT_BUILDS:]:
            young = time.time() - counted_at[name] < YOUNG_S
            # by the end of the path: a home folder can have several names
            if name != build_now(data) and not young and f"/{os.path.basename(data)}/{name}/" not in used:
                take_away(data, name)
    return {}


def complete_builds(data: str) -> List[str]:
    """The folders, and not the link that leads to one of them."""
    names = [name for name in os.listdir(data) if not os.path.islink(os.path.join(data, name))]
    return [name for name in names if read_json(os.path.join(data, name, COMPLETE))]


def unit_text() -> str:
    """The service of this user; empty where there is none. Raises OSError."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    try:
        with open(os.path.join(base, "systemd", "user", "exq.service"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def forget(build: str) -> None:
    """Take away a build that never counted."""
    data = os.path.expanduser(DATA)
    if build != build_now(data):
        take_away(data, build)


def commands() -> Dict[int, str]:
    """The command lines of the processes that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    found[int(name)] = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:  # it has ended
                continue
    return found
