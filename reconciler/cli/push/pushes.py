"""Where each specs folder of this user was pushed to, so that the next push and `exq --host` need not be told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = "pushes.json"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A place on a host: the folder, and the specs folder in it."""

    folder: str
    specs: str


def pushed_to(host: str, specs: Path, env: Mapping[str, str]) -> Pushed | None:
    """Where on a host the specs of this folder were put last; None when they never were."""
    found = _read(_file(env)).get(host, {}).get(os.path.abspath(specs))
    return Pushed(found["folder"], found["specs"]) if found else None


def remember(host: str, specs: Path, place: Pushed, env: Mapping[str, str]) -> None:
    """Write it down. Raises OSError."""
    path = _file(env)
    known = _read(path)
    known.setdefault(host, {})[os.path.abspath(specs)] = {"folder": place.folder, "specs": place.specs}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{FILE}.{os.getpid()}")
    fresh.write_text(json.dumps(known, indent=1), encoding="utf-8")
    fresh.rename(path)


def _file(env: Mapping[str, str]) -> Path:
    """In this machine's own state folder: `--state` may be a path on the host."""
    from reconciler.cli.context import state_folder

    return state_folder(None, env) / FILE


def _read(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    """What is there; a file that is missing or damaged knows nothing, and the host's own answer counts then."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and all(
        isinstance(places, dict)
        and all(isinstance(place, dict) and {"folder", "specs"} <= set(place) for place in places.values())
        for places in found.values()
    )
    return found if whole else {}
