"""Where a link has its connection from: made for it, or lent by another link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.host.ssh.closers import Closers

if TYPE_CHECKING:
    from reconciler.host.ssh.connect import Connection, Stream


def connect_over_ssh(name: str, closers: Closers) -> Connection:
    """The library is only loaded when a connection is really made."""
    from reconciler.host.ssh.connect import connect

    return connect(name, closers)


class Lent:
    """A connection that another link watches and closes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self, command: str) -> Stream:
        """See Connection."""
        return self._connection.open(command)

    def round_trip_s(self) -> float | None:
        """See Connection."""
        return self._connection.round_trip_s()

    def silent_s(self) -> float:
        """See Connection."""
        return 0.0

    def close(self) -> None:
        """The lender does that."""
