"""What the attempts of a job ran with, from their folders on whichever host they are, or from what was collected."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.host.destination import collect_folder
from reconciler.host.reply import call
from reconciler.loop.world import World
from reconciler.model.ledger import COLLECTED, AttemptRecord
from reconciler.model.plan import Transfer
from reconciler.model.spec import LOCAL_HOST, Desired

NAMES = ("intent.json", "started.json", "exit.json", "verdict.json", "provenance.json", "environment.json")
PIECE_BYTES = 2 << 20


class Unreadable(Exception):
    """What was asked for is not to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Files:
    """The records of one attempt by file name, each with its time on its host; damaged ones are left out.

    `folder`: where they are on the host, empty where that is not known. `problem`: why there are none, or copies."""

    host: str
    folder: str
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""
    collected: str = ""
    """The folder at home that has copies."""


def files_of(world: World, desired: Desired, key: str, patience_s: float) -> dict[int, Files]:
    """By number, every attempt that the ledger or this machine's folders know."""
    record = world.ledger.ledger().jobs.get(key)
    known = {attempt.number: attempt for attempt in (record.attempts if record else ())}
    hosts = dict.fromkeys([LOCAL_HOST, *(_name(world, attempt.host) for attempt in known.values())])
    found: dict[int, Files] = {}
    for host in hosts:
        answer = call(world.agent_for(host), {"op": "records", "job": key, "names": list(NAMES)}, patience_s)
        if "error" in answer:
            mine = (attempt for attempt in known.values() if _name(world, attempt.host) == host)
            found.update((each.number, _copies(world, desired, each, str(answer["error"]))) for each in mine)
            continue
        for number, texts in answer["records"].items():
            here = known.get(int(number))
            if here is None or _name(world, here.host) == host:
                found[int(number)] = _files(host, f"{answer['folder']}/{number}", texts)
    for number, attempt in known.items():
        found.setdefault(number, Files(attempt.host, "", problem="its folder is not there any more"))
    return dict(sorted(found.items()))


def _name(world: World, host: str) -> str:
    return LOCAL_HOST if world.is_local(host) else host


def _files(host: str, folder: str, texts: Mapping[str, Any]) -> Files:
    records = {name: _object(text) for name, (text, _) in texts.items()}
    kept = {name: record for name, record in records.items() if record is not None}
    return Files(host, folder, kept, {name: float(texts[name][1]) for name in kept})


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _copies(world: World, desired: Desired, attempt: AttemptRecord, why: str) -> Files:
    """What was brought home of an attempt whose host does not answer."""
    project = desired.projects.get(attempt.job.partition("/")[0])
    record = world.ledger.ledger().jobs[attempt.job]
    copied = any(copy.place == COLLECTED and copy.attempt == attempt.number for copy in record.copies)
    if project is None or project.collect is None or not copied:
        return Files(attempt.host, "", problem=why)
    transfer = Transfer(attempt.job, attempt.number, attempt.host, COLLECTED, "", (), project.collect)
    folder = Path(collect_folder(transfer)).expanduser()
    texts = {name: _text(folder, name) for name in ("provenance.json", "environment.json")}
    read = {name: (text, 0.0) for name, text in texts.items() if text is not None}
    files = _files(attempt.host, "", read)
    return Files(attempt.host, "", files.records, problem=why, collected=str(folder))


def _text(folder: Path, name: str) -> str | None:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def patch_of(world: World, files: Files, patience_s: float) -> bytes:
    """The patch of an attempt. Raises Unreadable where it has none, or it cannot be had."""
    code = files.records.get("provenance.json", {}).get("code") or {}
    patch = code.get("patch")
    if not isinstance(patch, dict):
        raise Unreadable(_why_no_patch(files, code))
    if "left_out" in patch:
        raise Unreadable(f"its changes were not kept: {patch['left_out']}")
    if files.collected:
        return (Path(files.collected) / "code.patch").read_bytes()
    path = posixpath.join(files.folder, "code.patch")
    return b"".join(_pieces(world, files.host, path, int(patch.get("bytes", 0)), patience_s))


def _why_no_patch(files: Files, code: Mapping[str, Any]) -> str:
    if code.get("commit"):
        return f"it ran commit {code['commit']} as it is"
    return str(code.get("problem") or files.problem or "what code it ran was not noted")


def _pieces(world: World, host: str, path: str, size: int, patience_s: float) -> Iterable[bytes]:
    at = 0
    while at < size:
        request = {"op": "read_pieces", "pieces": [[path, at, PIECE_BYTES]]}
        answer = call(world.agent_for(host), request, patience_s)
        data = answer.get("blob") or b""
        if "error" in answer or not data:
            raise Unreadable(f"{path} on {host} cannot be read: {answer.get('error', 'it is not there')}")
        at += len(data)
        yield data
