"""Outputs that are to be brought to another place, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reconciler.model.ledger import COLLECTED
from reconciler.model.plan import JobState, Transfer
from reconciler.model.snapshot import Snapshot
from reconciler.view import look
from reconciler.view.style import Heading, Line, Row
from reconciler.view.words import count, some

JOBS_NAMED = 6

Way = tuple[str, str, str]
"""From which host, to which place, and into which folder (empty: where the outputs belong)."""


def transfer_json(transfer: Transfer) -> dict[str, Any]:
    """One of `.transfers[]`; `place` is a host, or `collected`."""
    return {
        "job": transfer.job,
        "attempt": transfer.attempt,
        "source": transfer.source,
        "place": "collected" if transfer.place == COLLECTED else transfer.place,
        "patterns": list(transfer.patterns),
    }


def transfer_lines(snapshot: Snapshot) -> list[Line]:
    """A row for each way that outputs are to take."""
    rows: list[Line] = []
    for (source, place, folder), jobs in _by_way(snapshot.plan.transfers).items():
        named = some([look.short_name(snapshot, job) for job in jobs], JOBS_NAMED)
        goal = f"collect into {folder}: {named}" if place == COLLECTED else named
        way = f"from {source}" if place == COLLECTED else f"from {source} to {place}"
        rows.append(Row(">", (count(len(jobs), "job"), way, goal)))
    return [Heading("outputs to bring"), *rows] if rows else []


def _by_way(transfers: Iterable[Transfer]) -> dict[Way, list[str]]:
    ways: dict[Way, list[str]] = {}
    for transfer in transfers:
        ways.setdefault((transfer.source, transfer.place, transfer.folder), []).append(transfer.job)
    return ways


def jobs_to_bring(transfers: Sequence[Transfer]) -> int:
    """How many jobs have outputs that are to be brought somewhere."""
    return len({transfer.job for transfer in transfers})


def inputs_words(snapshot: Snapshot, state: JobState) -> list[str]:
    """What a job waits for that is on its way: `outputs of t_1, t_2 are brought from a to b`."""
    project = snapshot.desired.projects.get(state.project)
    job = snapshot.desired.index.get(state.job)
    if project is None or job is None:
        return []
    needed = set(project.phase(job.phase).depends_on)
    hosts = look.possible_hosts(snapshot, state.job)
    wanted = [
        transfer
        for transfer in snapshot.plan.transfers
        if transfer.place in hosts
        and _phase_of(snapshot, transfer) in needed
        and transfer.job.startswith(f"{project.name}/")
    ]
    return [
        f"outputs of {some([job.partition('/')[2] for job in jobs], JOBS_NAMED)} are brought from {source} to {place}"
        for (source, place, _), jobs in _by_way(wanted).items()
    ]


def _phase_of(snapshot: Snapshot, transfer: Transfer) -> str:
    job = snapshot.desired.index.get(transfer.job)
    return job.phase if job is not None else ""


def brought_words(snapshot: Snapshot, key: str) -> list[str]:
    """Where the outputs of a job are to go, and where they have been brought."""
    words = []
    for transfer in snapshot.plan.transfers:
        if transfer.job == key and transfer.place == COLLECTED:
            words.append(f"its outputs and log are to be collected from {transfer.source} into {transfer.folder}")
        elif transfer.job == key:
            words.append(f"its outputs are to be brought from {transfer.source} to {transfer.place}")
    project = snapshot.desired.projects.get(key.partition("/")[0])
    for copy in look.record_of(snapshot, key).copies:
        if copy.place != COLLECTED:
            words.append(f"its outputs are on {copy.place}, too ({count(copy.files, 'file')})")
        elif project is not None and project.collect is not None:
            words.append(f"its outputs and log are collected in {project.collect} ({count(copy.files, 'file')})")
    return words
