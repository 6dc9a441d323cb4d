"""What `exq doctor` says of exq itself: its Python, the specs, their repository, the loop."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.model.doctor import Check, CheckStatus
from reconciler.view.serving import TO_SERVE_THESE, others_words, serves_others

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.model.source import SourceState
    from reconciler.model.spec import Desired
    from reconciler.spec.effective import Effective

OK, WARNING, ERROR = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.ERROR


def own_checks(context: Context, settings: Effective, desired: Desired | None) -> Iterator[Check]:
    """A line each. `desired` is None where there is no specs folder."""
    yield Check(None, "exq", OK, f"{__version__} on Python {platform.python_version()} ({sys.executable})")
    yield from _loop(context)
    yield from _settings(settings)
    if desired is None:
        yield Check(None, "specs", ERROR, f"there is no specs folder {context.specs}", "exq init")
        return
    yield from _specs(context, desired)
    yield _git(context, desired)


def _settings(settings: Effective) -> Iterator[Check]:
    """What somebody chose and is not there, but for the screen, which is told with this machine."""
    from reconciler.spec.effective import unusable

    for name, words in unusable(settings).items():
        if name != "screen":
            origin = settings.origins[name]
            yield Check(None, "settings", ERROR, f"{origin}: `{name}`: {words}", correction(name, origin))


def correction(name: str, origin: str) -> str:
    """What to do about a setting that cannot be used."""
    return f"correct `{name}` in {origin}" if ":" in origin else f"set {origin} to one that is there, or unset it"


def _loop(context: Context) -> Iterator[Check]:
    from reconciler.cli.daemon import loop_words, running_loop
    from reconciler.store.errors import StoreError

    try:
        loop = running_loop(context)
    except (StoreError, OSError) as problem:
        yield Check(None, "loop", WARNING, f"not known: {problem}")
        return
    if loop is not None and serves_others(loop):
        yield Check(None, "loop", WARNING, others_words(loop), TO_SERVE_THESE)
        return
    yield Check(None, "loop", OK, "none runs" if loop is None else f"it runs ({loop_words(loop)})")


def _specs(context: Context, desired: Desired) -> Iterator[Check]:
    for error in desired.errors:
        status = WARNING if error.warning else ERROR
        yield Check(None, "specs", status, str(error), "" if error.line else f"exq --specs {context.specs} validate")
    if not any(not error.warning for error in desired.errors):
        files, jobs = len(desired.files), len(desired.index)
        words = f"{files} file{'' if files == 1 else 's'}, {jobs:,} job{'' if jobs == 1 else 's'}"
        yield Check(None, "specs", OK, f"{words} in {context.specs}")


def _source(source: SourceState) -> Check:
    """Whether the newest commit of a git source is the one in force."""
    if source.problem:
        status = ERROR if source.commit is None else WARNING
        where = f"the specs stay at {source.commit[:12]}" if source.commit else "no commit of the specs was taken yet"
        return Check(None, "source", status, f"{where}: {source.problem}", source.advice)
    return Check(None, "source", OK, f"the specs are at the newest commit of `{source.ref}` of {source.repository}")


def _pushed(revision: str) -> Check:
    """The revision of specs that came by `exq push` is that of the repository they came from."""
    message = f"the specs were pushed from another machine, where they were at {revision}"
    if revision.endswith("-dirty"):
        return Check(None, "git", WARNING, f"{message}: no version says what runs", "git commit there, and push again")
    return Check(None, "git", OK, message)


def _git(context: Context, desired: Desired) -> Check:
    """Whether each version of the specs has a name that can be looked up later."""
    from reconciler.spec.revision import REVISION_FILE, git_folder, operation_in_progress

    if desired.source is not None:
        return _source(desired.source)
    if (context.specs / REVISION_FILE).is_file():
        return _pushed(desired.revision)
    folder = quote(str(context.specs))
    git = git_folder(context.specs)
    if git is None:
        message = "the specs are in no git repository, so attempts name no version that could be looked up"
        return Check(None, "git", WARNING, message, f"git init {quote(str(context.specs.parent))}")
    busy = operation_in_progress(git)
    if busy:
        message = f"{busy}: changed specs are taken as they were before"
        return Check(None, "git", WARNING, message, f"git -C {folder} status")
    if desired.revision == desired.version[:12]:
        message = "git names no version of the specs: nothing is committed yet, or the repository is not yours"
        return Check(None, "git", WARNING, message, f"git -C {folder} add . && git -C {folder} commit -m 'Add specs'")
    if desired.revision.endswith("-dirty"):
        message = f"{desired.revision}: some files are not as committed, so no version says what runs"
        return Check(None, "git", WARNING, message, f"git -C {folder} commit -a")
    return Check(None, "git", OK, f"the specs are at {desired.revision}")
