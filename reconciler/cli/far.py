"""`exq --host HOST VERB ...`: any verb on another machine, over the user's own ssh, as if it were typed there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from reconciler.cli import exits
from reconciler.cli.context import say
from reconciler.cli.far_command import Arrival, Wanted, remote_command
from reconciler.cli.versions import is_newer

if TYPE_CHECKING:
    import subprocess

SSH_FAILED = 255
"""ssh's own failure; exq never exits with it."""
READ_BYTES = 1 << 16
HERE_ONLY = frozenset({"push"})


def run_far(host: str, words: Sequence[str], env: Mapping[str, str]) -> int:
    """Run it there; the exit code is the far one. Raises `CliError` where it could not be begun."""
    _check(host, words)
    _use_ssh_config(env)
    terminal = _terminals(words)
    colored = not terminal and sys.stdout.isatty() and not {"--json", "--color"} & set(words)
    words = [*words, "--color", "always"] if colored else words
    wanted = Wanted(words, _specs_there(host, env), terminal, host, merged=not terminal and _one_way())
    arrival = Arrival()
    code = _carry(_ssh(host, wanted, arrival), arrival)
    if not arrival.seen:
        raise _not_begun(host, code)
    if arrival.version is None:
        raise exits.CliError(f"exq is not installed on {host}", f"exq push {host}")
    if arrival.broken:
        words = f"exq on {host} is broken: its Python is gone, or is another one by now"
        raise exits.CliError(words, f"exq push {host} installs it anew")
    _say_skew(host, arrival.version)
    if code == SSH_FAILED:
        raise exits.CliError(f"the connection to {host} broke; whether the verb was carried out is not known", "", code)
    return code


def _check(host: str, words: Sequence[str]) -> None:
    from reconciler.parse.ssh_config import BadConfig, check_destination

    try:
        check_destination(host)
    except BadConfig as error:
        raise exits.CliError(f"--host: {error}", "name it as in ~/.ssh/config", exits.USAGE) from None
    verb = next((word for word in words if word in HERE_ONLY), None)
    if words[:1] == [verb]:
        raise exits.CliError(f"`exq {verb}` is typed without --host", f"exq {verb} {host}", exits.USAGE)


def _use_ssh_config(env: Mapping[str, str]) -> None:
    """The one that the exq.yaml of this place names, as for the hosts in its specs."""
    from reconciler.cli.context import Context, local_specs, state_folder
    from reconciler.host.ssh.by_hand import use_config

    place = Context(local_specs(env), state_folder(None, env), json=False, color=False, env=env)
    use_config(place.settings().ssh_config)


def _specs_there(host: str, env: Mapping[str, str]) -> str:
    """Where the specs folder of this place was pushed to; empty: what was pushed there last."""
    from reconciler.cli.context import local_specs
    from reconciler.cli.push.pushes import pushed_to

    found = pushed_to(host, local_specs(env), env)
    return found.specs if found is not None else ""


def _terminals(words: Sequence[str]) -> bool:
    return "--json" not in words and all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _one_way() -> bool:
    """Data and messages go into the same file or pipe, where one would overtake the other."""
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:  # one of them is closed
        return False


def _ssh(host: str, wanted: Wanted, arrival: Arrival) -> subprocess.Popen[bytes]:
    import subprocess

    from reconciler.host.ssh.by_hand import ssh_argv

    # a command of the user's configuration would stand in the way of ours
    options = ["-o", "LogLevel=ERROR", "-o", "RemoteCommand=none", "-tt" if wanted.terminal else "-T"]
    argv = [*ssh_argv(host, *options), remote_command(wanted, arrival.mark)]
    sys.stdout.flush()
    try:
        # the open pipe is a life line: when this process ends, however it ends, the far verb is ended too
        return subprocess.Popen(argv, stdin=None if wanted.terminal else subprocess.PIPE, stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise exits.CliError("there is no program 'ssh'", "install OpenSSH's client") from None
    except OSError as error:
        raise exits.CliError(f"ssh cannot be run: {error.strerror}", "shorten the command line") from None


def _carry(ssh: subprocess.Popen[bytes], arrival: Arrival) -> int:
    """Pass on what the verb prints, and nothing of what login files print before it."""
    assert ssh.stdout is not None
    try:
        while data := _read(ssh.stdout):
            _write(arrival.feed(data))
        return ssh.wait()
    finally:
        _end(ssh)


def _read(stream: IO[bytes]) -> bytes:
    return os.read(stream.fileno(), READ_BYTES)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def _end(ssh: subprocess.Popen[bytes]) -> None:
    """Nobody reads any more, or Ctrl-C: the far side hears of it through its standard input."""
    for stream in (ssh.stdin, ssh.stdout):
        if stream is not None:
            stream.close()
    if ssh.poll() is None:
        ssh.terminate()
        ssh.wait()


def _not_begun(host: str, code: int) -> exits.CliError:
    """ssh has said its own words on stderr; what mends it is told in ours."""
    from reconciler.host.ssh.by_hand import ssh_to

    if code != SSH_FAILED:
        return exits.CliError(
            f"{host} did not run the command (exit code {code})", f"try it by hand: {ssh_to(host)} true", exits.PROBLEM
        )
    from reconciler.host.ssh.closers import Closers
    from reconciler.host.ssh.lend import connect_over_ssh
    from reconciler.host.ssh.trouble import SshTrouble

    closers = Closers()
    try:
        connect_over_ssh(host, closers)
    except SshTrouble as error:
        return exits.CliError(error.trouble.message, error.trouble.mend, SSH_FAILED)
    finally:
        closers.close()
    return exits.CliError(f"ssh did not reach {host}", f"try it by hand: {ssh_to(host)} true", SSH_FAILED)


def _say_skew(host: str, there: str) -> None:
    from reconciler import __version__ as here

    if there == here or not there:
        return
    if is_newer(there, here):
        say(f"exq: {host} has exq {there}, this is the older {here}: upgrade this one, as it was installed")
    else:
        say(f"exq: {host} has exq {there}, this is {here}; exq push {host} upgrades it")


@dataclass(frozen=True, slots=True)
class Taken:
    """A command line without its `--host`."""

    host: str | None
    words: list[str]


def take_host(words: Sequence[str]) -> Taken:
    """`--host HOST` from before or after the verb. Raises `CliError` when its value is missing."""
    kept: list[str] = []
    host = None
    rest = iter(words)
    for word in rest:
        if word == "--":
            return Taken(host, [*kept, word, *rest])
        if word == "--host" or word.startswith("--host="):
            host = word.partition("=")[2] if "=" in word else next(rest, "")
            if not host:
                raise exits.CliError("--host needs the name of a host", "exq --host HOST status", exits.USAGE)
        else:
            kept.append(word)
    return Taken(host, kept)
