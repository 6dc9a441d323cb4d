"""Specs as the files have them now, for the verbs that need no host and no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.model.spec import Desired
    from reconciler.spec.exq_yaml import GitSource


def load_fresh(context: Context) -> Desired:
    """All specs, without the last good versions: those of the folder, or, where exq.yaml says that they come from
    elsewhere, those of the commit in force. Raises `CliError` when there is no folder."""
    from dataclasses import replace

    context.require_specs()
    settings, file = context.settings_file()
    desired = _elsewhere(context, settings.source) if settings.source is not None else None
    if desired is None:
        desired = _of_folder(context)
    return replace(desired, errors=(*file.errors, *desired.errors)) if file.errors else desired


def _of_folder(context: Context) -> Desired:
    from reconciler.spec.files import load_specs
    from reconciler.spec.texts import NothingKept

    return load_specs(context.specs, NothingKept(), settle=False)


def _elsewhere(context: Context, source: GitSource) -> Desired | None:
    """What the commit in force asks for; None where the source is the very folder, which is about to be committed."""
    import time

    from reconciler.spec.git_source import GitSpecs, identity_of
    from reconciler.spec.texts import NothingKept
    from reconciler.store.paths import StatePaths
    from reconciler.store.source import KeptSource

    kept = KeptSource(StatePaths(context.state), identity_of(source), writable=False)
    specs = GitSpecs.open(context.specs, source, kept, NothingKept(), set())
    return None if specs.is_own_folder else specs.load(settle=False, now=time.time())


def plural(count: int, word: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
