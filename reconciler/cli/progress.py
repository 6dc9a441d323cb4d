"""What `exq run` prints: the plan, a line an action, and in the end what became of it. As text or as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reconciler.cli.context import say
from reconciler.cli.output import json_text
from reconciler.model.enums import ActionKind
from reconciler.model.facts import HostView
from reconciler.model.snapshot import Snapshot

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.loop import Done
    from reconciler.model.spec import Desired
    from reconciler.view.style import Style

PROGRESS_EVERY_S = 2.0
"""How often, at most, the line of counts is printed."""

_SETTLING = frozenset({ActionKind.COMPLETE, ActionKind.FAIL, ActionKind.REQUEUE})


class TextProgress:
    """For people, line by line: it reads as well in a file as on a terminal."""

    def __init__(self, style: Style, *, quiet: bool) -> None:
        self._style = style
        self._quiet = quiet
        self._alerts: set[str] = set()
        self._failures: set[str] = set()
        self._silent: set[str] = set()
        self._specs: Desired | None = None
        self._progress_at = float("-inf")

    def plan(self, snapshot: Snapshot) -> None:
        """The plan as `exq diff` prints it, mistakes in the specs with it."""
        from reconciler.view import look
        from reconciler.view.diff import render_diff

        self._specs = snapshot.desired
        if self._quiet:
            for error in snapshot.desired.errors:
                say(str(error))
        else:
            self._alerts = set(look.alerts_of(snapshot))
            print(render_diff(snapshot, self._style), flush=True)

    def tick(self, snapshot: Snapshot, done: Sequence[Done]) -> None:
        """What was done, and what is newly wrong."""
        from reconciler.view.tick import render_tick

        self._say_specs(snapshot)
        self._say_hosts(snapshot)
        self._say_wrong(snapshot, done)
        if self._quiet or not done:
            return
        print(render_tick(snapshot, [item.action for item in done if item.ok], self._style), end="", flush=True)
        settled = any(item.action.kind in _SETTLING for item in done)
        if settled and snapshot.now - self._progress_at >= PROGRESS_EVERY_S:
            self._print_counts(snapshot)

    def _print_counts(self, snapshot: Snapshot) -> None:
        from reconciler.view.tick import render_progress_line

        self._progress_at = snapshot.now
        for line in render_progress_line(snapshot).splitlines():
            print(f"    {self._style.dim(line)}", flush=True)

    def _say_specs(self, snapshot: Snapshot) -> None:
        """What changed in the specs since the last tick; quietly, only what does not load any more."""
        from reconciler.view.spec_news import spec_news
        from reconciler.view.times import clock

        before, self._specs = self._specs, snapshot.desired
        if before is None or before is snapshot.desired:
            return
        news = spec_news(before, snapshot.desired)
        for item in news:
            if not self._quiet:
                print(f"{self._style.dim(clock(snapshot.now, snapshot.now))}  {item.text}", flush=True)
            elif item.broken:
                say(item.text)
        broken = {item.path for item in news if item.broken}
        for error in snapshot.desired.errors:
            if error not in before.errors and error.path not in broken:
                say(str(error))

    def _say_hosts(self, snapshot: Snapshot) -> None:
        """Which host has fallen silent, and which answers again."""
        from reconciler.planner.silence import left_words
        from reconciler.view.words import host_once

        for host, view in snapshot.observed.hosts.items():
            if isinstance(view, HostView):
                if host in self._silent:
                    self._silent.remove(host)
                    say(f"{host} answers again")
            elif not view.quiet and host not in self._silent:
                self._silent.add(host)
                say(f"! {host_once(f'{host}: {view.message}')}; {left_words(snapshot.ledger, host)}")

    def _say_wrong(self, snapshot: Snapshot, done: Sequence[Done]) -> None:
        """Each thing that is wrong once, for as long as it stays so. A line of the tick tells of stuck jobs."""
        from reconciler.view import look

        alerts = set(snapshot.plan.alerts if self._quiet else look.alerts_of(snapshot))
        failures = {f"{item.action.kind} {item.action.path} failed: {item.message}" for item in done if not item.ok}
        for text in sorted(alerts - self._alerts) + sorted(failures - self._failures):
            say(f"! {text}")
        self._alerts = alerts
        self._failures |= failures

    def end(self, snapshot: Snapshot, summaries: Sequence[tuple[str, str, str]]) -> None:
        """The summaries as (project, markdown, path), and where every project stands."""
        for _, markdown, path in summaries:
            print(f"\n{markdown.rstrip()}\n\nwritten to {path}", flush=True)
        # after a step that acted, the counts are those from before it
        if not summaries and not self._quiet and not snapshot.plan.actions:
            self._print_counts(snapshot)


class JsonProgress:
    """For programs: one JSON object a line (`exq.run/v1`)."""

    def __init__(self) -> None:
        self._specs: Desired | None = None

    def plan(self, snapshot: Snapshot) -> None:
        from reconciler.view.diff import diff_json

        self._specs = snapshot.desired
        _print_line("plan", plan=diff_json(snapshot))

    def tick(self, snapshot: Snapshot, done: Sequence[Done]) -> None:
        from reconciler.view.spec_news import spec_news

        before, self._specs = self._specs, snapshot.desired
        for news in spec_news(before, snapshot.desired) if before is not None else ():
            _print_line("specs", at=snapshot.now, path=news.path, message=news.text, broken=news.broken)
        for item in done:
            action = item.action
            _print_line(
                "action",
                at=snapshot.now,
                plan_id=snapshot.plan.plan_id,
                action=str(action.kind),
                job=action.job,
                attempt=action.attempt,
                reason=str(action.reason),
                message=item.message or action.message,
                host=action.host,
                gpus=list(action.gpu_indices),
                ok=item.ok,
            )

    def end(self, snapshot: Snapshot, summaries: Sequence[tuple[str, str, str]]) -> None:
        counts: dict[str, int] = {}
        for state in snapshot.plan.states.values():
            counts[str(state.status)] = counts.get(str(state.status), 0) + 1
        written = {project: path for project, _, path in summaries}
        _print_line("end", settled=snapshot.plan.settled, counts=counts, summaries=written)


Progress = TextProgress | JsonProgress


def progress_for(context: Context, *, quiet: bool) -> Progress:
    """How this run reports."""
    from reconciler.cli.output import style_for

    return JsonProgress() if context.json else TextProgress(style_for(context), quiet=quiet)


def _print_line(event: str, **fields: Any) -> None:
    print(json_text({"schema": "exq.run/v1", "event": event, **fields}), flush=True)
