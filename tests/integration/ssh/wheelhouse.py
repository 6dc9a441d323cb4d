"""Wheels of what is installed here, made from the installed files: a far machine needs no package index then."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

from reconciler.cli.push.wheel import zipped

NEEDED_BY_EXQ = ("PyYAML", "jsonschema", "watchdog", "structlog", "paramiko")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def make_wheelhouse(folder: Path) -> Path:
    """A wheel for each distribution that exq needs, and for what those need."""
    folder.mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    waiting = list(NEEDED_BY_EXQ)
    while waiting:
        name = _normal(waiting.pop())
        found = None if name in done else installed(name)
        done.add(name)
        if found is not None:
            _write(folder, found)
            waiting += [_name(each) for each in found.requires or () if "extra ==" not in each]
    return folder


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except LookupError:  # for another Python or system, by its marker
        return None


def _write(folder: Path, found: Distribution) -> None:
    tag = next(
        line.partition(":")[2].strip() for line in (found.read_text("WHEEL") or "").splitlines() if "Tag:" in line
    )
    name = f"{re.sub('[-.]+', '_', found.metadata['Name'])}-{found.version}-{tag}.whl"
    members = {}
    record = ""
    for file in found.files or ():
        text = file.as_posix()
        if text.endswith(".dist-info/RECORD"):
            record = text
        elif (
            not text.startswith("..") and "__pycache__" not in text and not text.endswith(("/INSTALLER", "/REQUESTED"))
        ):
            members[text] = Path(str(file.locate())).read_bytes()
    (folder / name).write_bytes(zipped(members, record))


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    assert found is not None, requirement
    return found[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
