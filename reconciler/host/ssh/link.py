"""A host behind SSH that answers as the agent in this process does, whatever becomes of the connection."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.host import agent
from reconciler.host.reply import Reply
from reconciler.host.ssh import wire
from reconciler.host.ssh.backoff import Backoff, Clock
from reconciler.host.ssh.closers import Closers
from reconciler.host.ssh.lend import Lent, connect_over_ssh
from reconciler.host.ssh.session import Connector, Session
from reconciler.host.ssh.trouble import SshTrouble
from reconciler.model.connection import Condition, LinkState, Trouble, TroubleKind

if TYPE_CHECKING:
    from reconciler.host.ssh.connect import Connection

DEADLINE_S = 30.0
SILENT_LIMIT_S = 8.0
CHECK_INTERVAL_S = 2.0
KEEP_INTERVAL_S = 200.0
"""An agent that hears nothing for 600 s ends."""
LASTED_S = 30.0
"""A connection that lived longer is made anew without waiting."""

Calls = list[Callable[[], None]]


@dataclass(slots=True)
class _Ask:
    number: int
    pieces: list[bytes]
    reply: Reply
    limit_s: float
    deadline: float = 0.0


class SshHost:
    """One host of the user's ssh configuration. No call waits for the network, `handle` apart.

    `settings` go to the agent: `state` (its folder there; None: the usual one), `screen`, `nvidia_smi`, `deadline_s`.
    `on_event` is called from other threads when an attempt has ended there or the condition changed."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        on_event: Callable[[], None] | None = None,
        *,
        connect: Connector = connect_over_ssh,
        clock: Clock | None = None,
        keep: bool = True,
    ) -> None:
        self.name = name
        self._settings = dict(settings or {})
        self._on_event = on_event or (lambda: None)
        self._connect = connect
        self._clock = clock or Clock()
        self._keep = keep
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        # everything below is changed by whoever holds `_changed`
        self._backoff = Backoff(self._clock)
        self._waiting: deque[_Ask] = deque()
        self._asked: dict[int, _Ask] = {}
        self._session: Session | None = None
        self._ready_at: float | None = None
        self._sent_at = 0.0
        self._check_at = 0.0
        self._watcher: threading.Thread | None = None
        self._closed = False
        self._seconds: list[SshHost] = []
        self._state, self._since = LinkState.IDLE, self._clock.now()
        self._trouble: Trouble | None = None
        self._answered_at: float | None = None
        self._hello: dict[str, Any] = {}
        self._is_news = False
        """The condition has changed, and nobody was told yet."""

    def send(self, request: dict[str, Any]) -> Reply:
        """Ask; the answer always comes, as one of kind `unreachable` (nothing was sent) or `lost` (it may or may not
        have been done) where the host gives none.

        In the request, `blob` (bytes) travels as it is, also in the answer, and `deadline_s` is how long an answer may
        take once it is sent: after that the connection is given up."""
        fields = dict(request)
        blob, limit_s = fields.pop("blob", b""), float(fields.pop("deadline_s", DEADLINE_S))
        number, reply = next(self._numbers), Reply()
        try:
            pieces = wire.pack({**fields, "id": number}, blob)
        except (TypeError, ValueError, RecursionError) as error:
            return Reply({"error": f"the request cannot be sent: {error}", "kind": "failed"})
        ask = _Ask(number, pieces, reply, limit_s)
        with self._changed:
            refusal = self._refusal()
            if refusal is None:
                self._take(ask)
        return reply if refusal is None else Reply(refusal)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """As `send`, and wait for the answer. Never raises."""
        answer = self.send(request).wait()
        assert answer is not None, "a reply without a time limit has an answer"
        return answer

    def condition(self) -> Condition:
        """How things stand now."""
        with self._changed:
            wait_s = self._backoff.wait_s() if self._session is None else 0.0
            connection = self._session.connection if self._session is not None else None
            return Condition(
                state=self._state,
                since=self._since,
                trouble=self._trouble,
                last_answer_at=self._answered_at,
                next_try_at=self._clock.now() + wait_s if wait_s > 0 else None,
                round_trip_s=connection.round_trip_s() if connection is not None else None,
                hello=self._hello,
            )

    def open_second(self) -> SshHost:
        """A further agent over the same connection, so that large files never delay what else is asked.

        It answers as this one does, by itself, and ends with this one."""
        second = SshHost(self.name, self._settings, connect=self._lend, clock=self._clock, keep=False)
        with self._changed:
            self._seconds = [other for other in self._seconds if not other._closed]
            self._seconds.append(second)
            closed = self._closed
        if closed:
            second.close()
        return second

    def close(self) -> None:
        """End the connection. Whoever waits gets an answer at once; so does everyone who asks later."""
        with self._changed:
            seconds, self._seconds = self._seconds, []
            self._closed = True
            calls = self._over(self._session, Trouble(TroubleKind.CLOSED, f"the connection to {self.name} was closed"))
            self._become(LinkState.IDLE)
            self._backoff.reset()
            self._changed.notify_all()
        for second in seconds:
            second.close()
        _call(calls)

    # --- called with `_changed` held; what they return is to be called without it

    def _refusal(self) -> dict[str, Any] | None:
        """The answer where nothing can be sent now."""
        if self._closed:
            return self._unreachable(Trouble(TroubleKind.CLOSED, f"the connection to {self.name} was closed"))
        if self._session is None and self._trouble is not None and self._backoff.wait_s() > 0:
            return self._unreachable(self._trouble)
        return None

    def _unreachable(self, why: Trouble) -> dict[str, Any]:
        wait_s = self._backoff.wait_s()
        return {
            "error": str(why),
            "kind": "unreachable",
            "trouble": str(why.kind),
            "last_answer_at": self._answered_at,
            "next_try_at": self._clock.now() + wait_s if wait_s > 0 else None,
        }

    def _take(self, ask: _Ask) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name=f"exq-watch-{self.name}", daemon=True)
            self._watcher.start()
        if self._session is not None and self._ready_at is not None:
            self._pass_on(ask, self._session)
            return
        self._waiting.append(ask)
        if self._session is None:
            self._session = Session(self.name, self._connect, self._start_frame(), self)
            self._become(LinkState.CONNECTING)
            self._session.begin()
            self._changed.notify_all()

    def _start_frame(self) -> dict[str, Any]:
        settings = {key: value for key, value in self._settings.items() if key != "state"}
        return {
            "id": 0,
            "op": "start",
            "wire": agent.VERSION,
            "state": self._settings.get("state"),
            "settings": {**settings, "shim": wire.shim_text(), "helpers": wire.helper_texts()},
        }

    def _pass_on(self, ask: _Ask, session: Session) -> None:
        self._sent_at = self._clock.monotonic()
        ask.deadline = self._sent_at + ask.limit_s
        self._asked[ask.number] = ask
        session.write(ask.pieces)
        ask.pieces = []
        if ask.deadline < self._check_at:
            self._changed.notify_all()

    def _become(self, state: LinkState) -> None:
        if state is not self._state:
            self._state, self._since = state, self._clock.now()
            self._is_news = True

    def _over(self, session: Session | None, why: Trouble) -> Calls:
        """The session has ended, or is to end; its successor comes with the next request."""
        if session is None or session is not self._session:
            return []
        lived_s = 0.0 if self._ready_at is None else self._clock.monotonic() - self._ready_at
        self._session, self._ready_at, self._trouble = None, None, why
        if lived_s > LASTED_S:
            self._backoff.reset()
        else:
            self._backoff.failed()
        self._become(LinkState.UNREACHABLE)
        lost = {"error": f"{why.message}; whether the request was carried out is not known", "kind": "lost"}
        calls: Calls = [session.end]
        calls += [_putting(ask.reply, {**lost, "trouble": str(why.kind)}) for ask in self._asked.values()]
        calls += [_putting(ask.reply, self._unreachable(why)) for ask in self._waiting]
        self._asked.clear()
        self._waiting.clear()
        self._is_news = False
        return [*calls, self._on_event]

    # --- called by the session's threads

    def ready(self, session: Session, hello: dict[str, Any]) -> None:
        """See Owner."""
        with self._changed:
            if session is not self._session:
                return
            self._ready_at = self._clock.monotonic()
            self._answered_at = self._clock.now()
            self._hello, self._trouble = hello, None
            self._become(LinkState.CONNECTED)
            self._is_news = False
            while self._waiting:
                self._pass_on(self._waiting.popleft(), session)
            self._changed.notify_all()
        self._on_event()

    def frame(self, session: Session, message: dict[str, Any], blob: bytes) -> None:
        """See Owner."""
        if "event" not in message:
            number = message.pop("id", None)
            with self._changed:
                ask = self._asked.pop(number, None) if session is self._session and isinstance(number, int) else None
                self._answered_at = self._clock.now()
            if ask is not None:
                ask.reply.put({**message, "blob": blob} if blob else message)
            return
        self._on_event()

    def ended(self, session: Session, why: Trouble) -> None:
        """See Owner."""
        with self._changed:
            calls = self._over(session, why)
        _call(calls)

    # --- the watching thread

    def _watch(self) -> None:
        """Gives up what takes too long."""
        while True:
            with self._changed:
                if self._closed:
                    return
                calls = self._give_up()
                if not calls:
                    wait_s = self._until_check_s()
                    self._check_at = self._clock.monotonic() + wait_s if wait_s is not None else float("inf")
                    self._changed.wait(wait_s)
            _call(calls)

    def _give_up(self) -> Calls:
        session = self._session
        if self._is_news:
            self._is_news = False
            return [self._on_event]
        if session is None:
            return []
        if self._ready_at is None:
            return self._over(session, session.overdue()) if session.remaining_s() <= 0 else []
        now = self._clock.monotonic()
        late = next((ask for ask in self._asked.values() if ask.deadline <= now), None)
        if late is not None:
            message = f"{self.name} gave no answer within {late.limit_s:g} s, so the connection was given up"
            return self._over(session, Trouble(TroubleKind.STUCK, message))
        silent_s = session.connection.silent_s() if session.connection is not None else 0.0
        if silent_s > SILENT_LIMIT_S:
            message = f"nothing came from {self.name} for {silent_s:.0f} s, so the connection was given up"
            return self._over(session, Trouble(TroubleKind.LOST, message))
        if self._keep and now - self._sent_at > KEEP_INTERVAL_S:
            self._sent_at = now
            return [self._keep_alive]
        return []

    def _keep_alive(self) -> None:
        self.send({"op": "hello"})

    def _until_check_s(self) -> float | None:
        if self._session is None:
            return None
        if self._ready_at is None:
            return max(0.0, min(self._session.remaining_s(), CHECK_INTERVAL_S))
        first = min((ask.deadline for ask in self._asked.values()), default=float("inf"))
        return max(0.0, min(first - self._clock.monotonic(), CHECK_INTERVAL_S))

    def _lend(self, _name: str, _closers: Closers) -> Connection:
        """This link's connection, for a second agent; it is made first where there is none. Raises SshTrouble."""
        for _ in range(2):
            with self._changed:
                session = self._session if self._ready_at is not None else None
                if session is not None and session.connection is not None:
                    return Lent(session.connection)
            self.handle({"op": "hello"})
        nothing = Trouble(TroubleKind.LOST, f"there is no connection to {self.name}")
        raise SshTrouble(self.condition().trouble or nothing)


def _putting(reply: Reply, answer: dict[str, Any]) -> Callable[[], None]:
    return lambda: reply.put(answer)


def _call(calls: Calls) -> None:
    for call in calls:
        call()
