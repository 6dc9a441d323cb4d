"""The files of `exq init`. Each is written only where there is none: nothing is ever overwritten."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.exits import CliError

SCHEMA_NAME = "spec.schema.json"
"""Beside the specs, so that an editor finds it without a network; not a name that is taken for a spec."""
EXAMPLE_NAME = "example.yaml"
SETTINGS_NAME = "exq.yaml"
SETTINGS_SCHEMA_NAME = "settings.schema.json"
YAML_WORDS = frozenset({"true", "false", "null", "yes", "off"})
IGNORED = ("experiment_queue/", "collected/")
_IGNORED_WHY = "# what exq leaves beside a project: manifests and summaries of runs, outputs of other machines"

EXAMPLE = """\
# yaml-language-server: $schema=./@SCHEMA@
#
# Four small jobs that run on any machine. Editors that know the YAML language server complete and check this file.
# Paths are relative to the folder that holds this one, or to `cwd`.
project: @PROJECT@

gpus: none                  # on a GPU machine: `all`, or [0, 1, 2, 3]
max_parallel: 2             # how many jobs at a time
# hosts: [gpu1, gpu2]       # other machines, as in ~/.ssh/config; they need a `cwd`, too. Without, jobs run here
# cwd: ~/distill            # where the commands run, on each of the hosts
# conda: torch              # the environment to activate; or `venv: .venv`, or `runner: uv run`
# oom_retry: {delay: 2m, max_attempts: 3}    # out of memory: try again, elsewhere if need be

grid:                       # every combination is a job
  lr: [0.1, 0.01]
  seed: [1, 2]

template:
  id: lr${lr}_s${seed}
  # Your own: python train.py --lr ${lr} --seed ${seed} --out results/lr${lr}_s${seed}.json
  cmd: >
    mkdir -p results/example &&
    echo '{"lr": ${lr}, "seed": ${seed}}' > results/example/lr${lr}_s${seed}.json
  # A job is completed when it exits with 0 and this is there and new.
  output_check: results/example/lr${lr}_s${seed}.json
"""


SETTINGS = """\
# yaml-language-server: $schema=./@SCHEMA@
#
# Settings of exq for this folder; `exq settings` shows what holds and why. Everything here may be left out.

# Take the specs from commits instead of the files as they are. This folder, as committed:
# source: {git: {path: .}}
# Or a repository elsewhere, fetched every minute:
# source:
#   git:
#     url: git@github.com:me/experiments.git
#     path: specs             # the folder in it
#     ref: main
#     interval: 60s

# nvidia_smi: /usr/lib/wsl/lib/nvidia-smi
# screen: /opt/screen/bin/screen
# host_names: [gpu1]          # names of this machine in `hosts` of specs
# ssh_config: ./ssh_config    # in place of ~/.ssh/config
# remote_state: /local/me/exq # the state folder on hosts behind SSH
"""


@dataclass(slots=True)
class Made:
    """What was written, and what was left alone and why."""

    written: list[Path] = field(default_factory=list)
    kept: list[tuple[Path, str]] = field(default_factory=list)


def scaffold(specs: Path) -> Made:
    """Make a specs folder and what belongs to it. Raises `CliError` where something is in the way, and OSError."""
    made = Made()
    _make_folder(specs)
    others = sorted(path.name for path in specs.iterdir() if _is_other_spec(path))
    if others:
        why = f"no example was written: the folder has {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}"
        made.kept.append((specs, why))
    else:
        _write(specs / EXAMPLE_NAME, example(specs), made, "it is there already, as it was")
    settings = SETTINGS.replace("@SCHEMA@", SETTINGS_SCHEMA_NAME)
    _write(specs / SETTINGS_NAME, settings, made, "it is there already, as it was")
    _write_schemas(specs, made)
    _ignore(specs.parent / ".gitignore", made)
    return made


def example(specs: Path) -> str:
    """The example for a specs folder. Its project is called like the folder around it: the ledger, which serves all
    folders of a user, knows jobs by project and id."""
    around = re.sub("[^a-z0-9_-]+", "-", specs.absolute().parent.name.lower()).strip("-_")[:60]
    name = around if re.match("[a-z]{3}", around) and around not in YAML_WORDS else f"exp-{around}".strip("-")
    return EXAMPLE.replace("@PROJECT@", name).replace("@SCHEMA@", SCHEMA_NAME)


def _make_folder(specs: Path) -> None:
    """Nobody else may write into a specs folder, whatever the umask: what is in it runs as its user."""
    for folder in (specs.parent, specs):
        if folder.is_dir():
            continue
        if os.path.lexists(folder):
            raise CliError(f"{folder} is not a folder", "name another one: exq init DIR")
        folder.mkdir(mode=0o755, parents=True)


def _is_other_spec(path: Path) -> bool:
    from reconciler.spec.reading import is_spec_name

    return is_spec_name(path.name) and path.name != EXAMPLE_NAME


def _write(path: Path, text: str, made: Made, why_kept: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        made.kept.append((path, why_kept))
        return
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
    made.written.append(path)


def _write_schemas(specs: Path, made: Made) -> None:
    from reconciler.spec.schema import schema_text, settings_schema_text

    _write_schema(specs / SCHEMA_NAME, schema_text(), "exq schema", made)
    _write_schema(specs / SETTINGS_SCHEMA_NAME, settings_schema_text(), "exq schema --settings", made)


def _write_schema(path: Path, text: str, command: str, made: Made) -> None:
    from shlex import quote

    why = "it is there already, as it was"
    if path.is_file() and path.read_bytes() != text.encode("utf-8"):
        why = f"it is not the schema of this version of exq, which `{command} >{quote(str(path))}` writes"
    _write(path, text, made, why)


def _ignore(path: Path, made: Made) -> None:
    """Add the lines that are missing."""
    before = path.read_bytes() if path.exists() else b""
    there = {line.strip().strip(b"/") for line in before.splitlines()}
    missing = [line for line in IGNORED if line.strip("/").encode() not in there]
    if not missing:
        made.kept.append((path, "it ignores what exq leaves there already"))
        return
    gap = "" if not before else "\n" if before.endswith(b"\n") else "\n\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(gap + "\n".join([_IGNORED_WHY, *missing]) + "\n")
    made.written.append(path)
