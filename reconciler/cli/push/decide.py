"""What a push would change, and whether it may. Pure: from what was packed here and what was seen there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from shlex import quote
from typing import Any

from reconciler.cli.exits import CliError
from reconciler.cli.push.pack import Package, digest_of
from reconciler.cli.versions import is_newer
from reconciler.host.ssh.by_hand import ssh_to

NEEDED = (3, 10)


@dataclass(frozen=True, slots=True)
class Change:
    """One set of files into another, by path."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class There:
    """What the landing saw before the push."""

    home: str
    user: str
    hostname: str
    folder: str
    folder_exists: bool
    specs: str
    kind: str
    """`nothing`, `pushed`, or `folder`, `link`, `file` that no push has made."""
    current: str | None
    about: Mapping[str, Any]
    """Who pushed what is there, from where, when, and at which revision."""
    files: Mapping[str, str]
    edited: tuple[str, ...]
    """Files that were changed there after the push."""
    exq: Mapping[str, Any]
    unit: Mapping[str, str]
    obstacle: str = ""
    """Why no files can be put there, in words."""
    code: bool = True
    """The folder holds something besides the specs."""

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> There:
        """From the landing's own words. Raises KeyError."""
        return cls(**{**{field.name: answer[field.name] for field in fields(cls)}, "edited": tuple(answer["edited"])})


@dataclass(frozen=True, slots=True)
class Exq:
    """What becomes of exq there: `keep` the same, leave a `newer` one, `switch` to a build that is there, `install`."""

    action: str
    before: str | None = None
    """The version that counts there."""
    python: str = ""
    """What it is installed with; where it stays and a Python was asked for, the one that it has."""
    python_version: str = ""
    build: str = ""
    broken: bool = False
    """The one that counts there does not run any more."""


def change_of(before: Mapping[str, str], after: Mapping[str, str]) -> Change:
    """The difference between two sets of digests by path."""
    return Change(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        tuple(sorted(before.keys() - after.keys())),
    )


def specs_differ(package: Package, there: There) -> bool:
    """Whether another set counts there; a revision of another name is another set."""
    revision = str(there.about.get("revision", ""))
    return there.kind != "pushed" or digest_of(dict(there.files), revision) != package.digest


def refuse_overwriting(
    host: str, package: Package, there: There, me: Mapping[str, str], follows: Callable[[str], bool], *, force: bool
) -> str:
    """What is overwritten, in words (empty: nothing of anybody else). Raises CliError when that needs --force.

    `follows` tells whether a commit is one that the specs here are built on."""
    if there.kind == "nothing" or change_of(there.files, package.digests) == Change():
        return ""
    words = _in_the_way(there, me, follows)
    if words and not force:
        hint = f"{_look_first(host, there, me)}; exq push {host} --force puts these specs there all the same"
        raise CliError(f"{host}: {words}", hint)
    return words


def _look_first(host: str, there: There, me: Mapping[str, str]) -> str:
    if not there.edited:
        return f"look at it first: exq --host {host} status"
    name = there.edited[0]
    ours = f"{me['source']}/{name}"
    # once for the shell here, once for the one there
    far = quote(f"cat {quote(f'{there.specs}/{name}')}")
    return f"compare it with yours: {ssh_to(host)} {far} | diff {quote(ours)} -"


def refuse_obstacle(host: str, there: There) -> None:
    """Raises CliError where no files can be put there."""
    if there.obstacle:
        raise CliError(
            f"{host}: the specs cannot go to {there.specs}: {there.obstacle}", f"another folder: exq push {host}:DIR"
        )


def _in_the_way(there: There, me: Mapping[str, str], follows: Callable[[str], bool]) -> str:
    if there.kind != "pushed":
        what = {"folder": "a folder", "link": "a link", "file": "a file"}[there.kind]
        return f"{there.specs} is {what} that no push has made (with --force it is kept beside the new one)"
    if there.edited:
        return f"{there.specs} was changed there after the push: {', '.join(there.edited[:5])}"
    about = there.about
    if about.get("by") == me["by"] and about.get("source") == me["source"]:
        return ""
    commit = str(about.get("commit") or "")
    if commit and not str(about.get("revision", "")).endswith("-dirty") and follows(commit):
        return ""
    here = "" if about.get("by") == me["by"] else f"{me['by']}:"
    return f"{there.specs} was pushed by {pusher_words(about)}, and not from here ({here}{me['source']})"


def pusher_words(about: Mapping[str, Any]) -> str:
    """`ann@laptop from /home/ann/x/specs at 2026-04-16 11:36:29 (revision 3f2c1d9)`."""
    from reconciler.view.times import stamp

    at = about.get("at")
    when = f" at {stamp(at)}" if isinstance(at, int | float) else ""
    source = f" from {about['source']}" if about.get("source") else ""
    return f"{about.get('by', 'somebody')}{source}{when} (revision {about.get('revision', 'not known')})"


def decide_exq(host: str, version: str, there: There, build: str, python: str | None = None) -> Exq:
    """Install it, keep it, or leave a newer one; `python` is the one that was asked for. One that does not run there is
    neither kept nor newer. Raises CliError where no Python can run it."""
    current, before = there.exq["current"], there.exq["current_version"]
    complete, broken = there.exq["complete"], bool(current) and not there.exq["current_runs"]
    has = str(there.exq["current_base"] or "") if python else ""
    if complete is not None and complete == current:
        return Exq("keep", before, has, build=complete)
    if current and before and not broken and is_newer(str(before), version):
        return Exq("newer", before, has, build=current)
    if complete is not None:
        return Exq("switch", before, build=complete, broken=broken)
    return _installed(host, there, Exq("install", before, build=build, broken=broken))


def _installed(host: str, there: There, exq: Exq) -> Exq:
    """With the first Python there that can run it."""
    found = [(path, number) for path, number in there.exq["pythons"]]
    good = [(path, number) for path, number in found if _numbers(number) >= NEEDED]
    if not good:
        names = ", ".join(f"{path} is {number}" for path, number in found) or "none was found"
        raise CliError(
            f"exq needs Python 3.10 or newer on {host}: {names}",
            f"where there is one: exq push {host} --python /path/to/python3.11 (a conda environment's will do)",
        )
    return replace(exq, python=good[0][0], python_version=good[0][1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def refuse_other_service(host: str, there: There, wanted: bool) -> None:
    """A service has one specs folder. Raises CliError where it would be taken from another one."""
    other = there.unit.get("specs")
    if wanted and other and other != there.specs:
        raise CliError(
            f"the service on {host} is for {other}, not for {there.specs}",
            f"put the specs there: exq push {host}:{other.rpartition('/')[0]}; or leave the service as it is: "
            f"exq push {host} --no-service",
        )
