"""What users, colleagues and machines do while jobs run: the acts that a random campaign strings together."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.sim.machine import COLLEAGUE, SOCKETS, Process
from tests.sim.scenarios import Happening

if TYPE_CHECKING:
    from tests.sim.run import Run

DAY_S = 86_400.0


def _pick(run: Run, *roles: str) -> Process | None:
    found = [process for process in run.machine.procs.values() if process.role in roles]
    return run.machine.rng.choice(found) if found else None


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
    screen = _pick(run, "screen")
    if screen is not None:
        run.machine.end(screen, 137)


def _remove_socket(run: Run) -> None:
    """A cleaner of temporary files."""
    sockets = list(run.machine.disk.children[SOCKETS])
    if sockets:
        run.machine.disk.unlink(run.machine.rng.choice(sockets))


def _kill_payload(run: Run) -> None:
    """The kernel's OOM killer."""
    payload = _pick(run, "payload", "grandchild")
    if payload is not None:
        run.machine.end(payload, 137)


def _kill_shim(run: Run) -> None:
    shim = _pick(run, "shim")
    if shim is not None:
        run.machine.end(shim, 137)


def _kill_loops(run: Run) -> None:
    for daemon in run.daemons:
        daemon.world = None


def _lose_ledger(run: Run) -> None:
    run.lose_ledger()


def _remove_folder(run: Run) -> None:
    """`rm -r` of an attempt folder."""
    disk = run.machine.disk
    claims = [path for path in disk.entries if path.endswith("/claim")]
    if claims:
        folder = run.machine.rng.choice(claims).rpartition("/")[0]
        for path in list(disk.children[folder]):
            disk.unlink(path)
        disk.unlink(folder)


def _full(run: Run) -> None:
    run.machine.disk.full = True


def _room(run: Run) -> None:
    run.machine.disk.full = False


def _colleague(run: Run) -> None:
    if run.machine.gpus:
        gpu = run.machine.rng.choice(run.machine.gpus)
        run.machine.spawn("foreign", uid=COLLEAGUE, name=b"python", gpus={gpu.uuid: 30_000})


def _colleagues_leave(run: Run) -> None:
    run.colleagues_leave()


def _lose_gpu(run: Run) -> None:
    if run.machine.gpus:
        run.machine.gpus[0].lost = True


def _mend_gpus(run: Run) -> None:
    for gpu in run.machine.gpus:
        gpu.lost = False


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
AMENDS = ("room", "colleagues-leave", "mend-gpus", "unrename-specs")
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
