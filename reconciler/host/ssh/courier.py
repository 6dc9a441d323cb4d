"""Talks to the landing on a host: one question after the other over a connection of its own."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.host import landing
from reconciler.host.ssh import trouble, wire
from reconciler.host.ssh.closers import Closers
from reconciler.host.ssh.lend import connect_over_ssh
from reconciler.model.connection import TroubleKind

if TYPE_CHECKING:
    from types import TracebackType

    from reconciler.host.ssh.connect import Stream

READ_BYTES = 1 << 20
PYTHON = "python3"
PACKAGE = landing.__name__

_LOADER = """\
import sys, types

def package(name):
    made = types.ModuleType(name)
    made.__path__ = []
    sys.modules[name] = made
    return made

parts = PACKAGE.split(".")
for depth in range(1, len(parts) + 1):
    holder = package(".".join(parts[:depth]))
for name, source in MODULES:
    module = types.ModuleType(PACKAGE + "." + name)
    sys.modules[module.__name__] = module
    setattr(holder, name, module)
    exec(compile(source, module.__name__, "exec"), module.__dict__)
holder.serve.main()
"""


class NotDone(Exception):
    """The host could not do it. `kind` as the landing says it; `facts` are what else it told."""

    def __init__(self, message: str, kind: str, facts: dict[str, Any]) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


class Courier:
    """Everything that was begun and not completed is undone there when the connection ends."""

    def __init__(self, host: str, python: str = PYTHON) -> None:
        self._host = host
        self._python = python
        self._closers = Closers()
        self._unpacker = wire.Unpacker()
        self._stream: Stream | None = None

    def __enter__(self) -> Courier:
        """Connect, and begin there. Raises SshTrouble."""
        try:
            self._begin()
        except BaseException:
            self._closers.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closers.close()

    def ask(self, op: str, blob: bytes = b"", **fields: Any) -> dict[str, Any]:
        """The answer. Raises NotDone, or SshTrouble when the connection breaks."""
        assert self._stream is not None
        try:
            self._stream.write(b"".join(wire.pack({"op": op, **fields}, blob)))
        except OSError:
            raise trouble.broken(self._host, *self._stream.ending()) from None
        while not (frames := self._unpacker.feed(self._more())):
            continue
        answer, _ = frames[0]
        if "error" in answer:
            raise NotDone(str(answer["error"]), str(answer.get("kind", "failed")), answer)
        return answer

    def _begin(self) -> None:
        connection = connect_over_ssh(self._host, self._closers)
        self._stream = connection.open(f"{self._python} -I -c '{wire.BOOTSTRAP}'")
        self._closers.add(self._stream.close)
        greeting = wire.Greeting()
        with contextlib.suppress(OSError):  # it has ended: what it said first tells why
            self._stream.write(wire.ship(landing_source()))
        while (found := greeting.feed(self._more(greeting))) is None:
            if greeting.too_much:
                raise trouble.noisy(self._host, greeting.noise, wire.NOISE_MAX_BYTES)
        self._unpacker.feed(found[1])

    def _more(self, greeting: wire.Greeting | None = None) -> bytes:
        assert self._stream is not None
        data = self._stream.read(READ_BYTES)
        if data:
            return data
        if greeting is not None:
            raise self._not_begun(trouble.no_agent(self._host, *self._stream.ending(), greeting.noise))
        raise trouble.broken(self._host, *self._stream.ending())

    def _not_begun(self, why: trouble.SshTrouble) -> trouble.SshTrouble:
        """Where it is the named Python that is not there, another one may be."""
        if self._python == PYTHON or why.trouble.kind is not TroubleKind.NO_PYTHON:
            return why
        mend = f"name one that is there, or none: exq push {self._host}"
        return trouble.trouble(
            TroubleKind.NO_PYTHON, f"{self._python} on {self._host} is not there, or cannot be run", mend
        )


def landing_source() -> bytes:
    """All of it as one source, in which its modules have the names that they have here."""
    folder = Path(landing.__file__).parent
    modules = [(name, (folder / f"{name}.py").read_text(encoding="utf-8")) for name in landing.MODULES]
    return f"PACKAGE = {PACKAGE!r}\nMODULES = {modules!r}\n{_LOADER}".encode()
