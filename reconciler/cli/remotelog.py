"""The log of an attempt on another machine, through the agent there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.cli.context import say
from reconciler.cli.exits import CliError
from reconciler.cli.look import PATIENCE_S
from reconciler.host.observe import ask, view_of
from reconciler.host.reply import call
from reconciler.model.facts import AttemptFacts, HostView
from reconciler.model.needs import AttemptNeed, Needs
from reconciler.view.words import host_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.cli.logfile import Piece
    from reconciler.loop import World
    from reconciler.model.ledger import AttemptRecord

BLOCK_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
_SILENT = frozenset({"unreachable", "lost"})


class RemoteLog:
    """See Log. While a log is followed its host may go away and come back; that is said once."""

    def __init__(self, world: World, attempt: AttemptRecord) -> None:
        self._world = world
        self._attempt = attempt
        self._agent = world.agent_for(attempt.host)
        self._is_silent = False
        self.job = attempt.job
        self.number = attempt.number

    def silence(self) -> str | None:
        """Why the host does not answer; None when it does."""
        answer = self._ask(0, 1)
        return str(answer["error"]) if answer.get("kind") in _SILENT else None

    @property
    def place(self) -> str:
        """See Log."""
        return f"on {self._attempt.host}"

    @property
    def where(self) -> dict[str, str | None]:
        """See Log."""
        return {"host": self._attempt.host, "path": None}

    def pieces(self, count: int | None) -> Iterator[Piece]:
        """See Log. Raises `CliError` when the host does not answer."""
        if count is not None:
            yield self._tail(count)
            return
        offset, size = 0, None
        while size is None or offset < size:
            answer = self._answer(offset, BLOCK_BYTES)
            size = int(answer["size"]) if size is None else size
            yield answer["text"].encode(), int(answer["offset"])
            if answer["offset"] == offset:
                return
            offset = int(answer["offset"])

    def _tail(self, count: int) -> Piece:
        wanted = TAIL_BYTES
        while True:
            answer = self._answer(-wanted, wanted)
            text, behind = answer["text"].encode(), int(answer["offset"])
            lines = text.splitlines(keepends=True)
            if int(answer["size"]) <= wanted or len(lines) > count:
                return b"".join(lines[len(lines) - count :] if count < len(lines) else lines), behind
            wanted *= 8

    def read(self, offset: int) -> bytes:
        """See Log. Nothing while the host does not answer."""
        answer = self._ask(offset, BLOCK_BYTES)
        if "error" in answer:
            self._note(answer)
            return b""
        self._is_silent = False
        return str(answer["text"]).encode()

    def ended(self) -> bool:
        """See Log. False while the host does not answer, unless it was given up meanwhile."""
        if self._attempt.verdict is not None:
            return True
        facts = self._facts()
        if facts is None:
            return self._settled_meanwhile()
        died = facts.started is not None and not facts.payload_alive and not facts.shim_alive
        return facts.exited is not None or died

    def ending(self) -> str:
        """See Log."""
        code = self._attempt.exit_code
        facts = self._facts() if code is None and self._attempt.verdict is None else None
        if facts is not None and facts.exited is not None:
            code = facts.exited.code
        return f"exit {code}" if code is not None else "its exit code is not known"

    def _facts(self) -> AttemptFacts | None:
        needs = Needs(attempts=(AttemptNeed(self._attempt.path),), sessions=False, disk=False, strays=False)
        asked = ask(self._agent, self._attempt.host, needs, self._world.clock())
        answer = asked.reply.wait(PATIENCE_S)
        view = view_of(asked, answer, self._world.clock(), None, remote=True) if answer is not None else None
        facts = view.attempts.get(self._attempt.path) if isinstance(view, HostView) else None
        return facts if isinstance(facts, AttemptFacts) else None

    def _settled_meanwhile(self) -> bool:
        self._world.ledger.refresh()
        record = self._world.ledger.ledger().jobs.get(self.job)
        found = next((a for a in record.attempts if a.number == self.number), None) if record is not None else None
        self._attempt = found or self._attempt
        return self._attempt.verdict is not None

    def _ask(self, offset: int, max_bytes: int) -> dict[str, Any]:
        request = {"op": "read_log", "path": self._attempt.path, "offset": offset, "max_bytes": max_bytes}
        return call(self._agent, request, PATIENCE_S)

    def _answer(self, offset: int, max_bytes: int) -> dict[str, Any]:
        answer = self._ask(offset, max_bytes)
        if "error" in answer:
            host = self._attempt.host
            raise CliError(host_once(f"the log of {self.job} is on {host}: {answer['error']}"), f"exq hosts {host}")
        return answer

    def _note(self, answer: dict[str, Any]) -> None:
        if answer.get("kind") not in _SILENT:
            raise CliError(f"the log of {self.job} cannot be read: {answer['error']}")
        if not self._is_silent:
            self._is_silent = True
            say(f"{answer['error']}; waiting for it")
