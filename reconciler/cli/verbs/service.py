"""`exq service`: the loop as a systemd service of this user."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.context import Context, say
from reconciler.cli.daemon import held_by, running_loop
from reconciler.cli.exits import HELD, OK, PROBLEM, USAGE, CliError
from reconciler.cli.output import print_json
from reconciler.cli.systemctl import START_S, Manager, lingers, login_name, user_manager
from reconciler.cli.unit import MARK, UNIT, render_unit, unit_facts, unit_folder

if TYPE_CHECKING:
    from reconciler.store.lock import Holder

EXAMPLES = """\
  exq --specs ~/distill/specs service install    also after an upgrade of exq
  exq service status
  exq service logs -f
  exq service uninstall                          running jobs go on"""

LOG_LINES = 100


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("do", metavar="install|uninstall|status|logs", choices=tuple(_DOING), help="what to do")
    parser.add_argument("-f", "--follow", action="store_true", help="logs: go on as more is printed")
    parser.add_argument("-n", "--lines", metavar="LINES", type=int, default=LOG_LINES, help="logs: default 100")


def run(args: Namespace, context: Context) -> int:
    """Do it. Raises `CliError` where no user manager answers. `status` returns 1 when the service does not run."""
    return _DOING[args.do](args, context)


def _install(_args: Namespace, context: Context) -> int:
    context.require_specs()
    manager = user_manager(context.env)
    specs = Path(os.path.abspath(context.specs))
    unit = unit_folder(context.env) / UNIT
    text = render_unit(specs, context.state, context.env)
    _refuse_foreign(unit)
    _refuse_second_loop(manager, context)
    before = unit_facts(unit.read_text(encoding="utf-8")) if unit.exists() else {}
    _write(unit, text)
    manager.tell("daemon-reload")
    manager.ask("reset-failed", UNIT)
    manager.tell("enable", UNIT)
    manager.tell("restart", UNIT, timeout_s=START_S)
    if before and before.get("specs") != str(specs):
        say(f"the service kept to {before.get('specs')} before")
    return _status(_args, context)


def _refuse_foreign(unit: Path) -> None:
    if unit.exists() and MARK not in unit.read_text(encoding="utf-8", errors="replace"):
        raise CliError(
            f"{unit} is not one of exq's unit files, and is not replaced", f"move it away: mv {unit} {unit}.old"
        )


def _refuse_second_loop(manager: Manager, context: Context) -> None:
    """A loop that somebody started by hand would keep the service from beginning."""
    from reconciler.store.lock import holder
    from reconciler.store.paths import StatePaths

    found: Holder | None = holder(StatePaths(context.state))
    if found is None or str(found.pid) == manager.facts().get("MainPID"):
        return
    hint = f"end it first, jobs go on: kill {found.pid}" if found.pid else "try again in a moment"
    raise CliError(str(held_by(context, found)), hint, HELD)


def _write(unit: Path, text: str) -> None:
    unit.parent.mkdir(parents=True, exist_ok=True)
    fresh = unit.with_name(f".{UNIT}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.rename(unit)


def _uninstall(_args: Namespace, context: Context) -> int:
    manager = user_manager(context.env)
    unit = unit_folder(context.env) / UNIT
    if not unit.exists():
        say(f"there is no {unit}: nothing is installed")
        return OK
    _refuse_foreign(unit)
    manager.tell("disable", "--now", UNIT, timeout_s=START_S)
    unit.unlink()
    manager.tell("daemon-reload")
    manager.ask("reset-failed", UNIT)
    if context.json:
        print_json({"schema": "exq.service/v1", "installed": False, "unit": str(unit)})
    else:
        print(f"the service is gone ({unit}); running jobs go on, and the next exq run takes them up again")
    return OK


def _status(_args: Namespace, context: Context) -> int:
    facts = _facts(user_manager(context.env), context)
    if context.json:
        print_json({"schema": "exq.service/v1", **facts})
    else:
        _print_status(facts)
    return OK if facts["active"] == "active" else PROBLEM


def _facts(manager: Manager, context: Context) -> dict[str, object]:
    unit = unit_folder(context.env) / UNIT
    known = manager.facts()
    installed = known.get("LoadState") == "loaded"
    text = unit.read_text(encoding="utf-8", errors="replace") if unit.exists() else ""
    folders = unit_facts(text)
    pid = int(known.get("MainPID") or 0) or None
    loop = running_loop(replace(context, state=Path(folders["state"]))) if "state" in folders else None
    return {
        "installed": installed,
        "active": known.get("ActiveState") or None,
        "enabled": known.get("UnitFileState") in ("enabled", "enabled-runtime"),
        "linger": lingers(),
        "pid": pid,
        "since": loop["since"] if loop is not None and loop["pid"] == pid else None,
        "message": known.get("StatusText") or None,
        "result": known.get("Result") or None,
        "restarts": int(known.get("NRestarts") or 0),
        "unit": str(unit),
        "specs": folders.get("specs"),
        "state": folders.get("state"),
    }


def _print_status(facts: dict[str, object]) -> None:
    print(_first_line(facts))
    if not facts["installed"]:
        say("  exq --specs DIR service install")
        return
    for name in ("specs", "state", "unit"):
        if facts[name]:
            print(f"  {name:<6} {facts[name]}")
    if not facts["enabled"]:
        say(f"! it does not start by itself: systemctl --user enable {UNIT}")
    if not facts["linger"]:
        say(
            "! lingering is off: systemd ends your services at your last logout, the jobs with them, and does not start"
        )
        say(
            f"  them with the machine. To turn it on (mostly, no root is needed): loginctl enable-linger {login_name()}"
        )


def _first_line(facts: dict[str, object]) -> str:
    from reconciler.view.times import stamp

    if not facts["installed"]:
        return "no service is installed"
    if facts["active"] != "active":
        times = f", started anew {facts['restarts']} times" if facts["restarts"] else ""
        why = f" ({facts['result']}{times}); exq service logs says why" if facts["active"] == "failed" else ""
        return f"the service is {facts['active']}{why}"
    since = f", since {stamp(facts['since'])}" if isinstance(facts["since"], int | float) else ""
    return f"the service runs (pid {facts['pid']}{since}): {facts['message'] or 'no word from it yet'}"


def _logs(args: Namespace, context: Context) -> int:
    """Hand over to journalctl. Raises `CliError` where there is none."""
    import shutil

    if context.json:
        raise CliError("the log is text", f"journalctl --user -u {UNIT} -o json has it as JSON", USAGE)
    program = shutil.which("journalctl")
    if program is None:
        raise CliError("there is no journalctl on this machine", "exq history says what the loop did")
    unit = unit_folder(context.env) / UNIT
    if not unit.exists():
        say(f"there is no {unit}: no service is installed; the loop of exq run --detach prints to {_loop_log(context)}")
    follow = ["--follow"] if args.follow else []
    os.execve(program, ["journalctl", "--user", f"--unit={UNIT}", f"--lines={args.lines}", *follow], dict(context.env))


def _loop_log(context: Context) -> Path:
    from reconciler.cli.looplog import LOG

    return context.state / LOG


_DOING = {"install": _install, "uninstall": _uninstall, "status": _status, "logs": _logs}
