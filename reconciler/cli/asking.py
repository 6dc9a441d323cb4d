"""What `retry`, `stop`, `pause` and `resume` share: record the requests and say who carries them out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from reconciler.cli.context import Context, say, who
from reconciler.cli.daemon import loop_words, running_loop
from reconciler.cli.exits import OK, PROBLEM
from reconciler.cli.look import look_now
from reconciler.cli.output import print_json
from reconciler.cli.wishes import Refusal, Wishes, wishes
from reconciler.model.enums import RequestKind
from reconciler.model.ledger import Request
from reconciler.view.serving import TO_SERVE_THESE, others_words, serves_others

_MEANING = {
    RequestKind.RETRY: "runs again as soon as there is room",
    RequestKind.STOP: "is ended if it runs, and not run again until it is retried",
    RequestKind.PAUSE: "launches nothing more; what runs goes on",
    RequestKind.RESUME: "may launch again",
}
SHOWN_MAX = 20


def ask(kind: RequestKind, words: Sequence[str], context: Context) -> int:
    """Submit what makes sense and refuse the rest. Returns 1 when something named one by one was refused."""
    wanted = wishes(kind, words, look_now(context))
    requests = submit_all(kind, wanted.targets, context)
    daemon = running_loop(context)
    if context.json:
        print_json(requests_json(requests, wanted.refused, daemon))
    else:
        _print(kind, requests, wanted, daemon)
    return OK if all(item.done for item in wanted.refused) else PROBLEM


def submit_all(kind: RequestKind, targets: Sequence[str], context: Context) -> list[Request]:
    """Record a request for each target."""
    from reconciler.store.paths import StatePaths
    from reconciler.store.requests import submit

    paths = StatePaths(context.state)
    by = who(context.env)
    return [submit(paths, kind, target, by, time.time()) for target in targets]


def _print(kind: RequestKind, requests: Sequence[Request], wanted: Wishes, daemon: Mapping[str, object] | None) -> None:
    for request in requests[:SHOWN_MAX]:
        print(f"{kind} {request.target}: {_MEANING[kind]}")
    if len(requests) > SHOWN_MAX:
        print(f"{kind} {len(requests) - SHOWN_MAX:,} more")
    for item in wanted.refused:
        say(f"exq: {item.target} {item.message}" if not item.done else f"{item.target}: {item.message}")
    if requests:
        say(next_words(daemon))
    elif not wanted.refused:
        say(f"there is nothing to {kind}")


def next_words(daemon: Mapping[str, object] | None) -> str:
    """Who carries a request out, and when."""
    if daemon is None:
        return "no loop is running: it is carried out by the next `exq run`"
    if serves_others(daemon):
        return f"{others_words(daemon)}: {TO_SERVE_THESE}"
    return f"the loop ({loop_words(daemon)}) will carry it out"


def requests_json(
    requests: Sequence[Request], refused: Sequence[Refusal], daemon: Mapping[str, object] | None
) -> dict[str, object]:
    """What was asked for and what was not, for programs."""
    return {
        "schema": "exq.requests/v1",
        "requests": [
            {"id": each.id, "kind": str(each.kind), "target": each.target, "by": each.by} for each in requests
        ],
        "refused": [{"target": item.target, "message": item.message, "done": item.done} for item in refused],
        "daemon": dict(daemon) if daemon is not None else None,
    }
