"""`exq validate`: every mistake of every file, in one run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, PROBLEM, CliError
from reconciler.cli.output import print_json
from reconciler.cli.specs import load_fresh, plural
from reconciler.model.spec import Project, SpecError

EXAMPLES = """\
  exq validate                   all files of ./specs
  exq validate specs/sweep.yaml  this one"""


@dataclass(frozen=True, slots=True)
class Checked:
    """One file, what is wrong with it and what it asks for."""

    path: str
    projects: tuple[Project, ...]
    errors: tuple[SpecError, ...]
    is_settings: bool = False
    """It is exq.yaml."""

    @property
    def ok(self) -> bool:
        return not any(not error.warning for error in self.errors)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", help="spec files; default: all of the specs folder")


def run(args: Namespace, context: Context) -> int:
    """Mistakes go to stdout in text, too: they are what was asked for. Returns 0, or 1 when a file has errors."""
    checked, loose = _check_files(args.files) if args.files else _check_folder(context)
    good = not any(not error.warning for error in loose) and all(file.ok for file in checked)
    if context.json:
        print_json(_json(checked, loose, good))
    else:
        _print(checked, loose)
        if not checked and not loose:
            say(f"{context.specs} has no spec file: exq validate looks for *.yaml there")
    return OK if good else PROBLEM


def _check_files(paths: Sequence[str]) -> tuple[list[Checked], list[SpecError]]:
    checked = []
    for path in paths:
        if Path(path).is_dir():
            raise CliError(f"{path} is a folder", f"exq --specs {path} validate checks all files of it")
        checked.append(_check_file(path))
    return checked, []


def _check_file(path: str) -> Checked:
    from reconciler.spec.files import load_file
    from reconciler.spec.reading import RESERVED

    if Path(path).name in RESERVED:
        return Checked(path, (), _settings_errors(path), is_settings=True)
    project, errors = load_file(Path(path))
    return Checked(path, (project,) if project else (), errors)


def _settings_errors(path: str) -> tuple[SpecError, ...]:
    from reconciler.spec.exq_yaml import read_product_settings
    from reconciler.spec.reading import Unreadable, read_spec

    try:
        return read_product_settings(read_spec(Path(path)), path)[1]
    except Unreadable as error:
        return (SpecError(path, 0, 0, str(error)),)


def _check_folder(context: Context) -> tuple[list[Checked], list[SpecError]]:
    desired = load_fresh(context)
    settings = context.settings_file()[1]
    projects = desired.projects.values()
    checked = [
        Checked(
            file.path,
            tuple(project for project in projects if project.source == file.path),
            tuple(error for error in desired.errors if error.path == file.path),
        )
        for file in desired.files
    ]
    if settings.is_there:
        own = tuple(error for error in settings.errors if error.path == str(settings.path))
        checked.append(Checked(str(settings.path), (), own, is_settings=True))
    paths = {file.path for file in checked}
    return checked, [error for error in desired.errors if error.path not in paths]


def _print(checked: Sequence[Checked], loose: Sequence[SpecError]) -> None:
    for error in loose:
        print(error)
    for file in checked:
        for error in file.errors:
            print(error)
        print(f"{file.path}: {_verdict(file)}")


def _verdict(file: Checked) -> str:
    if not file.ok:
        return plural(sum(not error.warning for error in file.errors), "error")
    if file.is_settings:
        return "ok"
    jobs = sum(len(phase.jobs) for project in file.projects for phase in project.phases)
    phases = sum(len(project.phases) for project in file.projects)
    return f"ok, {plural(jobs, 'job')} in {plural(phases, 'phase')}"


def _json(checked: Sequence[Checked], loose: Sequence[SpecError], good: bool) -> dict[str, Any]:
    return {
        "schema": "exq.validate/v1",
        "ok": good,
        "files": [
            {
                "path": file.path,
                "ok": file.ok,
                "projects": [project.name for project in file.projects],
                "jobs": sum(1 for project in file.projects for _ in project.jobs()),
                "phases": sum(len(project.phases) for project in file.projects),
            }
            for file in checked
        ],
        "errors": [_error_json(error) for error in (*loose, *(e for file in checked for e in file.errors))],
    }


def _error_json(error: SpecError) -> dict[str, Any]:
    return {
        "path": error.path,
        "line": error.line or None,
        "column": error.column or None,
        "message": error.message,
        "warning": error.warning,
    }
