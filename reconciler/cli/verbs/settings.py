"""`exq settings`: each setting, its value and where that comes from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, PROBLEM
from reconciler.cli.output import print_json, print_text
from reconciler.spec.effective import DEFAULT

if TYPE_CHECKING:
    from reconciler.model.spec import SpecError

EXAMPLES = """\
  exq settings
  exq settings --json | jq -r '.settings[] | select(.origin != "default") | .name'"""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting. `shown` is its value in words, `value` that for programs."""

    name: str
    value: Any
    shown: str
    origin: str


def add_arguments(parser: ArgumentParser) -> None:
    """Nothing of its own."""


def run(args: Namespace, context: Context) -> int:
    """Print them. Returns 1 when exq.yaml has mistakes (then nothing of it counts here), or the folder is none.

    A program or a file that is missing is said: it may be that of the machine that the specs are written for."""
    from reconciler.spec.effective import unusable

    effective, file = context.settings_file()
    rows = [*_own(args, context), *_effective(effective)]
    problems = {**_no_folder(context), **unusable(effective)}
    errors = file.errors if "specs" not in problems else ()
    if context.json:
        print_json(_json(rows, problems, str(file.path) if file.is_there else None, errors))
    else:
        widths = [max(len(getattr(row, name)) for row in rows) for name in ("name", "shown")]
        lines = [f"{row.name:<{widths[0]}}  {row.shown:<{widths[1]}}  {row.origin}" for row in rows]
        print_text("\n".join(lines) + "\n")
    for error in errors:
        say(str(error))
    for row in rows:
        if row.name in problems:
            say(f"{row.origin}: `{row.name}`: {problems[row.name]}")
    no_folder = "specs" in problems and rows[0].origin != DEFAULT
    return PROBLEM if errors or no_folder else OK


def _json(
    rows: Sequence[Row], problems: Mapping[str, str], file: str | None, errors: Sequence[SpecError]
) -> dict[str, Any]:
    from reconciler.view.diff import error_json

    told = [
        {"name": row.name, "value": row.value, "origin": row.origin, "problem": problems.get(row.name)} for row in rows
    ]
    return {"schema": "exq.settings/v1", "file": file, "settings": told, "errors": [error_json(e) for e in errors]}


def _no_folder(context: Context) -> dict[str, str]:
    if context.specs.is_dir():
        return {}
    there = context.specs.exists()
    return {"specs": f"{context.specs} is not a folder" if there else f"there is no folder {context.specs}"}


def _own(args: Namespace, context: Context) -> list[Row]:
    """What exq.yaml cannot say, since it is found by it, or concerns this one command."""
    specs = "--specs" if args.specs else "EXQ_SPECS" if context.env.get("EXQ_SPECS") else DEFAULT
    state = "--state" if args.state else "EXQ_STATE" if context.env.get("EXQ_STATE") else _usual_state(context)
    color = "--color" if args.color != "auto" else "NO_COLOR" if context.env.get("NO_COLOR") else DEFAULT
    return [
        Row("specs", str(context.specs), str(context.specs), specs),
        Row("state", str(context.state), str(context.state), state),
        Row("color", context.color, "on" if context.color else "off", color),
    ]


def _usual_state(context: Context) -> str:
    return "XDG_STATE_HOME" if context.env.get("XDG_STATE_HOME") else DEFAULT


def _effective(effective: Any) -> list[Row]:
    absent = {"remote_state": "~/.local/state/exq on each host", "ssh_config": "the user's own"}
    rows = []
    for name in ("screen", "nvidia_smi", "remote_state", "ssh_config", "host_names"):
        value = getattr(effective, name)
        value = list(value) if isinstance(value, tuple) else value
        shown = ", ".join(value) or "none but this machine's own" if isinstance(value, list) else value
        rows.append(Row(name, value, shown or absent[name], effective.origins[name]))
    rows.append(Row("source", _source_json(effective.source), _source_words(effective.source), _origin(effective)))
    return rows


def _origin(effective: Any) -> str:
    return str(effective.origins["source"])


def _source_json(source: Any) -> dict[str, Any]:
    if source is None:
        return {"kind": "folder"}
    told = {"kind": "git", "repository": source.repository, "path": source.path, "ref": source.ref}
    return {**told, "interval_s": source.interval_s if source.url is not None else None}


def _source_words(source: Any) -> str:
    if source is None:
        return "the folder as it is"
    where = f"{source.repository}, {source.path}" if source.path else source.repository
    often = f", every {source.interval_s:g} s" if source.url is not None else ""
    return f"git: {source.ref} of {where}{often}"
