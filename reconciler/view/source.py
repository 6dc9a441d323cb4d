"""Where the specs come from, and how each file was taken: for programs, and in words."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from reconciler.model.snapshot import Snapshot
from reconciler.model.source import SourceState
from reconciler.model.spec import Desired, SpecError, SpecFile
from reconciler.spec.reading import RESERVED
from reconciler.view.times import iso_utc, short_clock, spoken
from reconciler.view.words import count

SHORT = 7


def source_json(source: SourceState | None) -> dict[str, Any]:
    """The source of the specs: `kind` is `folder` or `git`. Times are ISO 8601 UTC."""
    if source is None:
        return {"kind": "folder"}
    return {
        "kind": "git",
        "repository": source.repository,
        "remote": source.remote,
        "ref": source.ref,
        "path": source.path,
        "commit": source.commit,
        "taken_at": iso_utc(source.taken_at),
        "newest": source.newest,
        "behind": source.behind,
        "rewritten": source.rewritten,
        "problem": source.problem or None,
        "next": source.advice or None,
        "interval_s": source.interval_s,
        "fetched_at": iso_utc(source.fetched_at),
    }


def file_json(file: SpecFile) -> dict[str, Any]:
    """How one spec file was taken."""
    return {
        "path": file.path,
        "observed_rev": file.observed_rev or None,
        "last_good_rev": file.last_good_rev or None,
        "broken": file.broken,
        "unsettled": file.unsettled,
    }


def is_settings(path: str) -> bool:
    """This is an exq.yaml, not a spec."""
    return PurePosixPath(path).name in RESERVED


def settings_mistake(desired: Desired) -> SpecError | None:
    """What is wrong in exq.yaml, if anything: then it is not known where the specs come from."""
    wrong = (error for error in desired.errors if not error.warning)
    return next((error for error in wrong if is_settings(error.path)), None)


def source_words(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What `exq source` shows, a heading and a sentence each."""
    source = snapshot.desired.source
    mistake = settings_mistake(snapshot.desired)
    if source is None and mistake is not None:
        return [("source", "not known, so nothing new is asked for"), ("why", str(mistake))]
    if source is None:
        return [("source", "the folder as it is")]
    rows = [
        ("repository", source.repository),
        ("ref", f"{source.ref}, the specs in {source.path or 'its top'}"),
        ("commit", _commit_words(snapshot, source)),
    ]
    if source.remote:
        rows.append(("fetched", _fetch_words(source, snapshot.now)))
    rows.append(("behind", behind_words(source)))
    if source.problem:
        rows.append(("why", source.problem))
    broken = [file for file in snapshot.desired.files if file.broken]
    return rows + [("broken", broken_words(file)) for file in broken]


def broken_words(file: SpecFile) -> str:
    """Which versions of a broken file are there and in force."""
    observed, good = file.observed_rev, file.last_good_rev
    if observed and good and observed != good:
        return f"{file.path} is broken at {observed}; its jobs are those of {good}"
    return f"{file.path} has mistakes: its last version without any stays in force"


def _commit_words(snapshot: Snapshot, source: SourceState) -> str:
    if source.commit is None:
        return "none is in force" if source.rewritten else "none was taken yet"
    named = snapshot.desired.revision
    more = f" ({named})" if not source.commit.startswith(named) else ""
    when = (
        f", taken at {short_clock(source.taken_at, snapshot.now)}"
        if source.taken_at is not None
        else ", not taken by a loop yet"
    )
    return f"{source.commit[:12]}{more}{when}"


def _fetch_words(source: SourceState, now: float) -> str:
    every = f", every {spoken(source.interval_s)}" if source.interval_s is not None else ""
    if source.fetched_at is None:
        return f"never with success{every}"
    return f"{spoken(max(0.0, now - source.fetched_at))} ago{every}"


def behind_words(source: SourceState) -> str:
    """How far the commit in force is behind the repository."""
    if source.behind is None:
        return "not known"
    if not source.behind and not source.rewritten:
        return "no commit: this is the newest" if not source.problem else "no commit that is known of"
    if not source.behind and source.newest:
        return f"`{source.ref}` has nothing newer: it went back to {source.newest[:SHORT]}"
    newest = f" of `{source.ref}`, which is at {source.newest[:SHORT]}" if source.newest else ""
    return f"{count(source.behind, 'commit')}{newest}"
