"""One parser, for the verb in play."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from reconciler.cli.exits import USAGE
from reconciler.cli.table import Verb


class VerbParser(argparse.ArgumentParser):
    """argparse with messages that say what to type instead."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and the usage on stderr, and exit 2."""
        print(f"{self.prog}: {self._friendly(message)}", file=sys.stderr)
        print(f"{self.format_usage().strip()}\nhelp: {self.prog} --help", file=sys.stderr)
        sys.exit(USAGE)

    def _friendly(self, message: str) -> str:
        _, found, rest = message.partition("unrecognized arguments: ")
        if not found:
            return message
        first = rest.split()[0]
        if not first.startswith("-"):
            return f"too many arguments: {rest}"
        return f"there is no option {first}{self._closest_option(first)}"

    def _closest_option(self, word: str) -> str:
        import difflib

        # without the dashes, which make any two short options look alike
        options = {option.lstrip("-"): option for action in self._actions for option in action.option_strings}
        close = difflib.get_close_matches(word.partition("=")[0].lstrip("-"), options, n=1, cutoff=0.6)
        return f"; did you mean {options[close[0]]}?" if close else ""


def parser_for(verb: Verb, examples: str) -> VerbParser:
    """A parser with the options that every verb takes."""
    parser = VerbParser(
        prog=f"exq {verb.name}",
        description=verb.summary[0].upper() + verb.summary[1:] + ".",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    everywhere = parser.add_argument_group("options of every verb")
    everywhere.add_argument("--specs", metavar="DIR", help="the folder of spec files (EXQ_SPECS; default ./specs)")
    everywhere.add_argument("--state", metavar="DIR", help="the state folder (EXQ_STATE; default ~/.local/state/exq)")
    # taken from the command line before it comes here
    everywhere.add_argument(
        "--host", metavar="HOST", dest="elsewhere", help="carry this out on another machine, over ssh"
    )
    everywhere.add_argument("--json", action="store_true", help="machine-readable output")
    everywhere.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default auto")
    return parser
