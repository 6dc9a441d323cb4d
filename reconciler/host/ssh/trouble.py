"""Failures of a connection as sentences, each with what mends it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from reconciler.host.ssh.by_hand import config_shown, ssh_to, ssh_words
from reconciler.host.ssh.known import Judgement, KnownKey, Standing, fingerprint, known_name
from reconciler.model.connection import Trouble, TroubleKind
from reconciler.parse.fields import one_line

if TYPE_CHECKING:
    from reconciler.host.ssh.config import Target

_NOT_FOUND_EXIT = 127
_NOT_RUNNABLE_EXIT = 126
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
_SSH_PORT = 22
OLD_PYTHON = "EXQ-OLD-PYTHON"
"""Printed by the bootstrap, with the version, where Python cannot run the agent."""


class SshTrouble(Exception):
    """A connection did not come about or broke."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def trouble(kind: TroubleKind, message: str, mend: str = "") -> SshTrouble:
    """Ready to be raised."""
    return SshTrouble(Trouble(kind, message, mend))


def _who(target: Target) -> str:
    """The host as the user knows it, and where it is."""
    where = target.place if target.port != _SSH_PORT else target.host
    name = target.name if where in (target.name, target.name.rpartition("@")[2]) else f"{target.name} ({where})"
    return f"{name} through {target.via}" if target.via else name


def no_address(target: Target, error: socket.gaierror) -> SshTrouble:
    """The name was not found."""
    reason = (error.strerror or str(error)).rstrip(".").lower()
    whose = "" if target.host == target.name.rpartition("@")[2] else f" of host {target.name}"
    ask = f"{ssh_words()} -G {quote(target.name)} | grep hostname"
    return trouble(
        TroubleKind.NAME,
        f"the name {target.host}{whose} has no address ({reason})",
        f"check the name, or give it a HostName in {config_shown()}: `{ask}`",
    )


def no_connection(target: Target, error: OSError) -> SshTrouble:
    """TCP did not come about."""
    who, by_hand = _who(target), f"try it by hand: `{target.ssh_command} true`"
    if isinstance(error, ConnectionRefusedError):
        return trouble(
            TroubleKind.REFUSED,
            f"{who} refuses connections: no SSH server listens on port {target.port}",
            f"start it there, or correct the port; {by_hand}",
        )
    if isinstance(error, TimeoutError):
        seconds = f"{target.connect_timeout_s:g} s"
        return trouble(TroubleKind.TIMEOUT, f"{who} did not answer within {seconds}", f"is it up? {by_hand}")
    reason = error.strerror or str(error)
    kind = TroubleKind.NO_ROUTE if error.errno in _NO_ROUTE else TroubleKind.LOST
    return trouble(kind, f"{who} cannot be reached: {reason}", f"is the network up? {by_hand}")


def no_passage(target: Target, error: Exception) -> SshTrouble:
    """The jump host does not lead on."""
    refused = "administratively prohibited" in str(error).lower()
    reason = "it forbids forwarding (AllowTcpForwarding)" if refused else one_line(str(error)) or "it gave no answer"
    return trouble(
        TroubleKind.PROXY,
        f"the jump host {target.via} does not lead on to {target.place}: {reason}",
        f"try it by hand: `{target.ssh_command} true`",
    )


def no_proxy(target: Target, said: str) -> SshTrouble:
    """The ProxyCommand ended before a server spoke."""
    return trouble(
        TroubleKind.PROXY,
        f"the ProxyCommand of {target.name} did not lead to an SSH server{_quoted(said)}",
        f"try it by hand: `{target.ssh_command} true`",
    )


def no_ssh(target: Target, error: BaseException | None, received_bytes: int, ended: bool) -> SshTrouble:
    """The handshake failed. `received_bytes`: what the server had sent by then; `ended`: it hung up."""
    who, by_hand = _who(target), f"try it by hand: `{target.ssh_command} true`"
    reason = one_line(str(error)) if error is not None else ""
    if received_bytes == 0 and ended:
        message = f"{who} closed the connection before it said anything"
        mend = f"it may have too many connections, or shut this machine out; {by_hand}"
        return trouble(TroubleKind.SILENT, message, mend)
    if received_bytes == 0:
        message = f"{who} accepts connections, but no SSH server spoke there in time"
        return trouble(TroubleKind.SILENT, message, f"is the machine overloaded, or the port another's? {by_hand}")
    if "banner" in reason or "protocol version" in reason:
        return trouble(TroubleKind.SILENT, f"what listens at {who} is no SSH server", f"correct the port; {by_hand}")
    message = f"{who} and this side did not agree on a connection ({reason or 'it took too long'})"
    return trouble(TroubleKind.PROTOCOL, message, by_hand)


def bad_key(target: Target, judgement: Judgement, kind: str, key: bytes) -> SshTrouble:
    """The server's key is not, or no longer, the known one."""
    offered = f"{kind} {fingerprint(key)}"
    where = judgement.where
    if judgement.standing is Standing.REVOKED and where is not None:
        message = f"{_who(target)} offers the key {offered}, which line {where.line} of {where.file} calls revoked"
        return trouble(TroubleKind.REVOKED_KEY, message, "ask who runs it; nothing was sent")
    if judgement.standing is Standing.CHANGED and where is not None:
        message = (
            f"the key of {_who(target)} has changed: it offers {offered}, line {where.line} of {where.file} has "
            f"{where.kind} {fingerprint(where.key)}, so someone may be listening in between"
        )
        mend = f"if the change is known to be right: `{_forget(target, where)}`, then accept the new key"
        return trouble(TroubleKind.CHANGED_KEY, message, mend)
    message = f"the key of {_who(target)} is not known: it offers {offered}"
    if where is not None:
        message += f" (line {where.line} of {where.file} names an authority; host certificates are not supported)"
    return trouble(TroubleKind.UNKNOWN_KEY, message, f"compare the fingerprint, then: `{_learn(target)}`")


def _forget(target: Target, where: KnownKey) -> str:
    name = known_name(target.host, target.port, target.host_key_alias)
    file = "" if where.file == os.path.expanduser("~/.ssh/known_hosts") else f" -f {quote(where.file)}"
    return f"ssh-keygen -R {quote(name)}{file}"


def _learn(target: Target) -> str:
    """ssh-keyscan where it can reach the server and names it alike; else ssh, which asks."""
    if target.via or target.proxy_command or target.host_key_alias or not target.user_known_hosts:
        return f"{target.ssh_command} true"
    port = "" if target.port == _SSH_PORT else f"-p {target.port} "
    file, home = target.user_known_hosts[0], os.path.expanduser("~/")
    shown = "~/" + quote(file[len(home) :]) if file.startswith(home) else quote(file)
    return f"ssh-keyscan {port}{quote(target.host)} >> {shown}"


def no_entry(target: Target, tried: Sequence[str], locked: Sequence[str], why: str = "") -> SshTrouble:
    """Authentication failed. `locked`: key files with a passphrase that no key agent holds."""
    who = f"{target.user}@{target.name.rpartition('@')[2]}"
    by_hand = f"`{target.ssh_command} true`"
    if locked:
        message = f"{who} lets none of the usable keys in, and {_files(locked)} has a passphrase that is not asked for"
        return trouble(TroubleKind.LOCKED_KEY, message, f"give the key to your agent: `ssh-add {quote(locked[0])}`")
    if why:
        return trouble(TroubleKind.AUTH, f"{who}: {why}", f"try it by hand: {by_hand}")
    if not tried:
        message = f"there is no key to enter {who} with: neither in a key agent nor in {_files(target.identity_files)}"
        return trouble(TroubleKind.AUTH, message, "make one with `ssh-keygen`, then `ssh-copy-id` it there")
    message = f"{who} lets none of the keys in: {', '.join(tried)}"
    return trouble(TroubleKind.AUTH, message, f"is user {target.user} right? Try it by hand: {by_hand}")


def _files(paths: Sequence[str]) -> str:
    return ", ".join(map(short_path, paths)) or "any file"


def short_path(path: str) -> str:
    """A path as a user writes it: `~` is the home folder."""
    home = os.path.expanduser("~/")
    return "~/" + path[len(home) :] if path.startswith(home) else path


def no_session(target: Target, error: Exception) -> SshTrouble:
    """The server is entered, and opens no session."""
    reason = one_line(str(error))
    return trouble(
        TroubleKind.SESSIONS,
        f"{_who(target)} opens no further session on this connection ({reason})",
        "raise MaxSessions in its sshd_config",
    )


def no_agent(name: str, exit_status: int | None, stderr: str, noise: str) -> SshTrouble:
    """The command that starts the agent ended before the agent spoke."""
    said = stderr.strip() or noise.strip()
    if OLD_PYTHON in stderr:
        version = stderr.partition(OLD_PYTHON)[2].split()[:1]
        message = f"python3 on {name} is {version[0] if version else 'too old'}; the agent needs 3.6 or newer"
        return trouble(TroubleKind.OLD_PYTHON, message, "put a newer one first on the PATH of that account")
    if exit_status in (_NOT_FOUND_EXIT, _NOT_RUNNABLE_EXIT):
        return trouble(
            TroubleKind.NO_PYTHON,
            f"there is no python3 to run on {name}{_quoted(said)}",
            f"install it there; `{ssh_to(name)} command -v python3` shows what a login without a terminal finds",
        )
    ended = "was ended" if exit_status in (None, -1) else f"ended with exit code {exit_status}"
    message = f"the agent on {name} {ended} before it answered{_quoted(said, last=True)}"
    return trouble(TroubleKind.AGENT, message, f"try it by hand: `{ssh_to(name)} python3 -V`")


def slow_agent(name: str, limit_s: float, noise: str) -> SshTrouble:
    """Logged in, and nothing of the agent within its time."""
    message = f"{name} let us in, but the agent did not start within {limit_s:g} s{_quoted(noise, last=True)}"
    mend = f"look at what its login files (such as .bashrc) do: `time {ssh_to(name)} true`"
    return trouble(TroubleKind.STARTUP, message, mend)


def noisy(name: str, noise: str, limit_bytes: int) -> SshTrouble:
    """More than a greeting's worth of other output."""
    message = f"{name} prints more than {limit_bytes >> 10} KiB at login{_quoted(noise)}"
    return trouble(TroubleKind.STARTUP, message, "let its login files print only to a terminal")


def garbled(name: str, why: str) -> SshTrouble:
    """What came is not of the agent."""
    message = f"what {name} sends is not what its agent says ({why})"
    return trouble(TroubleKind.PROTOCOL, message, "does a program started by its login files print there?")


def broken(name: str, exit_status: int | None, stderr: str) -> SshTrouble:
    """The connection to a working agent ended."""
    if exit_status in (None, -1):
        return trouble(TroubleKind.LOST, f"the connection to {name} broke{_quoted(stderr, last=True)}")
    message = f"the agent on {name} ended with exit code {exit_status}{_quoted(stderr, last=True)}"
    return trouble(TroubleKind.AGENT, message)


def _quoted(said: str, last: bool = False) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return f": {one_line(lines[-1 if last else 0])}" if lines else ""
