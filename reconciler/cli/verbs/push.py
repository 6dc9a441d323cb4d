"""`exq push`: specs and exq itself onto another machine, and the loop there."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.context import Context, say, who
from reconciler.cli.exits import OK, PROBLEM, USAGE, CliError
from reconciler.cli.output import print_json, print_text, style_for

if TYPE_CHECKING:
    from reconciler.cli.push.decide import Change, Exq, There
    from reconciler.cli.push.pack import Package
    from reconciler.cli.push.running import Far, Loop
    from reconciler.cli.push.wheel import Wheel
    from reconciler.host.ssh.courier import Courier

EXAMPLES = """\
  exq push gpu-box               what changes there, the diff there, a question; then the loop goes on with it
  exq push gpu-box:work/distill  into that folder (relative to the home folder there)
  exq push gpu-box --dry-run     what would change; nothing is written
  exq push gpu-box --yes         without a question
  exq --host gpu-box status      any verb there"""

_PLAIN = re.compile(r"[A-Za-z0-9_./~+-]+")
DATA = ".local/share/exq"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST[:DIR]", help="as in ~/.ssh/config; DIR is to hold the specs folder there")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("-n", "--dry-run", action="store_true", help="show what would change, and write nothing")
    parser.add_argument("--force", action="store_true", help="also over what somebody else has put there")
    parser.add_argument("--no-service", action="store_true", help="start no loop there")
    parser.add_argument("--python", metavar="PATH", help="the Python there that is to run exq; default: python3")
    parser.add_argument("--wheels", metavar="DIR", help="wheels of what exq needs, where no package index is in reach")


def run(args: Namespace, context: Context) -> int:
    """Push, once the user has seen what it does there. Raises `CliError`; then nothing has changed there."""
    from reconciler.cli.push.pack import pack
    from reconciler.cli.push.wheel import running_wheel
    from reconciler.cli.push.words import not_done
    from reconciler.host.ssh.by_hand import use_config
    from reconciler.host.ssh.courier import Courier, NotDone
    from reconciler.host.ssh.trouble import SshTrouble

    host, folder = _place(args)
    context.require_specs()
    _refuse_broken(context)
    use_config(context.settings().ssh_config)
    push = _Push(args, context, host, folder, pack(context.specs), running_wheel())
    try:
        with Courier(host, args.python or "python3") as courier:
            return push.run(courier)
    except SshTrouble as error:
        raise CliError(error.trouble.message, error.trouble.mend) from None
    except NotDone as problem:
        raise not_done(host, problem) from None


def _place(args: Namespace) -> tuple[str, str]:
    """The host and the folder there (empty: to be chosen). Raises `CliError`."""
    from reconciler.parse.ssh_config import BadConfig, check_destination

    host, colon, folder = args.host.partition(":")
    try:
        check_destination(host)
    except BadConfig as error:
        raise CliError(str(error), "name it as in ~/.ssh/config", USAGE) from None
    if colon and not folder:
        raise CliError(f"{args.host} names no folder", f"exq push {host}:DIR, or exq push {host}", USAGE)
    if args.python and not _PLAIN.fullmatch(args.python):
        raise CliError(f"{args.python!r} cannot be the path of a Python", "give it without blanks and quotes", USAGE)
    return host, folder


def _refuse_broken(context: Context) -> None:
    """A broken file would keep to its last good version there, which nobody sees here."""
    from reconciler.cli.specs import load_fresh

    errors = [error for error in load_fresh(context).errors if not error.warning]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise CliError(f"specs with mistakes are not pushed: {errors[0]}{more}", "exq validate shows every mistake")


@dataclass(slots=True)
class _Push:
    """One push, from the look to the loop."""

    args: Namespace
    context: Context
    host: str
    folder: str
    package: Package
    wheel: Wheel

    def run(self, courier: Courier) -> int:
        there, exq = self._look(courier)
        from reconciler.cli.push.decide import change_of, specs_differ

        change = change_of(there.files, self.package.digests)
        new_specs = specs_differ(self.package, there)
        new_exq = exq.action in ("install", "switch")
        told = self._tell(there, change, exq)
        if self.args.dry_run:
            return self._end(told, pushed=False)
        if not new_specs and not new_exq:
            self._remember(there)
            return self._nothing(courier, there, exq, told)
        self._refuse_unasked()
        if exq.action == "install":
            exq = self._install(courier, exq)
        far = self._far(courier, exq, there.specs)
        release = self._stage(courier, there) if new_specs else ""
        self._diff(courier, far, there, release, told)
        if not self.args.yes and not self._agreed():
            say(f"nothing has changed on {self.host}")
            return PROBLEM
        return self._carry_out(courier, far, there, exq, release, told)

    def _look(self, courier: Courier) -> tuple[There, Exq]:
        from reconciler.cli.push import decide
        from reconciler.cli.push.pushes import pushed_to

        specs = Path(os.path.abspath(self.context.specs))
        known = None if self.folder else pushed_to(self.host, specs, self.context.env)
        home = Path(self.context.env.get("HOME") or "~").expanduser()
        alike = specs.parent.relative_to(home).as_posix() if specs.parent.is_relative_to(home) else ""
        answer = courier.ask(
            "look",
            folder=self.folder or (known.folder if known else ""),
            alike=alike if alike != "." else "",
            project=specs.parent.name or "specs",
            name=specs.name,
            build=self.wheel.build,
            python=self.args.python,
        )
        there = decide.There.read(answer)
        if decide.specs_differ(self.package, there):
            decide.refuse_obstacle(self.host, there)
        words = decide.refuse_overwriting(
            self.host, self.package, there, self._me(), self._follows, force=self.args.force
        )
        if words:
            say(f"! {words}")
        decide.refuse_other_service(self.host, there, not self.args.no_service)
        return there, decide.decide_exq(self.host, self.wheel.version, there, self.wheel.build, self.args.python)

    def _me(self) -> dict[str, str]:
        return {"by": who(self.context.env), "source": os.path.abspath(self.context.specs)}

    def _follows(self, commit: str) -> bool:
        """The specs here are built on this commit of somebody else."""
        from reconciler.spec.git_run import GitProblem, run_git

        if not re.fullmatch("[0-9a-f]{7,64}", commit) or not self.package.commit:
            return False
        try:
            folder = str(self.context.specs)
            return run_git("-C", folder, "merge-base", "--is-ancestor", commit, self.package.commit).code == 0
        except GitProblem:  # then it is not known to be, and --force is asked for
            return False

    def _tell(self, there: There, change: Change, exq: Exq) -> dict[str, Any]:
        from reconciler.cli.push.words import plan_json, plan_text

        if not self.context.json:
            style = style_for(self.context)
            print_text(plan_text(self.host, self.package, there, change, exq, self.wheel.version, style))
            if there.exq.get("foreign"):
                say("! ~/.local/bin/exq there was not made by a push and stays; exq --host uses the pushed one")
        return plan_json(self.host, self.package, there, change, exq, self.wheel.version)

    def _refuse_unasked(self) -> None:
        if self.args.yes or (not self.context.json and sys.stdin.isatty() and sys.stderr.isatty()):
            return
        raise CliError(
            f"pushing to {self.host} has to be confirmed", f"exq push {self.args.host} --yes, or look: --dry-run"
        )

    def _install(self, courier: Courier, exq: Exq) -> Exq:
        from dataclasses import replace

        say(f"installing exq {self.wheel.version} on {self.host}; what is there now is not touched")
        wheels = [(self.wheel.name, self.wheel.data()), *self._wheels()]
        answer = courier.ask(
            "install",
            b"".join(data for _, data in wheels),
            build=self.wheel.build,
            version=self.wheel.version,
            python=exq.python,
            wheels=[[name, len(data)] for name, data in wheels],
            no_index=bool(self.args.wheels),
        )
        return replace(exq, build=answer["build"])

    def _wheels(self) -> list[tuple[str, bytes]]:
        if not self.args.wheels:
            return []
        paths = sorted(Path(self.args.wheels).glob("*.whl"))
        if not paths:
            raise CliError(f"there is no wheel in {self.args.wheels}", "pip download --dest DIR fetches wheels")
        return [(path.name, path.read_bytes()) for path in paths if not path.name.startswith("exq-")]

    def _stage(self, courier: Courier, there: There) -> str:
        at = time.time()
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at))
        release = f"{moment}-{self.package.digest[:12]}-{secrets.token_hex(2)}"
        about = {**self._me(), "at": at, "revision": self.package.revision, "commit": self.package.commit}
        courier.ask(
            "stage",
            self.package.blob,
            folder=there.folder,
            name=os.path.basename(there.specs),
            release=release,
            revision=self.package.revision,
            files=[file.row() for file in self.package.files],
            about={**about, "exq": self.wheel.version, "files": self.package.digests},
        )
        return release

    def _far(self, courier: Courier, exq: Exq, specs: str) -> Far:
        from reconciler.cli.push.running import Far

        return Far(self.host, courier, f"~/{DATA}/{exq.build}/bin/exq", specs)

    def _diff(self, courier: Courier, far: Far, there: There, release: str, told: dict[str, Any]) -> None:
        """What the loop there would do with the new specs, which do not count yet."""
        name = os.path.basename(there.specs)
        staged = os.path.join(there.folder, f".{name}.staged-{release}") if release else there.specs
        how = ["--json"] if self.context.json else ["--color", "always" if self.context.color else "never"]
        done = courier.ask("run", argv=[far.program, "--specs", staged, "diff", *how], env={"EXQ_FAR": self.host})
        if done["code"] != 0:
            said = str(done["err"]).strip().replace(staged, there.specs)
            raise CliError(f"exq diff on {self.host} fails with these specs, so they are not pushed: {said}", "")
        if self.context.json:
            told["diff"] = json.loads(done["out"])
        else:
            print(f"\nwhat the loop on {self.host} does then:")
            print_text(str(done["out"]).replace(staged, there.specs))

    def _agreed(self) -> bool:
        sys.stdout.flush()
        loop = "" if self.args.no_service else ", and have the loop there carry it out"
        sys.stderr.write(f"Push this to {self.host}{loop}? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _carry_out(self, courier: Courier, far: Far, there: There, exq: Exq, release: str, told: dict[str, Any]) -> int:
        from reconciler.cli.push.running import start_loop
        from reconciler.cli.push.words import done_text

        new_exq = exq.action in ("install", "switch")
        if new_exq:
            courier.ask("activate", build=exq.build)
        notes = self._switch(courier, there, release) if release else []
        self._remember(there)
        loop = None if self.args.no_service else start_loop(far, there, new_exq=new_exq)
        notes += self._prune(courier)
        if not self.context.json:
            ends = [loop.words, loop.hint] if loop else [self._not_started(far)]
            print_text(done_text(self.host, there, self.package, [note for note in (*notes, *ends) if note]))
            say(f"Next: exq --host {self.host} status")
        return self._end({**told, "notes": [note for note in notes if note]}, pushed=True, loop=loop)

    def _not_started(self, far: Far) -> str:
        """With --no-service: whether anybody carries the specs out all the same."""
        from reconciler.cli.push.running import loop_now, running, to_start

        daemon = loop_now(far)
        if daemon is None:
            return f"no loop runs there; to start one: {to_start(self.host)}"
        return running(self.host, daemon).words

    def _switch(self, courier: Courier, there: There, release: str) -> list[str]:
        from reconciler.cli.push.words import held_words

        done = courier.ask(
            "switch",
            folder=there.folder,
            name=os.path.basename(there.specs),
            release=release,
            kind=there.kind,
            current=there.current,
        )
        kept = f"what was there before is in {done['kept']}" if done.get("kept") else ""
        return [kept, held_words(done.get("held") or []), str(done.get("problem") or "")]

    def _prune(self, courier: Courier) -> list[str]:
        """All else is done, so that what cannot be taken away is only told."""
        from reconciler.host.ssh.courier import NotDone

        try:
            courier.ask("prune")
        except NotDone as problem:
            return [f"old builds of exq stay there this time: {problem}"]
        return []

    def _nothing(self, courier: Courier, there: There, exq: Exq, told: dict[str, Any]) -> int:
        from reconciler.cli.push.running import loop_now, running, to_start

        daemon = None if self.args.no_service else loop_now(self._far(courier, exq, there.specs))
        loop = running(self.host, daemon) if daemon is not None else None
        if not self.context.json:
            print_text(f"{self.host} has all of it already")
            if loop is not None and not loop.runs:
                say(f"! {loop.words}\n  {loop.hint}")
            elif loop is None and not self.args.no_service:
                say(f"! no loop runs there; to start one: {to_start(self.host)}")
        return self._end(told, pushed=False, loop=loop)

    def _remember(self, there: There) -> None:
        from reconciler.cli.push.pushes import Pushed, remember

        remember(self.host, self.context.specs, Pushed(there.folder, there.specs), self.context.env)

    def _end(self, told: dict[str, Any], *, pushed: bool, loop: Loop | None = None) -> int:
        if self.context.json:
            loop_told = {"kind": loop.kind, "message": loop.words, "hint": loop.hint or None} if loop else None
            print_json({**told, "pushed": pushed, "dry_run": bool(self.args.dry_run), "loop": loop_told})
        return OK if loop is None or loop.runs else PROBLEM
