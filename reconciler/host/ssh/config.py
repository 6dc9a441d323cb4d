"""The way to a host, as the user's own ssh would take it: `ssh -G` knows Include and Match, so it is asked."""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from reconciler.host.ssh.by_hand import config_file, ssh_to
from reconciler.host.ssh.trouble import SshTrouble
from reconciler.model.connection import Trouble, TroubleKind
from reconciler.parse.ssh_config import (
    BadConfig,
    Jump,
    SshOptions,
    check_destination,
    check_host,
    check_user,
    expand,
    parse_jumps,
    parse_options,
)

CONNECT_TIMEOUT_S = 10.0
ASK_TIMEOUT_S = 20.0
JUMPS_MAX = 8


@dataclass(frozen=True, slots=True)
class Target:
    """One SSH server on the way, with all that is needed to enter it. Paths are absolute."""

    name: str
    """As the user wrote it."""
    host: str
    user: str
    port: int = 22
    identity_files: tuple[str, ...] = ()
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    key_agent: str | None = None
    """The socket of the user's key agent."""
    user_known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    host_key_alias: str | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    address_family: str = "any"
    proxy_command: str | None = None
    """Ready to run."""
    via: str | None = None
    """The name of the jump host before it."""

    @property
    def ssh_command(self) -> str:
        """What the user types to enter it by hand."""
        return ssh_to(self.name)

    @property
    def place(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def route(name: str) -> tuple[Target, ...]:
    """The servers from the first to enter up to the host itself. Raises SshTrouble."""
    try:
        check_destination(name)
        return _route(Jump(name), name, ())
    except BadConfig as error:
        message = f"the ssh configuration for {name!r} cannot be used: {error}"
        raise SshTrouble(Trouble(TroubleKind.CONFIG, message)) from error


def _route(stop: Jump, name: str, seen: tuple[Jump, ...]) -> tuple[Target, ...]:
    if stop in seen or len(seen) >= JUMPS_MAX:
        raise BadConfig(f"its ProxyJump leads back to {stop.host}, or over more than {JUMPS_MAX} hosts")
    options = _options(stop)
    target = _target(name, stop, options)
    if options.proxy_jump is None or options.proxy_command is not None:
        return (target,)
    before: tuple[Target, ...] = ()
    for jump in parse_jumps(options.proxy_jump):
        check_host(jump.host)
        hop = replace(_target(jump.host, jump, _options(jump)), proxy_command=None) if before else None
        # The first stop is reached as its own configuration says, the others through the one before.
        before += (replace(hop, via=before[-1].name),) if hop else _route(jump, jump.host, (*seen, stop))
    return (*before, replace(target, via=before[-1].name))


def _options(stop: Jump) -> SshOptions:
    ssh = shutil.which("ssh")
    return parse_options(_ask_ssh(ssh, stop) if ssh else "\n".join(_ask_library(stop)))


def _ask_ssh(ssh: str, stop: Jump) -> str:
    import subprocess

    argv = [ssh, "-G"]
    config = config_file()
    argv += ["-F", config] if config else []
    argv += ["-l", stop.user] if stop.user else []
    argv += ["-p", str(stop.port)] if stop.port else []
    try:
        done = subprocess.run(
            [*argv, "--", stop.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadConfig(f"`ssh -G {stop.host}` took longer than {ASK_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise BadConfig(f"{ssh} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BadConfig(said[0] if said else f"`ssh -G {stop.host}` failed")
    return done.stdout.decode("utf-8", "surrogateescape")


def _ask_library(stop: Jump) -> Iterator[str]:
    """The same lines without an ssh client."""
    import paramiko

    from reconciler.host.ssh.files import SYSTEM_CONFIG, look_up

    config = config_file()
    user, _, host = stop.host.rpartition("@")
    found: dict[str, object] = {"hostname": host, "user": getpass.getuser()}
    try:
        for path in [config] if config else [SYSTEM_CONFIG, os.path.expanduser("~/.ssh/config")]:
            if config or os.path.exists(path):
                found.update(look_up(path, host))
    except (OSError, paramiko.SSHException, ImportError, UnicodeDecodeError) as error:
        raise BadConfig(f"{error}") from None
    given = {"user": stop.user or user, "port": stop.port}
    found.update({key: value for key, value in given.items() if value})
    found.setdefault("identityfile", [f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519")])
    found.setdefault("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    found.setdefault("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
    for key, value in found.items():
        yield from (f"{key} {item}" for item in (value if isinstance(value, list) else [value]))


def _target(name: str, stop: Jump, options: SshOptions) -> Target:
    check_host(options.hostname)
    check_user(options.user)
    if options.proxy_use_fdpass:
        raise BadConfig("ProxyUseFdpass is not supported")
    tokens = _tokens(stop, options)

    def paths(several: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(os.path.abspath(os.path.expanduser(expand(path, tokens, os.environ))) for path in several)

    command = options.proxy_command
    return Target(
        name=name,
        host=options.hostname,
        user=options.user,
        port=options.port,
        identity_files=paths(options.identity_files),
        certificate_files=paths(options.certificate_files),
        identities_only=options.identities_only,
        key_agent=_key_agent(options.identity_agent, tokens),
        user_known_hosts=paths(options.user_known_hosts),
        global_known_hosts=paths(options.global_known_hosts),
        host_key_alias=options.host_key_alias,
        connect_timeout_s=options.connect_timeout_s or CONNECT_TIMEOUT_S,
        address_family=options.address_family,
        proxy_command=None if command is None else expand(command, tokens, {}),
    )


def _key_agent(given: str | None, tokens: dict[str, str]) -> str | None:
    if given is not None and given.lower() == "none":
        return None
    if given is None or given == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if given.startswith("$") and not given.startswith("${"):
        return os.environ.get(given[1:]) or None
    return os.path.expanduser(expand(given, tokens, os.environ))


def _tokens(stop: Jump, options: SshOptions) -> dict[str, str]:
    here = socket.gethostname()
    jump = options.proxy_jump or ""
    parts = (here, options.hostname, str(options.port), options.user, jump)
    return {
        "C": hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest(),
        "d": os.path.expanduser("~"),
        "h": options.hostname,
        "i": str(os.getuid()),
        "j": jump,
        "k": options.host_key_alias or options.hostname,
        "L": here.partition(".")[0],
        "l": here,
        "n": stop.host.rpartition("@")[2],
        "p": str(options.port),
        "r": options.user,
        "u": getpass.getuser(),
    }
