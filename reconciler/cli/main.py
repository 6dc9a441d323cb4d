"""The entry of the `exq` command: find the verb, import it, run it, and turn every ending into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from reconciler.cli import exits
from reconciler.cli.table import GLOBAL_WITH_VALUE, VERBS, closest_verb, help_text, split_verb


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name). Returns the exit code; never raises but SystemExit."""
    from reconciler.cli.output import SafeStreams

    words = list(sys.argv[1:] if argv is None else argv)
    # nothing that is started from here is any more what was typed on the other machine
    far = os.environ.pop("EXQ_FAR", "")
    with SafeStreams(far, data="--json" in words):
        return _main(words)


def _main(words: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # a job name that the terminal cannot show must not end the program
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _elsewhere(words)
        code = _dispatch(words) if code is None else code
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _quiet_pipe()
    except KeyboardInterrupt:
        print("exq: interrupted", file=sys.stderr)
        return exits.INTERRUPTED
    except exits.CliError as problem:
        return _report(problem, words)
    except Exception as error:
        return _unexpected(error, words)


def _dispatch(words: list[str]) -> int:
    name, rest = split_verb(words)
    if name == "help" and rest and rest[0] in VERBS:
        name, rest = rest[0], ["--help"]
    if name in (None, "help", "version") or name not in VERBS:
        return _without_verb(name, rest)
    return _run_verb(name, rest)


def _elsewhere(words: list[str]) -> int | None:
    """The exit code of a command line that names a host to carry it out; None for one that does not, or has no verb."""
    if not any(word.partition("=")[0] == "--host" for word in words):
        return None
    from reconciler.cli.far import run_far, take_host

    taken = take_host(words)
    name, _ = split_verb(taken.words)
    if taken.host is None:
        return None
    if name in VERBS or name in ("help", "version") or "--version" in taken.words:
        return run_far(taken.host, taken.words, os.environ)
    return _without_verb(name, taken.words)


def _run_verb(name: str, rest: list[str]) -> int:
    from importlib import import_module

    from reconciler.cli.context import context_from
    from reconciler.cli.parser import parser_for

    verb = VERBS[name]
    module = import_module(verb.module)
    parser = parser_for(verb, module.EXAMPLES)
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    return int(module.run(args, context_from(args, os.environ, sys.stdout)))


def _without_verb(name: str | None, rest: list[str]) -> int:
    if name == "version" or (name is None and "--version" in rest):
        return _version("--json" in rest)
    if name == "help" or "-h" in rest or "--help" in rest:
        sys.stdout.write(help_text())
        return exits.OK
    if name is None:
        wrong = f"there is no option {rest[0]}" if _is_odd(rest) else ""
        if rest and rest[-1] in GLOBAL_WITH_VALUE:
            wrong = f"{rest[-1]} needs a value"
        sys.stderr.write(f"exq: {wrong}\nhelp: exq --help\n" if wrong else help_text())
        return exits.USAGE
    close = closest_verb(name)
    meant = f"; did you mean `exq {close}`?" if close else ""
    print(f"exq: there is no verb {name!r}{meant}\nhelp: exq --help", file=sys.stderr)
    return exits.USAGE


def _is_odd(rest: list[str]) -> bool:
    """The first word is no option that exq takes."""
    return bool(rest) and rest[0].partition("=")[0] not in {*GLOBAL_WITH_VALUE, "--json"}


def _version(as_json: bool) -> int:
    from reconciler import __version__
    from reconciler.cli.output import print_json

    if as_json:
        print_json({"schema": "exq.version/v1", "version": __version__})
    else:
        print(f"exq {__version__}")
    return exits.OK


def _report(problem: exits.CliError, words: list[str]) -> int:
    if "--json" in words:
        from reconciler.cli.output import print_json

        print_json({"schema": "exq.error/v1", "error": str(problem), "hint": problem.hint or None})
    print(f"exq: {problem}", file=sys.stderr)
    if problem.hint:
        print(f"  {problem.hint}", file=sys.stderr)
    return problem.code


def _quiet_pipe() -> int:
    # the interpreter flushes stdout once more at exit, which must not complain either
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.BROKEN_PIPE


def _unexpected(error: Exception, words: list[str]) -> int:
    from reconciler.cli.crash import report_crash

    known = exits.known_problem(error)
    return _report(known, words) if known else report_crash(error, words, os.environ)


if __name__ == "__main__":
    sys.exit(main())
