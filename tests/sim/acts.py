"""What users, colleagues and machines do while jobs run: the acts that a random campaign strings together."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.sim.machine import COLLEAGUE, SOCKETS, Machine, Process
from tests.sim.scenarios import Happening

if TYPE_CHECKING:
    from tests.sim.run import Run

DAY_S = 86_400.0


def _pick(run: Run, *roles: str) -> tuple[Machine, Process] | None:
    machines = run.fleet.machines.values()
    found = [(machine, process) for machine in machines for process in machine.procs.values() if process.role in roles]
    return run.machine.rng.choice(found) if found else None


def _end(run: Run, *roles: str) -> None:
    found = _pick(run, *roles)
    if found is not None:
        found[0].end(found[1], 137)


def _reboot(run: Run) -> None:
    run.reboot(power=False)


def _power(run: Run) -> None:
    run.reboot(power=True)


def _tomorrow(run: Run) -> None:
    run.machine.offset += DAY_S
    run.machine.set_time(0.0)


def _minutes_back(run: Run) -> None:
    """A hung job is taken for one that has just written something until the clock has caught up."""
    run.machine.offset -= 600.0
    run.machine.set_time(0.0)


def _kill_screen(run: Run) -> None:
    """SIGKILL: its socket stays behind, dead."""
    _end(run, "screen")


def _remove_socket(run: Run) -> None:
    """A cleaner of temporary files."""
    disks = [machine.disk for machine in run.fleet.machines.values()]
    sockets = [(disk, path) for disk in disks for path in disk.children[SOCKETS]]
    if sockets:
        disk, path = run.machine.rng.choice(sockets)
        disk.unlink(path)


def _kill_payload(run: Run) -> None:
    """The kernel's OOM killer."""
    _end(run, "payload", "grandchild")


def _kill_shim(run: Run) -> None:
    _end(run, "shim")


def _kill_loops(run: Run) -> None:
    for daemon in run.daemons:
        daemon.world = None


def _lose_ledger(run: Run) -> None:
    run.lose_ledger()


def _remove_folder(run: Run) -> None:
    """`rm -r` of an attempt folder."""
    disks = [machine.disk for machine in run.fleet.machines.values()]
    claims = [(disk, path) for disk in disks for path in disk.entries if path.endswith("/claim")]
    if claims:
        disk, claim = run.machine.rng.choice(claims)
        folder = claim.rpartition("/")[0]
        if len(run.loop_machines) > 1:
            run.machine.ledger_lost = True  # only the folder told the one loop what the other had started
        for path in list(disk.children[folder]):
            disk.unlink(path)
        disk.unlink(folder)


def _full(run: Run) -> None:
    _machine(run).disk.full = True


def _room(run: Run) -> None:
    for machine in run.fleet.machines.values():
        machine.disk.full = False


def _colleague(run: Run) -> None:
    machine = _machine(run)
    if machine.gpus:
        gpu = machine.rng.choice(machine.gpus)
        machine.spawn("foreign", uid=COLLEAGUE, name=b"python", gpus={gpu.uuid: 30_000})


def _colleagues_leave(run: Run) -> None:
    run.colleagues_leave()


def _lose_gpu(run: Run) -> None:
    machine = _machine(run)
    if machine.gpus:
        machine.gpus[0].lost = True


def _mend_gpus(run: Run) -> None:
    for machine in run.fleet.machines.values():
        for gpu in machine.gpus:
            gpu.lost = False


def _machine(run: Run) -> Machine:
    """One of them."""
    machines = list(run.fleet.machines.values())
    return run.machine.rng.choice(machines) if len(machines) > 1 else machines[0]


def _host(run: Run) -> Machine | None:
    """One that no loop runs on."""
    hosts = list(run.fleet.hosts)
    return run.machine.rng.choice(hosts) if hosts else None


def _cut(run: Run) -> None:
    """A host cannot be reached for a while."""
    host = _host(run)
    if host is not None:
        run.fleet.cut[host.name] = run.machine.true + run.machine.rng.choice((5.0, 40.0, 300.0))


def _heal(run: Run) -> None:
    run.fleet.cut.clear()


def _host_power(run: Run) -> None:
    host = _host(run)
    if host is not None:
        run.fleet.reboot(host, power=True)


def _host_reboot(run: Run) -> None:
    host = _host(run)
    if host is not None:
        run.fleet.reboot(host, power=False)


def _host_clock(run: Run) -> None:
    """The clock of a host is set. Where it is set back, what hangs there is left alone until it has caught up."""
    host = _host(run)
    if host is not None:
        host.offset += run.machine.rng.choice((-600.0, DAY_S))
        host.set_time(0.0)


def _delete_specs(run: Run) -> None:
    for name in run.scenario.specs:
        run.delete(name)


def _break_specs(run: Run) -> None:
    for name, text in run.scenario.specs.items():
        run.edit(name, text[: run.machine.rng.randrange(len(text))])


def _revert_specs(run: Run) -> None:
    run.write_specs()


def _rename_specs(run: Run) -> None:
    for name, text in run.scenario.specs.items():
        run.delete(name)
        run.edit(f"renamed-{name}", text)


def _unrename_specs(run: Run) -> None:
    for name in run.scenario.specs:
        run.delete(f"renamed-{name}")
    run.write_specs()


def _edit_specs(run: Run) -> None:
    """Other commands: what has failed is due again, what runs or is completed is left alone."""
    for name, text in run.scenario.specs.items():
        run.edit(name, text.replace("cmd: sim ", "cmd: nice sim "))


def _ask(kind: str) -> Happening:
    def happen(run: Run) -> None:
        jobs = [key for daemon in run.daemons[:1] if daemon.snapshot for key in daemon.snapshot.desired.index]
        if jobs:
            run.request(kind, run.machine.rng.choice(jobs))

    return happen


def _resume_all(run: Run) -> None:
    for daemon in run.daemons[:1]:
        for key in sorted(daemon.database.contents.paused if daemon.database.contents else ()):
            run.request("resume", key)


ACTS: dict[str, Happening] = {
    "reboot": _reboot,
    "power": _power,
    "tomorrow": _tomorrow,
    "minutes-back": _minutes_back,
    "kill-screen": _kill_screen,
    "remove-socket": _remove_socket,
    "kill-payload": _kill_payload,
    "kill-shim": _kill_shim,
    "kill-loops": _kill_loops,
    "lose-ledger": _lose_ledger,
    "remove-folder": _remove_folder,
    "full": _full,
    "room": _room,
    "colleague": _colleague,
    "colleagues-leave": _colleagues_leave,
    "cut": _cut,
    "heal": _heal,
    "host-power": _host_power,
    "host-reboot": _host_reboot,
    "host-clock": _host_clock,
    "lose-gpu": _lose_gpu,
    "mend-gpus": _mend_gpus,
    "delete-specs": _delete_specs,
    "break-specs": _break_specs,
    "revert-specs": _revert_specs,
    "rename-specs": _rename_specs,
    "unrename-specs": _unrename_specs,
    "edit-specs": _edit_specs,
    "stop": _ask("stop"),
    "retry": _ask("retry"),
    "pause": _ask("pause"),
    "resume": _ask("resume"),
}
AMENDS = ("room", "heal", "colleagues-leave", "mend-gpus", "unrename-specs")
"""What ends all that may last, so that a run can converge."""

Act = tuple[float, str]


def random_acts(rng: Random) -> tuple[Act, ...]:
    """A few acts in the first minute."""
    wanted = sorted((round(rng.uniform(0.0, 40.0), 2), rng.choice(sorted(ACTS))) for _ in range(rng.randint(1, 8)))
    return tuple(wanted)


def happenings_of(acts: tuple[Act, ...]) -> tuple[tuple[float, Happening], ...]:
    """As a scenario has them, with amends at the end."""
    last = max(at for at, _ in acts)
    ends = [(last + 5.0, ACTS[name]) for name in AMENDS] + [(last + 6.0, _resume_all), (last + 8.0, _resume_all)]
    return (*((at, ACTS[name]) for at, name in acts), *ends)
