"""`exq settings`: each setting, its value and where that comes from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any

from reconciler.cli.context import Context, say
from reconciler.cli.exits import OK, PROBLEM
from reconciler.cli.output import print_json, print_text

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
    """Print them. Returns 1 when exq.yaml has mistakes: then nothing of it counts here."""
    effective, file = context.settings_file()
    rows = [*_own(args, context), *_effective(effective)]
    if context.json:
        from reconciler.view.diff import error_json

        print_json(
            {
                "schema": "exq.settings/v1",
                "file": str(file.path) if file.is_there else None,
                "settings": [{"name": row.name, "value": row.value, "origin": row.origin} for row in rows],
                "errors": [error_json(error) for error in file.errors],
            }
        )
    else:
        widths = [max(len(getattr(row, name)) for row in rows) for name in ("name", "shown")]
        lines = [f"{row.name:<{widths[0]}}  {row.shown:<{widths[1]}}  {row.origin}" for row in rows]
        print_text("\n".join(lines) + "\n")
    for error in file.errors:
        say(str(error))
    return PROBLEM if file.errors else OK


def _own(args: Namespace, context: Context) -> list[Row]:
    """What exq.yaml cannot say, since it is found by it, or concerns this one command."""
    specs = "--specs" if args.specs else "EXQ_SPECS" if context.env.get("EXQ_SPECS") else "default"
    state = "--state" if args.state else "EXQ_STATE" if context.env.get("EXQ_STATE") else _usual_state(context)
    color = "--color" if args.color != "auto" else "NO_COLOR" if context.env.get("NO_COLOR") else "default"
    return [
        Row("specs", str(context.specs), str(context.specs), specs),
        Row("state", str(context.state), str(context.state), state),
        Row("color", context.color, "on" if context.color else "off", color),
    ]


def _usual_state(context: Context) -> str:
    return "XDG_STATE_HOME" if context.env.get("XDG_STATE_HOME") else "default"


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
