"""`exq schema`: the JSON Schema of spec files."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from reconciler.cli.context import Context
from reconciler.cli.exits import OK

EXAMPLES = """\
  exq schema > exq.schema.json
  then, as the first line of a spec:  # yaml-language-server: $schema=exq.schema.json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Nothing of its own."""


def run(args: Namespace, context: Context) -> int:
    """Print it; it is JSON with and without --json."""
    from reconciler.spec.schema import schema_text

    sys.stdout.write(schema_text())
    return OK
