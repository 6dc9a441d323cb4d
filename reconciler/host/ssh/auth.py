"""Who we are: keys of the user's agent and key files with their certificates. Nothing is asked for, nothing is kept."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.host.ssh import trouble
from reconciler.host.ssh.closers import Closers
from reconciler.host.ssh.config import Target

if TYPE_CHECKING:
    import paramiko

AUTH_TIMEOUT_S = 20.0
AGENT_TIMEOUT_S = 20.0
_CERTIFICATE = "-cert.pub"
_PUBLIC_FIELDS = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key to try. `label` tells the user which."""

    label: str
    key: Any


class _Locked(Exception):
    """A key file with a passphrase."""


def authenticate(transport: paramiko.Transport, target: Target, closers: Closers) -> None:
    """Enter the target's server. Raises SshTrouble."""
    import paramiko

    transport.auth_timeout = AUTH_TIMEOUT_S
    tried: list[str] = []
    locked: list[str] = []
    try:
        if _without_key(transport, target):
            return
        for candidate in _candidates(target, locked, closers):
            tried.append(candidate.label)
            try:
                further = transport.auth_publickey(target.user, candidate.key)
            except paramiko.AuthenticationException as error:
                if transport.is_active() and "timeout" not in str(error).lower():
                    continue
                raise
            if not further:
                return
            why = f"the server wants {' and '.join(further)} as well as a key, which exq cannot give"
            raise trouble.no_entry(target, tried, (), why)
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise trouble.no_entry(target, tried, locked, _why(error, tried)) from error
    raise trouble.no_entry(target, tried, locked)


def _without_key(transport: paramiko.Transport, target: Target) -> bool:
    """Some servers know the user by the network. The others answer with what they take."""
    import paramiko

    try:
        return not transport.auth_none(target.user)
    except paramiko.BadAuthenticationType as error:
        if "publickey" in error.allowed_types:
            return False
        why = f"the server takes no keys, only {' or '.join(error.allowed_types) or 'nothing'}; exq stores no passwords"
        raise trouble.no_entry(target, (), (), why) from error


def _why(error: Exception, tried: list[str]) -> str:
    words = str(error).rstrip(".")
    if isinstance(error, TimeoutError) or "sign" in words or "lost ssh-agent" in words:
        return f"the key agent did not sign with {tried[-1] if tried else 'the key'}"
    if len(tried) > 1:
        return (
            f"the server hung up after {len(tried)} keys ({', '.join(tried)}); "
            "IdentitiesOnly yes with an IdentityFile in ~/.ssh/config makes it one"
        )
    return f"authentication did not come to an end ({words or type(error).__name__})"


def _candidates(target: Target, locked: list[str], closers: Closers) -> Iterator[Candidate]:
    """In the order of ssh: agent keys that the configuration names, other agent keys, key files."""
    held = _agent_keys(target, closers)
    public = {path: _public_blob(path) for path in target.identity_files}
    named = {blob: path for path, blob in public.items() if blob is not None and blob in held}
    for blob, path in named.items():
        yield from _with_certificates(target, path, held[blob], f"{trouble.short_path(path)} (agent)")
    if not target.identities_only:
        for blob, key in held.items():
            if blob not in named:
                yield from _with_certificates(target, None, key, f"{getattr(key, 'comment', '') or 'a key'} (agent)")
    in_agent = set(named.values())
    for path in target.identity_files:
        if path in in_agent or not os.path.isfile(path) or _is_public(path):
            continue
        try:
            key = _load(path)
        except _Locked:
            locked.append(path)
            continue
        if key is not None:
            yield from _with_certificates(target, path, key, trouble.short_path(path))


def _with_certificates(target: Target, path: str | None, key: Any, label: str) -> Iterator[Candidate]:
    """The key with each of its certificates, then alone."""
    beside = (path + _CERTIFICATE,) if path is not None and os.path.isfile(path + _CERTIFICATE) else ()
    for certificate in (*target.certificate_files, *beside):
        if _take_certificate(key, certificate):
            yield Candidate(f"{label} with {os.path.basename(certificate)}", key)
    key.public_blob = None
    yield Candidate(label, key)


def _take_certificate(key: Any, path: str) -> bool:
    """Whether the file holds a certificate of this very key; the key then presents it."""
    from paramiko.pkey import PublicBlob

    try:
        blob = PublicBlob.from_file(path)
    except (OSError, ValueError, IndexError, UnicodeDecodeError):
        return False
    plain = key.asbytes()
    # a certificate begins with its type and a nonce; then come the fields of the key as they stand in the plain form
    if not blob.key_type.startswith(key.get_name()) or plain[4 + len(key.get_name()) :] not in blob.key_blob:
        return False
    key.public_blob = blob
    return True


def _agent_keys(target: Target, closers: Closers) -> dict[bytes, Any]:
    """What the user's key agent holds, by public key; nothing when there is no agent."""
    from paramiko.agent import AgentSSH
    from paramiko.ssh_exception import SSHException

    class Agent(AgentSSH):
        def __init__(self, connection: socket.socket) -> None:
            super().__init__()
            self._connect(connection)  # type: ignore[attr-defined]

    if target.key_agent is None:
        return {}
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    closers.add(connection.close)
    connection.settimeout(AGENT_TIMEOUT_S)
    try:
        connection.connect(target.key_agent)
        return {key.blob: key for key in Agent(connection).get_keys()}
    except (OSError, SSHException):  # no agent listens there any more
        return {}


def _public_blob(path: str) -> bytes | None:
    """The public half of a key file, from the file beside it or the file itself."""
    import base64

    for candidate in (path + ".pub", path):
        try:
            with open(candidate, encoding="ascii") as file:
                words = file.readline(1 << 16).split()
            if len(words) >= _PUBLIC_FIELDS and not words[0].startswith("-"):
                return base64.b64decode(words[1])
        except (OSError, ValueError):
            continue
    return None


def _is_public(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return not file.read(5).startswith(b"-----")
    except OSError:  # as good as not there
        return True


def _load(path: str) -> Any:
    """The key of a file; None for one of a kind that the library cannot use. Raises _Locked."""
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key_file(path)
        except paramiko.PasswordRequiredException:
            raise _Locked from None
        except (paramiko.SSHException, OSError, ValueError, TypeError):  # another kind of key
            continue
    return None
