"""`exq report`: the summary of a project as it stands now, also before it has settled."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, CliError
from reconciler.cli.look import look_in, looking, say_spec_errors
from reconciler.cli.output import print_json, print_text
from reconciler.cli.resolve import listed, resolve_project
from reconciler.cli.summaries import summary_now
from reconciler.model.snapshot import Snapshot

EXAMPLES = """\
  exq report                        every project, as Markdown
  exq report distill --html out.html
  exq report distill --out summary.md"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT", nargs="?", help="one project; default: all")
    parser.add_argument("--out", metavar="FILE", help="write the Markdown to a file")
    parser.add_argument("--html", metavar="FILE", help="write an HTML page that needs nothing else (one project)")


def run(args: Namespace, context: Context) -> int:
    """Print the Markdown, or write what was asked for into files."""
    with looking(context) as world:
        snapshot = look_in(world, results=True)
        say_spec_errors(snapshot)
        names = _projects(args, snapshot)
        texts = {name: summary_now(world, snapshot, name) for name in names}
    if args.html:
        _write_page(Path(args.html), names, snapshot)
    if args.out:
        _write(Path(args.out), "\n".join(texts.values()))
    if context.json:
        print_json(_json(snapshot, texts))
    elif not (args.html or args.out):
        print_text("\n".join(texts.values()))
    return OK


def _projects(args: Namespace, snapshot: Snapshot) -> list[str]:
    known = list(snapshot.desired.projects)
    if args.project:
        return [resolve_project(args.project, known)]
    if not known:
        raise CliError("the specs hold no project to report on", "exq validate checks them")
    return known


def _write_page(path: Path, names: Sequence[str], snapshot: Snapshot) -> None:
    from reconciler.view.report import report_html

    if len(names) > 1:
        raise CliError("an HTML page shows one project", f"exq report PROJECT --html {path}, with {listed(names)}")
    _write(path, report_html(snapshot, names[0]))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror or error}") from error
    say(f"written to {path}")


def _json(snapshot: Snapshot, texts: dict[str, str]) -> dict[str, object]:
    runs = snapshot.ledger.runs
    return {
        "schema": "exq.report/v1",
        "projects": [
            {
                "project": name,
                "settled": name in runs and runs[name].settled_at is not None,
                "folder": runs[name].folder if name in runs else None,
                "markdown": text,
            }
            for name, text in texts.items()
        ],
    }
