"""Stands between a client and a host, and lets every byte take its time: delay.py ADDRESS PORT ONE_WAY_S COUNTER.

It prints the port that it listens on. COUNTER is a file with the number of times that the client spoke after the host.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class SlowLine:
    """This program while it runs, on `port`: each way takes `one_way_s`. `enter` goes before its command."""

    def __init__(self, address: str, port: int, one_way_s: float, counter: Path, *, enter: Sequence[str] = ()) -> None:
        self._counter = counter
        counter.write_text("0")
        self._program = subprocess.Popen(
            [*enter, sys.executable, __file__, address, str(port), str(one_way_s), str(counter)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._program.stdout is not None
        self.port = int(self._program.stdout.readline())

    def turns(self) -> int:
        """How often the client has spoken after the host did (or first): each of them costs a round trip."""
        return int(self._counter.read_text())

    def close(self) -> None:
        self._program.kill()
        self._program.wait(timeout=10)
        assert self._program.stdout is not None
        self._program.stdout.close()


class Turns:
    """Counts how often the client speaks after the host has."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._count = 0
        self._last = "host"

    def spoke(self, who: str) -> None:
        if who == "client" and self._last == "host":
            self._count += 1
            os.pwrite(self._file, str(self._count).encode(), 0)
        self._last = who


class Relay:
    """One connection."""

    def __init__(self, one_way_s: float, turns: Turns) -> None:
        self._one_way_s = one_way_s
        self._turns = turns

    async def carry(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one side says, in order, each piece `one_way_s` after it came."""
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = asyncio.get_running_loop().time
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - now()))
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()

        delivery = asyncio.create_task(deliver())
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                self._turns.spoke(who)
                pieces.put_nowait((now() + self._one_way_s, piece))
        pieces.put_nowait((now() + self._one_way_s, b""))
        with suppress(ConnectionError):
            await delivery


async def main(address: str, port: str, one_way_s: str, counter: str) -> None:
    turns = Turns(counter)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host_reader, host_writer = await asyncio.open_connection(address, int(port))
        except OSError:  # the client sees a connection that ends at once
            writer.close()
            return
        both = Relay(float(one_way_s), turns)
        await asyncio.gather(both.carry("client", reader, host_writer), both.carry("host", host_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
