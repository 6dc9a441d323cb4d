"""`exq diff --rev`: two revisions of the specs folder, read from git alone. No host, no state, no loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exits import CHANGES, OK, PROBLEM, USAGE, CliError
from reconciler.cli.output import print_json, print_text, style_for
from reconciler.cli.specs import load_fresh

if TYPE_CHECKING:
    from reconciler.cli.context import Context
    from reconciler.spec.git_repository import Repository
    from reconciler.view.compare import Side

WORKING_TREE = "the working tree"


@dataclass(frozen=True, slots=True)
class Range:
    """What `--rev` names. `new` None: the working tree. `forked`: from where the two parted, as git means `...`."""

    old: str
    new: str | None
    forked: bool = False


def range_of(text: str) -> Range:
    """`A..B`, `A...B` or `A`, with HEAD for a side that is left out. Raises `CliError`."""
    if not text.strip("."):
        raise CliError(f"--rev {text!r} names no revision", "such as: exq diff --rev origin/main...HEAD", USAGE)
    for dots in ("...", ".."):
        old, found, new = text.partition(dots)
        if found:
            return Range(old or "HEAD", new or "HEAD", forked=dots == "...")
    return Range(text, None)


def diff_revisions(context: Context, text: str, *, exit_code: bool, verbose: bool) -> int:
    """Print what changes. 1 when a file of the new side is broken, else 0; with `exit_code` 2 for changes."""
    from reconciler.planner.compare import compare
    from reconciler.view.compare import comparison_json, render_comparison

    old, new = _sides(context, range_of(text))
    found = compare(old.desired, new.desired)
    if context.json:
        print_json(comparison_json(old, new, found))
    else:
        print_text(render_comparison(old, new, found, style_for(context), verbose=verbose))
    if new.errors:
        return PROBLEM
    return CHANGES if exit_code and (found.projects or found.not_compared) else OK


def _sides(context: Context, wanted: Range) -> tuple[Side, Side]:
    from reconciler.spec.git_repository import GitProblem, NoRepository, Repository
    from reconciler.view.compare import Side

    holder, below = _existing(context.specs)
    repository = Repository(holder)
    try:
        inside = "/".join(part for part in (repository.place().prefix, below) if part)
        start = repository.resolve(wanted.old)
        end = repository.resolve(wanted.new) if wanted.new is not None else None
        name = wanted.old
        if wanted.forked and end is not None:
            start, name = repository.merge_base(start, end), f"where {wanted.new} left {wanted.old}"
        old = _side(repository, context.specs, inside, name, start)
        if end is None or wanted.new is None:
            new = Side(WORKING_TREE, None, "", load_fresh(context))
        else:
            new = _side(repository, context.specs, inside, wanted.new, end)
    except NoRepository as problem:
        step = problem.advice if holder == context.specs else "--specs DIR names the folder of spec files"
        raise CliError(f"there is no git repository at {context.specs}", step) from problem
    except GitProblem as problem:
        raise CliError(problem.message, problem.advice) from problem
    if not old.desired.files and not new.desired.files and end is not None:
        where = f"the folder {inside}" if inside else "the top of the repository"
        raise CliError(f"there is no spec in {where} at either revision", "--specs DIR names the folder of spec files")
    return old, new


def _existing(specs: Path) -> tuple[Path, str]:
    """The innermost folder that is there, and what follows: a bare repository has no work tree, and a folder that one
    revision has may be missing in it."""
    holder = specs
    while not holder.is_dir() and holder != holder.parent:
        holder = holder.parent
    below = specs.relative_to(holder).as_posix()
    return holder, "" if below == "." else below


def _side(repository: Repository, specs: Path, inside: str, name: str, commit: str) -> Side:
    """What the specs folder asks for in a commit; nothing where that does not have it."""
    from reconciler.spec.files import base_of_folder
    from reconciler.spec.git_repository import NotInCommit
    from reconciler.spec.texts import load_texts
    from reconciler.view.compare import Side

    try:
        texts = repository.texts(commit, inside)
    except NotInCommit:
        texts = {}
    named = {str(specs / file): text for file, text in texts.items()}
    return Side(name, commit, commit[:7], load_texts(named, base_of_folder(specs), commit[:7]))
