"""`exq doctor`: whether the machines and the specs are fit for work, and what mends what is not."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from reconciler.cli.context import Context
from reconciler.cli.exits import OK, PROBLEM
from reconciler.cli.look import waiting_said
from reconciler.cli.output import print_json, print_text, style_for

if TYPE_CHECKING:
    from reconciler.model.doctor import Check
    from reconciler.model.spec import Desired

EXAMPLES = """\
  exq doctor                     this machine, and every host of the specs
  exq doctor gpu1                this host alone, also before any spec names it
  exq doctor && exq run
  exq doctor --json | jq -r '.checks[] | select(.status != "ok") | .mend // .message'"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("hosts", metavar="HOST", nargs="*", help="look at these only; default: all that the specs name")


def run(args: Namespace, context: Context) -> int:
    """0 when there is no error, 1 when there is one."""
    from reconciler.cli.doctor_hosts import answers, doctors_world, patients
    from reconciler.cli.doctor_own import own_checks
    from reconciler.model.doctor import CheckStatus
    from reconciler.view.doctor import doctor_json, render_summary

    found: list[Check] = []
    desired = _desired(context)
    with doctors_world(context) as (world, problem):
        own = [*([] if args.hosts else own_checks(context, world.settings, desired)), *([problem] if problem else [])]
        if own:
            _tell(context, None, own, found)
        asked = patients(world, desired or _nothing(), args.hosts)
        left = {patient.host for patient in asked}
        with waiting_said(lambda: sorted(left)):
            for patient, checks in answers(world, asked):
                left.discard(patient.host)
                _tell(context, patient.host, checks, found)
    if context.json:
        print_json(doctor_json(found, time.time()))
    else:
        print_text(render_summary(found))
    return PROBLEM if any(check.status is CheckStatus.ERROR for check in found) else OK


def _tell(context: Context, host: str | None, checks: list[Check], found: list[Check]) -> None:
    """Print at once what one host answered; JSON waits for all."""
    from reconciler.view.doctor import render_checks

    found.extend(checks)
    if not context.json:
        print_text(render_checks(host, checks, style_for(context)))
        sys.stdout.flush()


def _desired(context: Context) -> Desired | None:
    from reconciler.cli.specs import load_fresh

    return load_fresh(context) if context.specs.is_dir() else None


def _nothing() -> Desired:
    from reconciler.model.spec import Desired

    return Desired(version="", revision="", projects={})
