"""One agent on a host, from the first packet to its end: two threads, one that reads and one that writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.host import agent
from reconciler.host.ssh import trouble, wire
from reconciler.host.ssh.by_hand import ssh_to
from reconciler.host.ssh.closers import Closers
from reconciler.model.connection import Trouble, TroubleKind
from reconciler.parse.fields import one_line

if TYPE_CHECKING:
    from reconciler.host.ssh.connect import Connection, Stream

CONNECT_LIMIT_S = 60.0
START_LIMIT_S = 30.0
READ_BYTES = 1 << 20
WRITE_TOGETHER_BYTES = 1 << 18

Connector = Callable[[str, Closers], "Connection"]


class Owner(Protocol):
    """Who hears of a session, from the session's threads."""

    def ready(self, session: Session, hello: dict[str, Any]) -> None:
        """The agent answers."""

    def frame(self, session: Session, message: dict[str, Any], blob: bytes) -> None:
        """A frame came in."""

    def ended(self, session: Session, why: Trouble) -> None:
        """It is over, whether it was ever ready or not. Called once, last."""


class Session:
    """Connects, starts the agent there, and passes frames on, until it ends or is ended."""

    def __init__(self, name: str, connect: Connector, start: dict[str, Any], owner: Owner) -> None:
        self._name = name
        self._connect = connect
        self._start = start
        self._owner = owner
        self._closers = Closers()
        self._out: SimpleQueue[bytes | None] = SimpleQueue()
        self._began = time.monotonic()
        self._entered: float | None = None
        self._greeting = wire.Greeting()
        self._hung_up = False
        """The other side has ended it: that tells more than what became of sending."""
        self._unsent: Trouble | None = None
        self.connection: Connection | None = None

    def begin(self) -> None:
        """Returns at once; the owner hears what comes of it."""
        threading.Thread(target=self._run, name=f"exq-ssh-{self._name}", daemon=True).start()

    def write(self, pieces: list[bytes]) -> None:
        """Send a frame. Returns at once."""
        for piece in pieces:
            self._out.put(piece)

    def end(self) -> None:
        """End it, from any thread."""
        self._out.put(None)
        self._closers.close()

    def remaining_s(self) -> float:
        """How long it still has to become ready."""
        since, limit_s = (self._began, CONNECT_LIMIT_S) if self._entered is None else (self._entered, START_LIMIT_S)
        return since + limit_s - time.monotonic()

    def overdue(self) -> Trouble:
        """Why it is not ready in time."""
        if self._entered is not None:
            return trouble.slow_agent(self._name, START_LIMIT_S, self._greeting.noise).trouble
        message = f"connecting to {self._name} took longer than {CONNECT_LIMIT_S:g} s"
        return Trouble(TroubleKind.TIMEOUT, message, f"try it by hand: `{ssh_to(self._name)} true`")

    def _run(self) -> None:
        try:
            why = self._live()
        except trouble.SshTrouble as error:
            why = error.trouble
        except wire.WireError as error:
            why = trouble.garbled(self._name, str(error)).trouble
        except Exception as error:  # whatever else a library raises: a host that fails must not stop the loop
            reason = one_line(f"{type(error).__name__}: {error}")
            why = Trouble(TroubleKind.PROTOCOL, f"the connection to {self._name} failed ({reason})")
        self.end()
        self._owner.ended(self, self._unsent or why)

    def _live(self) -> Trouble:
        self.connection = self._connect(self._name, self._closers)
        stream = self.connection.open(wire.COMMAND)
        self._closers.add(stream.close)
        self._entered = time.monotonic()
        self._ship(stream)
        unpacker = wire.Unpacker()
        frames = self._greet(stream, unpacker)
        self._owner.ready(self, _hello(self._name, frames.pop(0)[0]))
        threading.Thread(target=self._write, args=(stream,), name=f"exq-write-{self._name}", daemon=True).start()
        while True:
            for message, blob in frames:
                self._owner.frame(self, message, blob)
            data = stream.read(READ_BYTES)
            if not data:
                self._hung_up = self._unsent is None
                return trouble.broken(self._name, *stream.ending()).trouble
            frames = unpacker.feed(data)

    def _ship(self, stream: Stream) -> None:
        try:
            stream.write(b"".join([wire.shipment(), *wire.pack(self._start)]))
        except OSError:  # the command has ended: what it said first tells why
            return

    def _greet(self, stream: Stream, unpacker: wire.Unpacker) -> list[tuple[dict[str, Any], bytes]]:
        """The first frames, of which there is at least one."""
        while (found := self._greeting.feed(self._more(stream))) is None:
            if self._greeting.too_much:
                raise trouble.noisy(self._name, self._greeting.noise, wire.NOISE_MAX_BYTES)
        version, rest = found
        if version != agent.VERSION:
            raise trouble.garbled(self._name, f"it calls itself version {version}, not {agent.VERSION}")
        frames = unpacker.feed(rest)
        while not frames:
            frames = unpacker.feed(self._more(stream))
        return frames

    def _more(self, stream: Stream) -> bytes:
        data = stream.read(READ_BYTES)
        if not data:
            raise trouble.no_agent(self._name, *stream.ending(), self._greeting.noise)
        return data

    def _write(self, stream: Stream) -> None:
        """Whatever waits goes out together."""
        try:
            while (piece := self._out.get()) is not None:
                pieces, size, last = [piece], len(piece), False
                while size < WRITE_TOGETHER_BYTES:
                    try:
                        further = self._out.get_nowait()
                    except Empty:
                        break
                    if further is None:
                        last = True
                        break
                    pieces.append(further)
                    size += len(further)
                stream.write(piece if len(pieces) == 1 else b"".join(pieces))
                if last:
                    return
        except Exception as error:  # whatever it is: no request must wait for what will never be sent
            if self._hung_up or (isinstance(error, OSError) and not isinstance(error, TimeoutError)):
                return  # it has ended: the one who reads says so
            reason = one_line(f"{type(error).__name__}: {error}")
            self._unsent = Trouble(TroubleKind.LOST, f"nothing more can be sent to {self._name} ({reason})")
            self.end()


def _hello(name: str, message: dict[str, Any]) -> dict[str, Any]:
    if message.get("id") != 0:
        raise wire.WireError("the first frame is no answer to the start")
    if "error" in message:
        kind = TroubleKind.AGENT
        raise trouble.trouble(kind, f"the agent on {name} cannot work there: {one_line(str(message['error']))}")
    return {key: value for key, value in message.items() if key != "id"}
