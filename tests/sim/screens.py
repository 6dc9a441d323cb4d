"""GNU screen as it is: late sockets, dead sockets, names that match as prefixes."""

from __future__ import annotations

from tests.sim.machine import SOCKETS, Machine, Process, Script
from tests.sim.shim import Shim, start_shim


def start_screen(machine: Machine, name: str, argv: list[str], environ: dict[bytes, bytes]) -> Process:
    """`screen -c /dev/null -DmS NAME COMMAND...`: the socket comes a little late."""
    sticky = machine.sticky_screens > 0
    machine.sticky_screens -= sticky

    def run(process: Process) -> Script:
        yield machine.rng.choice((0.0, 0.004, 0.026))
        socket = f"{SOCKETS}/{process.pid}.{name}"
        if machine.disk.is_folder(SOCKETS):
            machine.disk.entries.pop(socket, None)
            machine.disk.create(socket)
        child = start_shim(machine, argv, environ, in_screen=True)
        yield child
        while sticky and child.code not in (74, 75):  # without a payload nothing keeps the terminal open
            yield 1e6
        if socket in machine.disk.entries:
            machine.disk.unlink(socket)
        return 0

    shim = Shim(machine, argv[2:], True)
    command = "\0".join(["SCREEN", "-c", "/dev/null", "-DmS", name, *argv]).encode()
    return machine.spawn(
        "screen", run, name=b"screen", cmdline=command, environ=environ, attempt=shim.attempt, state=shim.state
    )


def user_screen(machine: Machine, name: str) -> Process:
    """A session of the user's own."""

    def run(_process: Process) -> Script:
        while True:
            yield 1e6

    process = machine.spawn("user screen", run, name=b"screen", cmdline=b"SCREEN")
    machine.disk.create(f"{SOCKETS}/{process.pid}.{name}")
    return process


def list_screens(machine: Machine) -> tuple[str, int]:
    """`screen -ls`: its text and its exit code. A socket without its server is listed as dead."""
    if not machine.disk.is_folder(SOCKETS):
        return f"No Sockets found in {SOCKETS}.\n\n", 1
    rows = []
    for path in machine.disk.children[SOCKETS]:
        address = path.rpartition("/")[2]
        server = machine.procs.get(int(address.partition(".")[0]))
        alive = server is not None and server.role.endswith("screen")
        rows.append(f"\t{address}\t(11/23/26 17:47:58)\t({'Detached' if alive else 'Dead ???'})\n")
    if not rows:
        return f"No Sockets found in {SOCKETS}.\n\n", 1
    head = "There is a screen on:" if len(rows) == 1 else "There are screens on:"
    return f"{head}\n{''.join(rows)}{len(rows)} Socket{'s' if len(rows) > 1 else ''} in {SOCKETS}.\n", 0


def quit_screen(machine: Machine, address: str) -> int:
    """`screen -S ADDRESS -X quit`: an exact `pid.name`, else whatever begins like it."""
    names = [path.rpartition("/")[2] for path in machine.disk.children.get(SOCKETS, {})]
    found = [name for name in names if name == address]
    if not found:
        alive = [name for name in names if int(name.partition(".")[0]) in machine.procs]
        found = [name for name in alive if name.startswith(address) or name.partition(".")[2].startswith(address)]
    if len(found) != 1:
        return 1
    server = machine.procs.get(int(found[0].partition(".")[0]))
    if server is None:
        return 1
    check_screen(machine, server)
    machine.end(server, 0)
    machine.disk.unlink(f"{SOCKETS}/{found[0]}")
    return 0


def check_screen(machine: Machine, server: Process) -> None:
    """S5: only a screen of the attempt that is being ended."""
    if machine.acting is None or (server.state, server.attempt) != machine.acting:
        machine.wrong(f"S5: screen {server.pid} ({server.role} of {server.attempt}) was quit for {machine.acting}")
