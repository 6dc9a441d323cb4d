"""All verbs in a static table, so that `exq --help` imports none of them, nor anything else that takes time."""

from __future__ import annotations

from collections.abc import Sequence

GLOBAL_WITH_VALUE = frozenset({"--specs", "--state", "--color", "--host"})


class Verb:
    """`usage` is what follows the name; `module` is the file in `reconciler/cli/verbs`."""

    __slots__ = ("module", "name", "summary", "usage")

    def __init__(self, name: str, usage: str, summary: str) -> None:
        self.name = name
        self.usage = usage
        self.summary = summary
        self.module = f"reconciler.cli.verbs.{name.replace('-', '_')}"


GROUPS: tuple[tuple[str, tuple[Verb, ...]], ...] = (
    (
        "Write specs",
        (
            Verb("init", "[DIR]", "make a specs folder with an example that runs"),
            Verb("validate", "[FILE...]", "check spec files; every mistake with its place"),
            Verb("expand", "[FILE]", "list the jobs that grids and phases turn into"),
            Verb("schema", "", "print the JSON Schema of spec files, for editors"),
            Verb("settings", "", "each setting, and where its value comes from"),
        ),
    ),
    (
        "Run them",
        (
            Verb("doctor", "[HOST...]", "what is wrong with machines and specs, and what mends it"),
            Verb("diff", "[PROJECT]", "show what the loop would do now, and why"),
            Verb("apply", "FILE", "carry out a plan that diff --out wrote, if nothing has moved since"),
            Verb("run", "", "carry it out: the loop, in the foreground"),
            Verb("service", "install|...", "the loop as a systemd service that starts with the machine"),
            Verb("push", "HOST[:DIR]", "put the specs and exq on another machine, and run the loop there"),
        ),
    ),
    (
        "Look",
        (
            Verb("status", "[PROJECT|JOB...]", "where every job stands"),
            Verb("hosts", "[HOST...]", "which hosts answer, their GPUs, and what of ours is there"),
            Verb("why", "JOB", "why a job is where it is, and what would move it"),
            Verb("logs", "JOB", "its output; -f follows it"),
            Verb("attach", "JOB", "open its live screen session"),
            Verb("history", "[JOB]", "what was done, when and for what reason"),
            Verb("report", "[PROJECT]", "the summary of a project, as Markdown or an HTML page"),
        ),
    ),
    (
        "Step in",
        (
            Verb("retry", "JOB...", "run a stuck or failed job again"),
            Verb("stop", "JOB...", "end a job and keep it from running again"),
            Verb("pause", "[JOB|PROJECT...]", "launch nothing more; what runs goes on"),
            Verb("resume", "[JOB|PROJECT...]", "lift a pause"),
            Verb("source", "", "the git repository of the specs; --accept takes a rewritten history"),
            Verb("forget-host", "HOST", "give up what may run on a host that does not answer"),
        ),
    ),
)

VERBS: dict[str, Verb] = {verb.name: verb for _, verbs in GROUPS for verb in verbs}

_OTHER_WORDS = {
    "check": "doctor",
    "preflight": "doctor",
    "scaffold": "init",
    "new": "init",
    "lint": "validate",
    "plan": "diff",
    "config": "settings",
    "git": "source",
    "start": "run",
    "daemon": "service",
    "systemd": "service",
    "ls": "status",
    "list": "status",
    "ps": "status",
    "log": "logs",
    "tail": "logs",
    "explain": "why",
    "kill": "stop",
    "cancel": "stop",
    "rerun": "retry",
    "requeue": "retry",
    "unpause": "resume",
    "continue": "resume",
    "events": "history",
    "audit": "history",
    "summary": "report",
    "fleet": "hosts",
    "machines": "hosts",
    "nodes": "hosts",
    "forget": "forget-host",
    "deploy": "push",
    "sync": "push",
    "upload": "push",
}

_OPTIONS_HELP = """\
Options, before or after the verb
  --specs DIR         the folder of spec files (EXQ_SPECS; default ./specs)
  --state DIR         the state folder (EXQ_STATE; default ~/.local/state/exq)
  --host HOST         carry the verb out on another machine, over ssh (--specs and --state are paths there)
  --json              machine-readable output
  --color WHEN        auto, always or never (NO_COLOR turns it off)
  --version           the version of exq
  -h, --help          this page, or a verb's own: exq VERB --help
"""


def help_text() -> str:
    """The page of `exq --help`."""
    lines = ["exq: runs batches of experiments as spec files ask for them, and says why when it does not", ""]
    lines += ["usage: exq [--host HOST] [--specs DIR] [--state DIR] VERB ...", ""]
    for title, verbs in GROUPS:
        lines.append(title)
        lines += [f"  {f'{verb.name} {verb.usage}'.strip():<26}{verb.summary}" for verb in verbs]
        lines.append("")
    return "\n".join(lines) + "\n" + _OPTIONS_HELP


def split_verb(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The verb (the first word that is neither an option nor its value) and everything else, in order."""
    skip = False
    for place, word in enumerate(argv):
        if skip:
            skip = False
        elif word in GLOBAL_WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            return word, [*argv[:place], *argv[place + 1 :]]
    return None, list(argv)


def closest_verb(word: str) -> str | None:
    """The verb that was probably meant, by another tool's word for it or by spelling."""
    import difflib

    known = _OTHER_WORDS.get(word.lower())
    if known:
        return known
    close = difflib.get_close_matches(word.lower(), VERBS, n=1, cutoff=0.6)
    return close[0] if close else None
