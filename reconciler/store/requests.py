"""What users ask the loop to do: one small file each, moved to `accepted/` once it is carried out."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from reconciler.model.enums import RequestKind
from reconciler.model.ledger import Request
from reconciler.store.atomic import mapped, sync_folder, write_atomic
from reconciler.store.paths import StatePaths
from reconciler.store.records import REQUEST, RecordDamaged, parse_json, to_json

_SUFFIX = ".json"
_SIZE_MAX_BYTES = 65536


def submit(paths: StatePaths, kind: RequestKind, target: str, by: str, now: float) -> Request:
    """Record a request durably; the loop finds it. Makes the state folder where it is missing.

    `target` is a job key or a project name, `now` seconds since the epoch. Raises StoreError or StoreFull."""
    paths.ensure()
    stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    request = Request(f"{stamp}-{os.urandom(4).hex()}", kind, target, by, now)
    write_atomic(_file(paths.requests, request), to_json(REQUEST.write(request)).encode())
    return request


def pending(paths: StatePaths) -> tuple[Request, ...]:
    """Requests that were not carried out yet, oldest first. Changes nothing and skips damaged files."""
    return _in_order(_readable(paths.requests)[0])


def set_aside_damaged(paths: StatePaths) -> tuple[str, ...]:
    """Rename damaged request files to `*.damaged` and say so, one sentence each. For the loop alone."""
    notices = []
    for path, why in _readable(paths.requests)[1]:
        aside = path.with_name(f"{path.name}.damaged")
        with mapped("set aside", path):
            path.rename(aside)
        notices.append(f"a request could not be read ({why}) and was not carried out: it is kept as {aside}")
    return tuple(notices)


def accept(paths: StatePaths, request: Request) -> None:
    """Move a request that was carried out to `accepted/`, durably. Doing it twice is harmless.

    Raises StoreError or StoreFull."""
    source, goal = _file(paths.requests, request), _file(paths.accepted, request)
    with mapped("move the request to", goal):
        try:
            source.rename(goal)
        except FileNotFoundError:
            if not goal.exists():
                raise
        sync_folder(paths.accepted)
        sync_folder(paths.requests)


def accepted(paths: StatePaths) -> tuple[Request, ...]:
    """Requests that were carried out, oldest first; damaged files are skipped."""
    return _in_order(_readable(paths.accepted)[0])


def _file(folder: Path, request: Request) -> Path:
    return folder / f"{request.id}{_SUFFIX}"


def _in_order(requests: list[Request]) -> tuple[Request, ...]:
    return tuple(sorted(requests, key=lambda request: (request.at, request.id)))


def _readable(folder: Path) -> tuple[list[Request], list[tuple[Path, str]]]:
    """The requests in a folder, and the files that are none with the reason."""
    good: list[Request] = []
    bad: list[tuple[Path, str]] = []
    for name in _names(folder):
        path = folder / name
        try:
            good.append(_read(path))
        except FileNotFoundError:
            continue  # the loop has just moved it
        except RecordDamaged as error:
            bad.append((path, str(error)))
        except OSError as error:
            bad.append((path, error.strerror or str(error)))
    return good, bad


def _names(folder: Path) -> list[str]:
    with mapped("read", folder):
        try:
            return sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX) and not name.startswith("."))
        except FileNotFoundError:
            return []


def _read(path: Path) -> Request:
    with path.open("rb") as file:
        data = file.read(_SIZE_MAX_BYTES + 1)
    if len(data) > _SIZE_MAX_BYTES:
        raise RecordDamaged("too large for a request")
    try:
        request = REQUEST.read(parse_json(data.decode()))
    except UnicodeDecodeError as error:
        raise RecordDamaged("not UTF-8") from error
    if f"{request.id}{_SUFFIX}" != path.name:
        raise RecordDamaged(f"it says that it is {request.id}")
    return request
