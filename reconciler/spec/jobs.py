"""Blueprints into jobs: the only code that runs once per job, so it does nothing that could be done once."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from reconciler.model.spec import Job, Precondition
from reconciler.spec.grid import MAX_JOBS
from reconciler.spec.ids import fitted, name_problem
from reconciler.spec.report import listed, short

if TYPE_CHECKING:
    from reconciler.spec.binding import Cell, Text
    from reconciler.spec.entry import Blueprint, Setting
    from reconciler.spec.nodes import Place


def generation_of(
    cmd: str,
    cwd: str,
    env: Mapping[str, str],
    conda: str | None,
    conda_hook: str | None,
    outputs: tuple[str, ...],
    venv: str | None = None,
    runner: str | None = None,
) -> str:
    """The hash of what a job runs: 16 hex digits. Equal for equal jobs, wherever they stand."""
    return _generation(cmd, cwd, conda, conda_hook, _env_text(env), "\0".join(outputs), venv, runner)


class JobMaker:
    """Makes the jobs of one project and sees to it that their ids differ."""

    def __init__(self) -> None:
        self._taken: dict[str, Place] = {}
        self.made = 0
        self.without_command = 0
        self.first_without_command: Place = (0, 0)

    def make(self, blueprint: Blueprint, setting: Setting) -> tuple[Job, ...]:
        """All jobs of a blueprint, in grid order."""
        self.made += blueprint.grid.size
        if self.made > MAX_JOBS:
            words = f"this brings the project to {self.made:,} jobs, and {MAX_JOBS:,} is the most"
            setting.report.error(blueprint.place, words)
            return ()
        jobs = tuple(_jobs(blueprint, setting))
        if blueprint.id_sound:
            self._check_ids(jobs, blueprint, setting)
        if not blueprint.cmd.form and not blueprint.cmd_lost:
            self.first_without_command = self.first_without_command if self.without_command else blueprint.place
            self.without_command += len(jobs)
        return jobs

    def _check_ids(self, jobs: tuple[Job, ...], blueprint: Blueprint, setting: Setting) -> None:
        ids = {job.id for job in jobs}
        if len(ids) < len(jobs):
            setting.report.error(blueprint.id_place, _repeated(jobs, blueprint))
        for job_id in sorted(ids & self._taken.keys())[:10]:
            line, column = self._taken[job_id]
            where = f"{setting.report.path}:{line}:{column}"
            setting.report.error(
                blueprint.id_place, f"the id `{short(job_id)}` is taken: the entry at {where} has it too"
            )
        self._taken.update(dict.fromkeys(ids, blueprint.id_place))
        bad = next((job.id for job in jobs if name_problem(job.id)), None)
        if bad is not None:
            setting.report.error(blueprint.id_place, f"the id `{short(bad)}` {name_problem(bad)}")


def _repeated(jobs: tuple[Job, ...], blueprint: Blueprint) -> str:
    """Words for a template that makes one id more than once."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.id] = counts.get(job.id, 0) + 1
    job_id, count = next((job_id, count) for job_id, count in counts.items() if count > 1)
    shown = {slot.axis for slot in blueprint.id.slots}
    axes = [axis.name for index, axis in enumerate(blueprint.grid.axes) if len(axis.values) > 1 and index not in shown]
    made = f"the id `{short(job_id)}` is made {count} times"
    if not axes:
        return f"{made}: put something between its parameters"
    verb = "varies and is" if len(axes) == 1 else "vary and are"
    return f"{made}: {listed(axes)} {verb} not in it (write `${{{axes[0]}}}` into the id)"


def _jobs(blueprint: Blueprint, setting: Setting) -> Iterator[Job]:
    project, phase, gpus = setting.project, setting.phase, blueprint.gpus
    source = f"{setting.report.path}:{blueprint.place[0]}:{blueprint.place[1]}"
    names = [axis.name for axis in blueprint.grid.axes]
    conda_hook, made = blueprint.environment.conda_hook, blueprint.id_made
    conda_at = _optional_at(blueprint.environment.conda)
    venv_at, runner_at = _optional_at(blueprint.environment.venv), _optional_at(blueprint.environment.runner)
    id_at, cmd_at = blueprint.id.at, blueprint.cmd.at
    cwd_at = _cwd_at(blueprint.cwd, setting.base)
    env_at, outputs_at, preconditions_at = _env_at(blueprint), _outputs_at(blueprint), _preconditions_at(blueprint)
    for cell, values in blueprint.grid.cells():
        job_id = fitted(id_at(cell)) if made else id_at(cell)
        cmd, cwd = cmd_at(cell), cwd_at(cell)
        env, env_text = env_at(cell)
        outputs = outputs_at(cell)
        conda, venv, runner = conda_at(cell), venv_at(cell), runner_at(cell)
        params = dict(zip(names, values, strict=True)) if names else blueprint.fixed_params
        yield Job(
            f"{project}/{job_id}",
            project,
            job_id,
            phase,
            cmd,
            cwd,
            env,
            conda,
            conda_hook,
            outputs,
            preconditions_at(cell),
            params,
            gpus,
            _generation(cmd, cwd, conda, conda_hook, env_text, "\0".join(outputs), venv, runner),
            source,
            venv,
            runner,
        )


def _generation(
    cmd: str,
    cwd: str,
    conda: str | None,
    conda_hook: str | None,
    env_text: str,
    outputs_text: str,
    venv: str | None,
    runner: str | None,
) -> str:
    # no text of a spec holds a NUL, so the joined text is different for different jobs
    whole = f"{cmd}\0{cwd}\0{conda or ''}\0{conda_hook or ''}\0{env_text}\0{outputs_text}"
    digest = sha256(whole.encode())
    if venv or runner:  # jobs without them keep the generation that they had before there were any
        digest.update(f"\0\0{venv or ''}\0{runner or ''}".encode())
    return digest.hexdigest()[:16]


def _optional_at(text: Text | None) -> Callable[[Cell], str | None]:
    return text.at if text is not None else lambda _cell: None


def _env_text(env: Mapping[str, str]) -> str:
    return "\0".join([str(len(env)), *[f"{name}={env[name]}" for name in sorted(env)]])


def _cwd_at(text: Text, base: str) -> Callable[[Cell], str]:
    resolved: dict[str, str] = {}

    def at(cell: Cell) -> str:
        written = text.at(cell)
        if written not in resolved:
            resolved[written] = resolved_cwd(written, base)
        return resolved[written]

    return at


def resolved_cwd(written: str, base: str) -> str:
    """An absolute folder; one in somebody's home (`~`) is left for the host to find."""
    if written.startswith("~"):
        return os.path.normpath(written)
    return os.path.normpath(os.path.join(base, written))


def _env_at(blueprint: Blueprint) -> Callable[[Cell], tuple[dict[str, str], str]]:
    def at(cell: Cell) -> tuple[dict[str, str], str]:
        env = {name: text.at(cell) for name, text in blueprint.env}
        return env, _env_text(env)

    if any(text.varies for _, text in blueprint.env):
        return at
    shared = at(())
    return lambda _cell: shared


def _outputs_at(blueprint: Blueprint) -> Callable[[Cell], tuple[str, ...]]:
    def at(cell: Cell) -> tuple[str, ...]:
        return tuple([text.at(cell) for text in blueprint.outputs])

    if any(text.varies for text in blueprint.outputs):
        return at
    shared = at(())
    return lambda _cell: shared


def _preconditions_at(blueprint: Blueprint) -> Callable[[Cell], tuple[Precondition, ...]]:
    def at(cell: Cell) -> tuple[Precondition, ...]:
        return tuple([Precondition(kind, text.at(cell)) for kind, text in blueprint.preconditions])

    if any(text.varies for _, text in blueprint.preconditions):
        return at
    shared = at(())
    return lambda _cell: shared
