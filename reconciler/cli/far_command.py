"""The command line that a far login shell gets, whichever shell it is, and what comes back before the verb speaks."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,+@%-")
_KEPT_BYTES = 256
DATA = "$HOME/.local/share/exq"

# No single quote, no exclamation mark, no line end, and a backslash only before a letter: sh, bash, zsh, fish and tcsh
# all take this text in single quotes as it stands. Arguments: the mark, the specs folder, the name of the host, then
# those of exq; each with octal escapes for all that a shell could take for its own. X keeps line ends that `$(...)`
# would drop. A build that does not run any more, as after an upgrade of its Python, is told from a verb that fails.
_FIND = (
    'm=$1; s=$2; h=$3; shift 3; for a do shift; a=$(printf "%bX" "$a"); set -- "$@" "${a%X}"; done; '
    's=$(printf "%bX" "$s"); s=${s%X}; h=$(printf "%bX" "$h"); export EXQ_FAR="${h%X}"; '
    f"d={DATA}; v=; "
    'x=$d/current/bin/exq; if [ -x "$x" ]; then v=$(readlink "$d/current"); v=${v##*/}; v=${v%%-*}; '
    'if [ -e "$d/current/pyvenv.cfg" ]; then "$d/current/bin/python" -I -c "import reconciler" </dev/null >/dev/null '
    '2>&1 || { printf "\\n%s broken %s\\n" "$m" "$v"; exit 127; }; fi; else '
    'x=$HOME/.local/bin/exq; [ -x "$x" ] || x=$(command -v exq) || { printf "\\n%s none\\n" "$m"; exit 127; }; '
    'v=$("$x" --version </dev/null 2>/dev/null); v=${v##* }; fi; '
    'if [ -z "$s" ] && [ -z "$EXQ_SPECS" ] && [ -L "$d/specs" ]; then s=$(readlink "$d/specs"); fi; '
    'if [ -n "$s" ]; then export EXQ_SPECS="$s"; cd "${s%/*}/" 2>/dev/null; fi; '
    'printf "\\n%s has %s\\n" "$m" "$v"; '
)
_WITH_TERMINAL = 'exec "$x" "$@"'
# A reader waits for the end of the connection, and ends the verb then, if that still is the parent of the reader.
_WITHOUT = (
    "exec 3<&0; ( while read -r l; do :; done; read -r l </proc/self/stat; set -- $l; "
    '[ "$4" = $$ ] && kill $$ ) <&3 >/dev/null 2>&1 & '
    'exec "$x" "$@" </dev/null 3<&-'
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The words after `exq`, the specs folder there (empty: what was pushed last), and whether it is on a terminal.

    `host` is how this side calls that machine; `merged` has messages come the same way as data, so that they stay in
    order."""

    words: Sequence[str]
    specs: str = ""
    terminal: bool = False
    host: str = ""
    merged: bool = False


def remote_command(wanted: Wanted, mark: str) -> str:
    """One line that any login shell hands to sh as it is."""
    script = _FIND + (_WITH_TERMINAL if wanted.terminal else _WITHOUT) + (" 2>&1" if wanted.merged else "")
    arguments = " ".join(f"'{encoded(word)}'" for word in (wanted.specs, wanted.host, *wanted.words))
    return f"exec sh -c '{script}' exq {mark} {arguments}"


def encoded(word: str) -> str:
    """A word of which no shell takes anything for its own; `printf %b` makes it what it was."""
    data = word.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if chr(byte) in _SAFE else f"\\0{byte:03o}" for byte in data)


@dataclass(slots=True)
class Arrival:
    """Passes over what comes before the mark: what login files print, in whatever way."""

    mark: str = field(default_factory=lambda: f"EXQ-{secrets.token_hex(8)}")
    seen: bool = False
    version: str | None = None
    """The version of exq there; None when there is none. Empty: it does not say."""
    broken: bool = False
    """It does not run any more."""
    _before: bytes = b""

    def feed(self, data: bytes) -> bytes:
        """What of these bytes the verb has printed."""
        if self.seen:
            return data
        self._before += data
        pattern = rb"\n%s (none|(?:has|broken) ([^\r\n]*))\r?\n" % self.mark.encode()
        found = re.search(pattern, self._before)
        if found is None:
            self._before = self._before[-_KEPT_BYTES:]
            return b""
        self.seen = True
        self.broken = found[1].startswith(b"broken")
        self.version = None if found[2] is None else found[2].decode("utf-8", "replace").strip()
        rest = self._before[found.end() :]
        self._before = b""
        return rest
