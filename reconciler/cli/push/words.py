"""What a push tells, in text and in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.cli.exits import CliError
from reconciler.cli.push.decide import Change, Exq, There, pusher_words
from reconciler.cli.push.pack import Package
from reconciler.cli.specs import plural
from reconciler.host.ssh.by_hand import ssh_to
from reconciler.host.ssh.courier import NotDone
from reconciler.view.style import Style

SHOWN_MAX = 20
HELD_MAX = 3


def plan_text(host: str, package: Package, there: There, change: Change, exq: Exq, version: str, style: Style) -> str:
    """What the push changes, before it does."""
    lines = [f"{host}: {there.specs} ({there.user} on {there.hostname})"]
    lines.append(f"  exq    {_exq_words(exq, version)}")
    lines.append(f"  specs  {_specs_words(package, there, change)}")
    if there.kind == "nothing" and not there.code:
        lines.append(f"  code   is not sent: what the jobs run has to be in {there.folder}, or where their cwd says")
    for mark, paths, color in (("+", change.added, "32"), ("~", change.changed, "33"), ("-", change.removed, "31")):
        lines += [f"    {_colored(mark, color, style)} {path}" for path in paths[:SHOWN_MAX]]
        lines += [f"    {mark} {len(paths) - SHOWN_MAX:,} more"] if len(paths) > SHOWN_MAX else []
    return "\n".join(lines)


def _colored(text: str, color: str, style: Style) -> str:
    return f"\x1b[{color}m{text}\x1b[0m" if style.color else text


def _exq_words(exq: Exq, version: str) -> str:
    has = f", with the Python that it has ({exq.python})" if exq.python else ""
    if exq.action == "keep":
        return f"{exq.before} is there already{has}"
    if exq.action == "newer":
        return f"{exq.before} is there, which is newer than this one ({version}), and stays{has}"
    how = f" with {exq.python} (Python {exq.python_version})" if exq.action == "install" else ""
    if exq.broken:
        anew = "it is installed anew" if exq.before == version else f"{version} takes its place"
        return f"{exq.before or 'the one'} there does not run any more; {anew}{how}"
    if exq.before is None:
        return f"{version} is to be installed{how}"
    if exq.before == version:
        return f"another build of {version} takes the place of the one there{how}"
    return f"{exq.before} becomes {version}{how}"


def _specs_words(package: Package, there: There, change: Change) -> str:
    count = plural(len(package.files), "file")
    if there.kind == "nothing":
        where = "" if there.folder_exists else f"; {there.folder} is made for them"
        return f"{package.revision}, {count}, the first there{where}"
    if there.kind != "pushed":
        return f"{package.revision}, {count}; what is there now is kept beside it"
    before = str(there.about.get("revision", "not known"))
    if change:
        return f"{before} becomes {package.revision}" if before != package.revision else f"{before}, changed"
    return f"{before} is there already" if before == package.revision else f"{before} is called {package.revision} now"


def plan_json(host: str, package: Package, there: There, change: Change, exq: Exq, version: str) -> dict[str, Any]:
    """The same for programs."""
    return {
        "schema": "exq.push/v1",
        "host": host,
        "folder": there.folder,
        "specs": there.specs,
        "revision": package.revision,
        "revision_before": there.about.get("revision"),
        "added": list(change.added),
        "changed": list(change.changed),
        "removed": list(change.removed),
        "exq": {"action": exq.action, "before": exq.before, "version": version, "python": exq.python or None},
    }


def not_done(host: str, problem: NotDone) -> CliError:
    """What the host could not do, and what mends it. Nothing has changed there."""
    said = str(problem)
    if problem.kind == "disk_full":
        return CliError(
            f"the disk of {host} is full ({said}); nothing has changed there", f"make room there: {ssh_to(host)}"
        )
    if problem.kind == "no_venv":
        hint = (
            f"there: sudo apt-get install python3-venv; or name a Python that can: exq push {host} --python PATH "
            "(a conda environment's will do)"
        )
        return CliError(f"{host}: {said}", hint)
    if problem.kind == "pip":
        hint = (
            "where no package index is reached from there, fetch the wheels here for its Python (pip download --dest "
            f"wheels --only-binary :all: --python-version 3.X PACKAGE...), then: exq push {host} --wheels wheels"
        )
        return CliError(f"{host}: {said}; the exq that was there before is untouched", hint)
    if problem.kind == "moved":
        by = pusher_words(problem.facts.get("about") or {})
        return CliError(
            f"{host}: somebody pushed meanwhile: {by}; nothing of yours was put there", "look, and push again"
        )
    return CliError(f"{host}: {said}", "nothing has changed there; push again when that is mended")


def held_words(held: Sequence[Mapping[str, Any]]) -> str:
    """Where the files are that somebody has put into sets that do not count any more; empty: there are none."""
    if not held:
        return ""
    shown = [f"{each['folder']} ({', '.join(each['names'])})" for each in reversed(held[-HELD_MAX:])]
    more = f" and {len(held) - HELD_MAX} more beside them" if len(held) > HELD_MAX else ""
    return f"files that no push has put there stay in {', '.join(shown)}{more}; none of these folders is ever removed"


def done_text(host: str, there: There, package: Package, notes: Sequence[str]) -> str:
    """After a push."""
    return "\n".join([f"{there.specs} on {host} is at {package.revision}", *(f"  {note}" for note in notes)])
