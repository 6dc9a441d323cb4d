"""`exq hosts`: which hosts answer, what they have and what of ours is there; what is wrong with the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from reconciler.model.facts import HostView, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST
from reconciler.view import look
from reconciler.view.look import GpuUse
from reconciler.view.style import Heading, Line, Row, Style, command, table
from reconciler.view.times import clock, mib, short_clock, spoken
from reconciler.view.words import count, ranges, some

JOBS_NAMED = 4
CLOCK_DOUBT_S = 2.0
LITTLE_DISK_MIB = 1024
MIB_PER_GIB = 1024


def render_hosts(snapshot: Snapshot, style: Style, names: Sequence[str]) -> str:
    """A row for each of these hosts; more for one that does not answer: what of ours may be there, what to type."""
    return "\n".join(table(_rows(snapshot, names), style)) + "\n"


def host_lines(snapshot: Snapshot, style: Style) -> list[str]:
    """The same of all hosts, below a heading."""
    return table([Heading("hosts"), *_rows(snapshot, look.hosts_of(snapshot))], style)


def _rows(snapshot: Snapshot, names: Sequence[str]) -> list[Line]:
    rows: list[Line] = []
    for name in names:
        view = snapshot.observed.hosts.get(name) or Unknown("it was not looked at")
        if isinstance(view, HostView):
            words = "; ".join(_told(snapshot, view))
            rows.append(Row("=", (name, _way(view), view.user, words), "green"))
        else:
            first, *further = _silence(snapshot, name, view)
            rows.append(Row("!", (name, "no answer", "", first)))
            rows += [Row(" ", ("", "", "", words)) for words in further]
    return rows


def _way(view: HostView) -> str:
    """How long an answer takes."""
    if view.round_trip_s is None:
        return "this machine"
    return f"{view.round_trip_s * 1000:.{0 if view.round_trip_s >= 0.01 else 1}f} ms"


def _told(snapshot: Snapshot, view: HostView) -> Iterator[str]:
    """What there is to say of a host that answers, a phrase each."""
    uses = look.gpu_uses(snapshot, view.host, look.free_threshold_mib(snapshot))
    if isinstance(uses, Unknown):
        yield f"GPUs not known ({uses.message})"
    elif uses:
        yield _gpus_words(uses)
    shown = {path for use in uses for path in use.ours} if not isinstance(uses, Unknown) else set()
    yield from _jobs_words(look.open_on(snapshot, view.host), shown)
    if isinstance(view.sessions, Unknown):
        yield f"screens not known ({view.sessions.message})"
    yield _disk_words(view)
    if view.booted_at is not None and view.host != LOCAL_HOST:
        yield f"up {spoken(max(0.0, snapshot.now - view.booted_at))}"
    if abs(view.clock_ahead_s) > CLOCK_DOUBT_S:
        way = "ahead" if view.clock_ahead_s > 0 else "behind"
        yield f"its clock is {spoken(abs(view.clock_ahead_s))} {way}"


def _gpus_words(uses: Sequence[GpuUse]) -> str:
    """`8 GPUs, 5 free (3-7): GPU 0 fleet/a 30,112 of 46,068 MiB, GPU 1-2 14,850 MiB by alice pid 27`."""
    free = [use.gpu.index for use in uses if use.free]
    taken = [f"GPU {use.gpu.index} {_user_words(use)}" for use in uses if not use.free]
    head = f"{count(len(uses), 'GPU')}, {len(free)} free"
    head += f" ({ranges(free)})" if free and taken else ""
    return f"{head}: {', '.join(taken)}" if taken else head


def _user_words(use: GpuUse) -> str:
    memory = mib(use.gpu.used_mib)
    if use.gpu.used_mib is not None and use.gpu.total_mib is not None:
        memory = f"{use.gpu.used_mib:,} of {mib(use.gpu.total_mib)}"
    who = ", ".join(path.rpartition("/")[0] for path in use.ours) or use.holders
    return f"{who} ({memory})" if who else f"{memory}, by whom cannot be seen"


def _jobs_words(attempts: Sequence[AttemptRecord], shown: Collection[str]) -> Iterator[str]:
    """How many run; which, where no GPU tells (`shown`: the attempts that one names)."""
    running = [attempt for attempt in attempts if attempt.verdict is None]
    unseen = [attempt.job for attempt in running if attempt.path not in shown]
    ended = [attempt.path for attempt in attempts if attempt.verdict is not None]
    if running:
        yield f"{count(len(running), 'job')} running" + (f" ({some(unseen, JOBS_NAMED)})" if unseen else "")
    if ended:
        yield f"{count(len(ended), 'attempt')} ended and not let go of yet ({some(ended, JOBS_NAMED)})"
    if not attempts:
        yield "no job"


def _disk_words(view: HostView) -> str:
    disk = view.disk
    if isinstance(disk, Unknown):
        return f"disk not known ({disk.message})"
    if not disk.writable:
        return disk.message or "its state folder cannot be written"
    if disk.free_mib < LITTLE_DISK_MIB:
        return f"only {disk.free_mib:,} MiB of disk free"
    return f"{disk.free_mib / MIB_PER_GIB:,.0f} GiB of disk free"


def _silence(snapshot: Snapshot, name: str, view: Unknown) -> Iterator[str]:
    """What there is to say of a host that does not answer: why, since when, and what of ours may be there."""
    yield view.message
    heard = heard_words(snapshot, name)
    if heard:
        yield heard
    attempts = look.open_on(snapshot, name)
    if attempts:
        give_up = command(f"exq forget-host {name}")
        them = "it" if len(attempts) == 1 else "them"
        yield f"may still run there: {some(_started_words(snapshot, attempts), JOBS_NAMED)}; {give_up} gives {them} up"


def heard_words(snapshot: Snapshot, name: str) -> str:
    """`last heard of at 11:58:02 (3 min 9 s ago)`; empty where that is not known."""
    heard = look.heard_at(snapshot, name)
    if heard is None:
        return ""
    return f"last heard of at {clock(heard, snapshot.now)} ({spoken(snapshot.now - heard)} ago)"


def _started_words(snapshot: Snapshot, attempts: Sequence[AttemptRecord]) -> list[str]:
    return [f"{attempt.job} (since {short_clock(attempt.intended_at, snapshot.now)})" for attempt in attempts]
