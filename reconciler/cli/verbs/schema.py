"""`exq schema`: the JSON Schema of spec files, or of exq.yaml."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context
from reconciler.cli.exits import OK

EXAMPLES = """\
  exq schema > exq.schema.json
  then, as the first line of a spec:  # yaml-language-server: $schema=exq.schema.json
  exq schema --settings    that of exq.yaml"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--settings", action="store_true", help="that of exq.yaml, which holds settings")


def run(args: Namespace, context: Context) -> int:
    """Print it; it is JSON with and without --json."""
    from reconciler.spec.schema import schema_text, settings_schema_text

    sys.stdout.write(settings_schema_text() if args.settings else schema_text())
    return OK
