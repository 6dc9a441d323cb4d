"""`exq attach`: the live screen session of a job, in this terminal."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, CliError
from reconciler.cli.look import look_in, looking
from reconciler.cli.output import print_json
from reconciler.cli.resolve import resolve_job
from reconciler.cli.wishes import names_of
from reconciler.model.enums import LauncherKind
from reconciler.model.facts import HostView, Session, SessionState, Unknown
from reconciler.model.ledger import AttemptRecord
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import LOCAL_HOST

EXAMPLES = """\
  exq attach s42_N64         Ctrl-A D leaves it running
  exq attach s42_N64 --json  how to attach by hand"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a running job: project/id, or its id alone")


def run(args: Namespace, context: Context) -> int:
    """Become `screen -r PID.NAME`. Raises `CliError` when the job has no session to attach to."""
    key, host, session = _look(args.job, context)
    # -r refuses a session that is attached elsewhere; -x shares it
    how = "-x" if session.state is SessionState.ATTACHED else "-r"
    command = [context.settings().screen, how, session.address]
    if host is not None:
        command = _over_ssh(host, command)
    if context.json:
        told = {"job": key, "host": host or LOCAL_HOST, "session": session.address, "command": command}
        print_json({"schema": "exq.attach/v1", **told})
        return OK
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CliError("attaching needs a terminal", f"exq logs {key} -f shows its output")
    say(f"{key}: {' '.join(command)} (Ctrl-A D leaves it running)")
    _become(command)
    return OK


def _look(word: str, context: Context) -> tuple[str, str | None, Session]:
    """The job, the other machine that it is on (None: this one), and its session there. Looks at that machine alone."""
    with looking(context) as world:
        snapshot = look_in(world, hosts=())
        key = resolve_job(word, names_of(snapshot))
        record = snapshot.ledger.jobs.get(key)
        host = record.last.host if record is not None and record.last is not None else LOCAL_HOST
        session = session_of(key, look_in(world, hosts=[host]))
        return key, None if world.is_local(host) else host, session


def _over_ssh(host: str, command: list[str]) -> list[str]:
    """What runs a command on another machine, in this terminal."""
    from shlex import quote

    from reconciler.host.ssh.by_hand import ssh_argv

    return [*ssh_argv(host, "-t"), *map(quote, command)]


def session_of(key: str, snapshot: Snapshot) -> Session:
    """The live session of a job's open attempt. Raises `CliError` when it has none."""
    record = snapshot.ledger.jobs.get(key)
    attempt = record.last if record is not None else None
    if attempt is None or attempt.verdict is not None:
        state = snapshot.plan.states.get(key)
        where = f": it is {state.status} ({state.reason})" if state is not None else ""
        hint = f"exq logs {key} shows what it wrote" if attempt is not None else f"exq why {key}"
        raise CliError(f"{key} does not run now{where}", hint)
    if attempt.session is None or attempt.launcher == LauncherKind.PROCESS:
        raise CliError(
            f"{key} runs without a screen session (launcher: process), so there is nothing to attach to",
            f"exq logs {key} -f follows its output",
        )
    return _listed_session(key, attempt, snapshot)


def _listed_session(key: str, attempt: AttemptRecord, snapshot: Snapshot) -> Session:
    view = snapshot.observed.hosts.get(attempt.host)
    silent = view if isinstance(view, Unknown) else Unknown(f"{attempt.host} could not be observed")
    sessions = view.sessions if isinstance(view, HostView) else silent
    if isinstance(sessions, Unknown):
        raise CliError(f"the screen sessions could not be listed: {sessions.message}", f"exq logs {key} -f")
    for session in sessions or ():
        if session.name == attempt.session and session.state is not SessionState.DEAD:
            return session
    raise CliError(f"the screen session of {key} is gone or not there yet", f"exq logs {key} -f follows its output")


def _become(command: list[str]) -> None:
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        hint = "install OpenSSH's client" if command[0] == "ssh" else "install GNU screen, or set SCREEN to it"
        raise CliError(f"there is no program {command[0]!r}", hint) from None
