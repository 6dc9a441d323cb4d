"""What is there before a push. Nothing is changed."""

import getpass
import os
import shutil
import socket
import subprocess
from typing import List, Optional

from reconciler.host.landing.builds import COMPLETE, build_now, is_ours, unit_text
from reconciler.host.landing.releases import ABOUT
from reconciler.host.landing.specs import Place
from reconciler.host.landing.tools import DATA, Json, files_in, read_json

NEEDED = (3, 10)
NEWEST_TRIED = 20
PYTHON_S = 20
EXQ_S = 60
NOBODYS = ("/proc", "/sys")
"""The kernel's own: the rights there promise more than it allows."""


def look(request: Json) -> Json:
    """What is there. Changes nothing."""
    home = os.path.expanduser("~")
    place = Place(chosen_folder(request, home), request["name"])
    current = place.current()
    release = place.release(current) if current is not None else place.link
    about = read_json(os.path.join(release, ABOUT)) if current is not None else {}
    files = files_in(release) if os.path.isdir(release) else {}
    recorded = about.get("files", {})
    return {
        "home": home,
        "user": getpass.getuser(),
        "hostname": socket.gethostname(),
        "folder": place.folder,
        "folder_exists": os.path.isdir(place.folder),
        "obstacle": obstacle(place.folder),
        "code": has_code(place),
        "specs": place.link,
        "kind": place.kind(),
        "current": current,
        "about": {key: value for key, value in about.items() if key != "files"},
        "files": files,
        "edited": sorted(name for name in {*files, *recorded} if files.get(name) != recorded.get(name))
        if current is not None
        else [],
        "exq": exq_facts(request),
        "unit": unit_facts(),
    }


def chosen_folder(request: Json, home: str) -> str:
    """The one that was asked for; else the same place below the home folder, where it is there, else one of our own."""
    if request.get("folder"):
        return os.path.normpath(os.path.join(home, os.path.expanduser(request["folder"])))
    alike = os.path.normpath(os.path.join(home, request["alike"])) if request.get("alike") else ""
    return alike if os.path.isdir(alike) else os.path.join(home, "exq", request["project"])


def obstacle(folder: str) -> str:
    """What keeps files out of this folder, which may have to be made; empty: nothing does."""
    path = folder
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        return f"{path} is no folder"
    real = os.path.realpath(path)
    if any(real == base or real.startswith(base + "/") for base in NOBODYS):
        return f"{path} is the kernel's, and takes no files"
    return "" if os.access(path, os.W_OK | os.X_OK) else f"{getpass.getuser()} may not write in {path}"


def has_code(place: Place) -> bool:
    """Something besides the specs is there, such as what the jobs run."""
    try:
        names = os.listdir(place.folder)
    except OSError:  # there is no such folder, or it is nobody's to look into
        return False
    own = (os.path.basename(place.link), place.store_name)
    return any(name not in own and not name.startswith(place.staged_prefix) for name in names)


def exq_facts(request: Json) -> Json:
    """The exq that counts here, the complete build that could (None: it has to be made), and what else is called so."""
    data = os.path.expanduser(DATA)
    current = build_now(data)
    about = read_json(os.path.join(data, current, COMPLETE)) if current else {}
    link = os.path.expanduser("~/.local/bin/exq")
    complete = complete_build(data, request["build"], request.get("python"), current)
    return {
        "current": current,
        "current_version": about.get("version"),
        "current_base": about.get("base"),
        "current_runs": current is not None and (current == complete or runs(os.path.join(data, current))),
        "complete": complete,
        "foreign": os.path.lexists(link) and not is_ours(link),
        "pythons": [] if complete else pythons(request.get("python")),
    }


def complete_build(data: str, build: str, python: Optional[str], current: Optional[str]) -> Optional[str]:
    """The folder that holds this build, with the named interpreter where one is named; the current one if it does."""
    base = os.path.realpath(shutil.which(os.path.expanduser(python)) or python) if python else None
    names = os.listdir(data) if os.path.isdir(data) else []
    found = []
    for name in sorted(name for name in names if name == build or name.startswith(build + ".")):
        about = read_json(os.path.join(data, name, COMPLETE))
        if about and base in (None, about.get("base")) and runs(os.path.join(data, name)):
            found.append(name)
    return current if current in found else found[0] if found else None


def runs(build: str) -> bool:
    """It says its version: the Python that it was made for may be gone, or another one by now."""
    try:
        return not subprocess.call(
            [os.path.join(build, "bin", "exq"), "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),
            timeout=EXQ_S,
        )
    except (OSError, subprocess.SubprocessError):
        return False


def pythons(named: Optional[str]) -> List[List[str]]:
    """Interpreters as (path, version), the one that is taken first."""
    others = [f"python3.{minor}" for minor in range(NEWEST_TRIED, NEEDED[1] - 1, -1)]
    names = [named] if named else ["python3", *others]
    found: List[List[str]] = []
    for name in names:
        path = shutil.which(os.path.expanduser(name))
        if path is None or any(os.path.realpath(path) == os.path.realpath(other) for other, _ in found):
            continue
        try:
            said = subprocess.check_output(
                [path, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PYTHON_S,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        version = said.decode("ascii", "replace").strip().splitlines()[-1:]
        if version:
            found.append([path, version[0]])
            if is_new_enough(version[0]):
                break
    return sorted(found, key=lambda one: not is_new_enough(one[1]))


def is_new_enough(version: str) -> bool:
    """exq runs on it."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= NEEDED


def unit_facts() -> Json:
    """Which folders the service of this user is for; nothing where there is none."""
    try:
        text = unit_text()
    except OSError:  # the service, if it is one, is not for anything that could be told
        return {}
    pairs = [line.partition("=") for line in text.splitlines()]
    return {key.lower(): value for key, _, value in pairs if key in ("Specs", "State", "ExecStart")}
