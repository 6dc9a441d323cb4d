"""`exq init`: a specs folder with an example that runs anywhere. What is there already stays as it is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from shlex import quote

from reconciler.cli.context import DEFAULT_SPECS, Context
from reconciler.cli.exits import OK
from reconciler.cli.output import print_json, print_text

EXAMPLES = """\
  exq init                 in this folder: specs/example.yaml, its schema, .gitignore
  exq init ~/distill       in another one, which is made if it is not there
  exq --specs jobs init    with another name for the folder of specs"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", nargs="?", help="the folder to hold the specs folder; default: this one")


def run(args: Namespace, context: Context) -> int:
    """Doing it twice does nothing. Raises `CliError` where something else than a folder is in the way."""
    from reconciler.cli.scaffold import scaffold

    specs = Path(args.dir).expanduser() / context.specs.name if args.dir else context.specs
    made = scaffold(specs)
    following = _next(specs, context)
    if context.json:
        kept = [{"path": str(path), "message": why} for path, why in made.kept]
        print_json(
            {"schema": "exq.init/v1", "written": [str(path) for path in made.written], "kept": kept, "next": following}
        )
        return OK
    lines = [f"wrote {path}" for path in made.written]
    lines += [f"kept  {path}: {why}" for path, why in made.kept]
    print_text("\n".join([*lines, "Next:", *(f"  {line}" for line in following)]))
    return OK


def _next(specs: Path, context: Context) -> list[str]:
    """What to type now; it names the folder where plain `exq` would look elsewhere."""
    from reconciler.spec.revision import git_folder

    usual = Path(context.env.get("EXQ_SPECS") or DEFAULT_SPECS).expanduser()
    exq = "exq" if specs.absolute() == usual.absolute() else f"exq --specs {_typed(specs)}"
    git = [] if git_folder(specs) else [f"git init {_typed(specs.parent)}"]
    return [*git, f"{exq} validate", f"{exq} doctor", f"{exq} diff", f"{exq} run --until-settled"]


def _typed(path: Path) -> str:
    """A path as an argument that no program takes for an option."""
    return quote(f"./{path}" if str(path).startswith("-") else str(path))
