"""What `ssh -G` prints, as options; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FILE_LIST_GAP = re.compile(r"\s+(?=[/~%$])")
_TOKEN = re.compile(r"%(.)|\$\{(\w+)\}", re.DOTALL)
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>.*)@)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:/@]+))(?::(?P<port>\d{1,5}))?/?\Z")
_UNSAFE_HOST = re.compile(r"[\s'`\"$\\;&<>|(){}!*?#~,/]|[^ -~]")
_UNSAFE_USER = re.compile(r"[\s'`\";&<>|(){}]|[^ -~]|\\\Z")


class BadConfig(Exception):
    """An option that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class SshOptions:
    """The options of one host that matter here, as written: `~`, `%x` and `${X}` still stand in them."""

    hostname: str
    user: str
    port: int = 22
    identity_files: tuple[str, ...] = ()
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None
    """None: not given, so that SSH_AUTH_SOCK is taken."""
    user_known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    host_key_alias: str | None = None
    connect_timeout_s: float | None = None
    address_family: str = "any"
    proxy_command: str | None = None
    proxy_jump: str | None = None
    proxy_use_fdpass: bool = False


@dataclass(frozen=True, slots=True)
class Jump:
    """One stop of a ProxyJump; None: as the configuration of that host says."""

    host: str
    user: str | None = None
    port: int | None = None


def parse_options(text: str) -> SshOptions:
    """The output of `ssh -G`. Raises BadConfig."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if value.strip():
            values.setdefault(key.lower(), []).append(value.strip())
    last = {key: found[0] for key, found in values.items()}
    try:
        return SshOptions(
            hostname=last["hostname"],
            user=last["user"],
            port=_port(last.get("port", "22")),
            identity_files=_several(values, "identityfile"),
            certificate_files=_several(values, "certificatefile"),
            identities_only=last.get("identitiesonly") == "yes",
            identity_agent=last.get("identityagent"),
            user_known_hosts=_file_list(last.get("userknownhostsfile")),
            global_known_hosts=_file_list(last.get("globalknownhostsfile")),
            host_key_alias=_unless_none(last.get("hostkeyalias")),
            connect_timeout_s=_seconds(last.get("connecttimeout")),
            address_family=last.get("addressfamily", "any"),
            proxy_command=_unless_none(last.get("proxycommand")),
            proxy_jump=_unless_none(last.get("proxyjump")),
            proxy_use_fdpass=last.get("proxyusefdpass") == "yes",
        )
    except KeyError as missing:
        raise BadConfig(f"ssh -G printed no {missing.args[0]}") from None


def _several(values: Mapping[str, list[str]], key: str) -> tuple[str, ...]:
    return tuple(value for value in values.get(key, []) if value.lower() != "none")


def _unless_none(value: str | None) -> str | None:
    return None if value is None or value.lower() == "none" else value


def _file_list(value: str | None) -> tuple[str, ...]:
    """`ssh -G` prints the files without quotes; a blank inside a path is not followed by the start of another."""
    return tuple(_FILE_LIST_GAP.split(value)) if _unless_none(value) and value else ()


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdecimal() and int(value) > 0 else None


def _port(value: str) -> int:
    if not value.isdecimal() or not 0 < int(value) < 1 << 16:
        raise BadConfig(f"{value} is no port")
    return int(value)


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """The stops of `ProxyJump a,user@b:22`, nearest first. Raises BadConfig."""
    jumps = []
    for stop in text.split(","):
        match = _JUMP.match(stop.strip())
        if match is None:
            raise BadConfig(f"ProxyJump {text} cannot be read: {stop.strip() or 'nothing'} is no host")
        port = match["port"]
        jumps.append(Jump(match["v6"] or match["host"], match["user"] or None, _port(port) if port else None))
    return tuple(jumps)


def expand(text: str, tokens: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """`text` with its `%x` and `${X}` replaced. Raises BadConfig for one that is not there."""

    def value(match: re.Match[str]) -> str:
        token, variable = match[1], match[2]
        if token == "%":
            return "%"
        found = tokens.get(token) if token else environment.get(variable)
        if found is None:
            raise BadConfig(f"{text} has {match[0]}, which stands for nothing here")
        return found

    return _TOKEN.sub(value, text)


def check_host(host: str) -> None:
    """A host name that no program takes for an option or a command. Raises BadConfig."""
    if not host or host.startswith("-") or _UNSAFE_HOST.search(host):
        raise BadConfig(f"{host!r} cannot be the name of a host")


def check_user(user: str) -> None:
    """A user name that no program takes for an option or a command. Raises BadConfig."""
    if not user or user.startswith("-") or _UNSAFE_USER.search(user):
        raise BadConfig(f"{user!r} cannot be the name of a user")


def check_destination(name: str) -> None:
    """HOST or USER@HOST as the user writes it. Raises BadConfig."""
    user, at, host = name.rpartition("@")
    check_host(host)
    if at:
        check_user(user)
