"""Some jobs of a snapshot, for those who want to see only these. Nothing is planned anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.cli.resolve import resolve_target
from reconciler.cli.wishes import names_of
from reconciler.model.enums import JobStatus
from reconciler.model.plan import JobState, PhaseState
from reconciler.model.snapshot import Snapshot


def narrowed(snapshot: Snapshot, words: Sequence[str]) -> Snapshot:
    """The same look with only the jobs that `words` name: jobs, patterns or projects. Without words, all.

    Raises `CliError` for a name that is unknown or ambiguous."""
    if not words:
        return snapshot
    names = names_of(snapshot)
    targets = [resolve_target(word, names) for word in words]
    keys = {key for target in targets for key in target.jobs}
    named = {key.partition("/")[0] for key in keys} | {target.project for target in targets if target.project}
    plan = snapshot.plan
    states = {key: state for key, state in plan.states.items() if key in keys}
    counted = [_recounted(phase, states) for phase in plan.phases if phase.project in named]
    whole = {target.project for target in targets}
    shown = replace(
        plan,
        states=states,
        actions=tuple(action for action in plan.actions if action.job in keys),
        transfers=tuple(transfer for transfer in plan.transfers if transfer.job in keys),
        phases=tuple(phase for phase in counted if phase.counts or phase.project in whole),
    )
    requests = tuple(r for r in snapshot.requests if r.target in keys or r.target in named)
    return replace(snapshot, plan=shown, requests=requests)


def _recounted(phase: PhaseState, states: dict[str, JobState]) -> PhaseState:
    counts: dict[JobStatus, int] = {}
    for state in states.values():
        if (state.project, state.phase) == (phase.project, phase.phase):
            counts[state.status] = counts.get(state.status, 0) + 1
    return replace(phase, counts=counts)
