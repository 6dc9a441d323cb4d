"""The URL of a remote repository: what may be shown of it, and how git gets the rest without anybody seeing it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote

_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_HELPER = re.compile(r"(?P<name>[A-Za-z0-9+.-]*)::")
"""What git runs a program `git-remote-NAME` for, with whatever follows."""
SCHEMES = ("https", "http", "ssh", "git", "file", "git+ssh", "ssh+git")
_WITHOUT_LOGIN = ("file", "ssh", "git+ssh", "ssh+git", "git")
"""Schemes in which git sends no password; an `@` in their paths is as good as any other character."""

_WORTH_HIDING = 4
"""A shorter password would be found in every other word."""

_ALLOWED = "write https://, http://, ssh://, git:// or file://, user@host:path, or a path on this machine"


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at a URL, as its user wrote that."""

    url: str

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        found = _PARTS.fullmatch(self.url)
        if found is None:
            return self.url
        scheme, rest = found["scheme"], f"{found['authority']}{found['rest']}"
        if scheme.lower() in _WITHOUT_LOGIN:
            return f"{scheme}://{found['authority'].rpartition('@')[2]}{found['rest']}"
        return f"{scheme}://{rest.rpartition('@')[2]}"  # whatever is before an `@` may be a part of a password

    @property
    def bare_url(self) -> str:
        """The URL for git, whose command lines can be seen: without user and password, where it asks for those."""
        return self.shown if self._login() else self.url

    def mistake(self) -> str:
        """Why git would not understand it as it is meant, in words; empty when it would."""
        helper, found = _HELPER.match(self.url), _PARTS.fullmatch(self.url)
        if helper is not None:
            return f"`{helper['name']}::` makes git run a program: {_ALLOWED}"
        if found is not None and found["scheme"] not in SCHEMES:
            return _unknown_scheme(found["scheme"])
        if found is None or found["scheme"].lower() == "file":
            return ""
        if found["scheme"].lower() in _WITHOUT_LOGIN:
            if ":" in found["authority"].rpartition("@")[0]:
                return "ssh takes no password in a `url`: use a key, and leave the password out"
            return ""
        if "@" in found["rest"]:
            return "`url` has an `@` behind a `/`: in a user or password write %2F for `/`, in a path %40 for `@`"
        if any(char in "\n\r\0" for char in "".join(self._login())):
            return "the user or password in `url` holds a line end"
        return ""

    def credentials(self, login_file: str) -> tuple[str, str]:
        """What a file of settings, and the file that those name, have to say for git to log in; empty where git needs
        nothing. What is written there wins over what other helpers know."""
        login = self._login()
        if not login:
            return "", ""
        found = _PARTS.fullmatch(self.shown)
        assert found is not None
        section = f"[credential {_quoted(found['scheme'] + '://' + found['authority'])}]\n"
        user, password = login
        if not password:
            return f"{section}\tusername = {_quoted(user)}\n", ""
        helper = f'!f() {{ test "$1" != get || cat {quote(login_file)}; }}; f'
        settings = f"{section}\thelper =\n\thelper = {_quoted(helper)}\n"
        return settings, f"username={user}\npassword={password}\n"

    def hidden(self, words: str) -> str:
        """A message of git without any part of user and password that it may repeat."""
        words = words.replace(self.url, self.shown)
        login = self._login()
        if not login:
            return words
        before = self.url.partition("://")[2].rpartition("@")[0]
        parts = before.split("@")
        pieces = {"@".join(parts[at:]) for at in range(len(parts))} | {login[0], before.partition(":")[0]}
        for piece in sorted(pieces, key=len, reverse=True):
            words = words.replace(f"{piece}@", "") if piece else words
        for secret in (login[1], before.partition(":")[2]):
            words = words.replace(secret, "***") if len(secret) >= _WORTH_HIDING else words
        return words

    def _login(self) -> tuple[str, ...]:
        """User and password (it may be empty), decoded; nothing where there are none, or git has no use for them."""
        found = _PARTS.fullmatch(self.url)
        if found is None or found["scheme"].lower() in _WITHOUT_LOGIN or "@" not in found["authority"]:
            return ()
        from urllib.parse import unquote

        user, _, password = found["authority"].rpartition("@")[0].partition(":")
        return unquote(user), unquote(password)


def _unknown_scheme(scheme: str) -> str:
    import difflib

    close = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
    return f"unknown `{scheme}://` in `url`" + (f": did you mean `{close[0]}://`?" if close else f": {_ALLOWED}")


def _quoted(text: str) -> str:
    """As a value in a file of git's settings."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
