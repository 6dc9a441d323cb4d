"""How the loop last stood with each host, for the verbs that have just made a connection and know no history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.model.facts import HostView, Observed
from reconciler.store.atomic import write_atomic
from reconciler.store.paths import StatePaths
from reconciler.store.records import RecordDamaged, Shape, parse_json, to_json


@dataclass(frozen=True, slots=True)
class Seen:
    """Since when a host answers, or does not. Times are seconds since the epoch."""

    reachable: bool
    since: float
    last_answer_at: float | None = None
    """The last one before it fell silent; None while it answers."""
    told_to: str = ""
    """The ledger that knows all attempts there were on the host. Where it was lost, the host alone can tell of them."""


_SEEN = Shape(Seen)


def seen_now(observed: Observed, before: Mapping[str, Seen], now: float) -> Mapping[str, Seen]:
    """What is new in a look; the same object as `before` when nothing is. A host of no news keeps its entry."""
    seen = dict(before)
    for host, view in observed.hosts.items():
        reachable = isinstance(view, HostView)
        known = before.get(host)
        if (known is not None and known.reachable is reachable) or (not reachable and _is_quiet(view)):
            continue
        told_to = known.told_to if known is not None else ""
        seen[host] = Seen(reachable, now, None if reachable else getattr(view, "since", None), told_to)
    return seen if seen != before else before


def with_told(before: Mapping[str, Seen], hosts: Iterable[str], ledger: str) -> Mapping[str, Seen]:
    """Note that hosts have told a ledger of all their attempts; an empty one: that what they have was given up."""
    marked = {host: replace(before[host], told_to=ledger) for host in hosts if host in before}
    seen = {**before, **marked}
    return seen if seen != before else before


def _is_quiet(view: object) -> bool:
    return bool(getattr(view, "quiet", False))


def write_seen(paths: StatePaths, seen: Mapping[str, Seen]) -> None:
    """Keep it. Raises StoreError or StoreFull."""
    write_atomic(paths.seen, to_json({host: _SEEN.write(each) for host, each in seen.items()}).encode())


def read_seen(paths: StatePaths) -> Mapping[str, Seen]:
    """What the loop kept; nothing where there is none or it cannot be read: it is a help, and no fact."""
    try:
        found = parse_json(paths.seen.read_bytes().decode())
        return {str(host): _SEEN.read(each) for host, each in found.items()} if isinstance(found, dict) else {}
    except (OSError, UnicodeDecodeError, RecordDamaged):
        return {}
