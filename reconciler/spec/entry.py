"""One job entry or template, compiled: every field resolved as far as it does not vary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.model.enums import PreconditionKind
from reconciler.model.spec import MAIN_PHASE, Scalar
from reconciler.spec.arguments import rendered_args
from reconciler.spec.binding import Binder, Part, Text, joined, stripped
from reconciler.spec.environment import Environment, environment_of
from reconciler.spec.grid import Grid
from reconciler.spec.ids import made_prefix, safe_value
from reconciler.spec.nodes import ListNode, MapNode, Node, ScalarNode, as_maps, as_scalars, text_of
from reconciler.spec.report import listed
from reconciler.spec.settings import whole_number
from reconciler.spec.tokens import NAME, Kind, command_end

if TYPE_CHECKING:
    from reconciler.spec.hosts import GpuBound
    from reconciler.spec.nodes import Place
    from reconciler.spec.report import Report
    from reconciler.spec.scope import Scope

_BRACES = re.compile(rf"(?<![${{])\{{({NAME.pattern})\}}(?!\}})")


@dataclass(frozen=True, slots=True)
class Setting:
    """What the compiler needs to know of the project and the phase around an entry."""

    project: str
    phase: str
    """Empty where the phase has no name that can be used."""
    base: str
    hydra: bool
    remote: str
    """The key that names other machines than the loop's own; empty where none does."""
    gpus: GpuBound | None
    """None: a project without GPUs."""
    report: Report


@dataclass(frozen=True, slots=True)
class Entry:
    """A job or template as written; `grid` has its parameters, of one value each for a job."""

    scope: Scope
    own: MapNode
    grid: Grid
    place: Place
    is_template: bool


@dataclass(frozen=True, slots=True)
class Blueprint:
    """An entry ready to be made into one job per cell of its grid."""

    grid: Grid
    place: Place
    id: Text
    id_place: Place
    id_made: bool
    id_sound: bool
    """Nothing was wrong with its template, so what is made of it can be judged."""
    cmd: Text
    cmd_lost: bool
    """A mistake took a command away, so that the lack of one says nothing."""
    cwd: Text
    env: tuple[tuple[str, Text], ...]
    environment: Environment
    outputs: tuple[Text, ...]
    preconditions: tuple[tuple[PreconditionKind, Text], ...]
    fixed_params: dict[str, Scalar]
    """The parameters of an entry without any: its literal args."""
    gpus: int


def compile_entry(entry: Entry, setting: Setting) -> Blueprint:
    """Resolve an entry. Mistakes go to the report; what comes back is then only good for finding more of them."""
    args = entry.scope.merged("args")
    mistakes = setting.report.mistakes
    lost = entry.scope.lost_names() if mistakes else frozenset()
    binder = Binder(entry.grid.axes, args, setting.report, _owner(entry, setting), lost)
    cmd = _command(entry, setting, binder, args)
    cwd = _cwd(entry, setting, binder)
    env = tuple(
        (name, binder.text(node, Kind.ENV))
        for name, node in sorted(entry.scope.merged("env").items())
        if isinstance(node, ScalarNode)
    )
    environment = environment_of(entry.scope, binder, setting.report)
    used = set(binder.used)
    outputs_node = entry.scope.nearest("output_check", "expected_output")
    outputs = tuple(binder.text(node, Kind.PATH) for node in as_scalars(outputs_node))
    cmd_lost = entry.scope.lacks("cmd", "default_cmd")
    if cmd.form and setting.report.mistakes == mistakes and not lost and not cmd_lost:
        _warn_of_unused(entry, setting, used, outputs, outputs_node)
    id_node = entry.own.get("id")
    before = setting.report.mistakes
    job_id = _made_id(entry, setting, binder) if id_node is None else _written_id(id_node, binder)
    return Blueprint(
        grid=entry.grid,
        place=entry.place,
        id=job_id,
        id_place=entry.place if id_node is None else id_node.place,
        id_made=id_node is None,
        id_sound=setting.report.mistakes == before and bool(setting.phase) and not (lost and id_node is None),
        cmd=cmd,
        cmd_lost=cmd_lost,
        cwd=cwd,
        env=env,
        environment=environment,
        outputs=outputs,
        preconditions=_preconditions(entry, binder),
        fixed_params={} if entry.grid.axes else _literal_args(entry),
        gpus=_gpus(entry, setting),
    )


def _owner(entry: Entry, setting: Setting) -> str:
    """Who has the names, for a message."""
    name = text_of(entry.own.get("id"))
    if not entry.is_template:
        return f"the job `{name}`" if name else f"the job on line {entry.place[0]}"
    return "the template" if setting.phase in (MAIN_PHASE, "") else f"the template of the phase `{setting.phase}`"


def _command(entry: Entry, setting: Setting, binder: Binder, args: dict[str, Node]) -> Text:
    own = entry.own.get("cmd")
    node = own if own is not None else entry.scope.nearest("default_cmd")
    parts = rendered_args(args, binder, hydra=setting.hydra)
    if not isinstance(node, ScalarNode) or not node.raw.strip():
        return Text("")
    opened, in_comment = command_end(node.raw.strip())
    if opened:
        setting.report.error(node.place, opened)
    elif in_comment and parts:
        setting.report.error(node.place, "the command ends in a comment, so its args would be part of that comment")
    command = stripped(binder.command(node))
    _warn_of_braces(node, binder, setting.report)
    rest = joined(parts)
    if not command.slots and not rest.slots:
        return Text(command.form + rest.form)
    return Text(_as_format(command) + _as_format(rest), (*command.slots, *rest.slots))


def _warn_of_braces(node: ScalarNode, binder: Binder, report: Report) -> None:
    """`{seed}` in a command that does not use `seed`: a forgotten `$`. A name that this is told of counts as used."""
    axes = {axis.name: index for index, axis in enumerate(binder.axes)}
    found = {match[1]: match.start() for match in reversed(list(_BRACES.finditer(node.raw)))}
    for name, start in found.items():
        known = axes[name] not in binder.used if name in axes else name in binder.args
        if known and not re.search(rf"\$(?:\{{{re.escape(name)}\}}|{re.escape(name)}\b)", node.raw):
            words = f"`{{{name}}}` would reach the program as it is: write `${{{name}}}` for the parameter"
            report.warn(node.place_at(start), words)
            binder.used |= {axes[name]} if name in axes else set()


def _as_format(text: Text) -> str:
    return text.form if text.slots else text.form.replace("%", "%%")


def _cwd(entry: Entry, setting: Setting, binder: Binder) -> Text:
    node = entry.scope.nearest("cwd")
    if not isinstance(node, ScalarNode):
        if setting.remote:
            there = "on that host" if setting.remote == "ssh" else "that each of its hosts has"
            words = f"a project with `{setting.remote}` needs a `cwd` {there}"
            place = entry.scope.layers[0].key_place(setting.remote)
            setting.report.error(place, words, doubtful=entry.scope.lacks("cwd"))
        return Text(setting.base)
    if setting.remote and not node.raw.startswith(("/", "~", "$")):
        setting.report.error(node.place, f"with `{setting.remote}`, `cwd` must begin with `/` or `~`")
    return binder.text(node, Kind.PATH)


def _preconditions(entry: Entry, binder: Binder) -> tuple[tuple[PreconditionKind, Text], ...]:
    found: list[tuple[PreconditionKind, Text]] = []
    for item in as_maps(entry.scope.nearest("preconditions")):
        word = text_of(item.get("type"))
        kind = next((kind for kind in PreconditionKind if kind.value == word), None)
        subject = item.get("command" if kind is PreconditionKind.COMMAND else "path")
        if kind is None or not isinstance(subject, ScalarNode):
            continue
        if kind is PreconditionKind.COMMAND:
            found.append((kind, stripped(binder.command(subject, runtime=False))))
        else:
            found.append((kind, binder.text(subject, Kind.BRACED_PATH)))
    return tuple(found)


def _gpus(entry: Entry, setting: Setting) -> int:
    node = entry.scope.nearest("gpus_per_job")
    wanted = whole_number(node)
    if setting.gpus is None:
        if wanted and node is not None:
            many = "a GPU" if wanted == 1 else f"{wanted} GPUs"
            setting.report.error(node.place, f"a job cannot have {many} in a project with `gpus: none`")
        return 0
    if wanted is None:
        return 1
    if setting.gpus.most is not None and wanted > setting.gpus.most and node is not None:
        setting.report.error(node.place, f"a job cannot have {wanted} GPUs: {setting.gpus.words}")
    return wanted


def _written_id(node: Node, binder: Binder) -> Text:
    return binder.text(node) if isinstance(node, ScalarNode) else Text("")


def _made_id(entry: Entry, setting: Setting, binder: Binder) -> Text:
    """`N384_seed42`, with the phase's name before it in a named phase."""
    phase = None if setting.phase == MAIN_PHASE else setting.phase
    parts: list[Part] = []
    if entry.grid.axes:
        heads = made_prefix(phase, [axis.name for axis in entry.grid.axes])
        for head, axis in zip(heads, entry.grid.axes, strict=True):
            parts += [head, binder.column(axis, _id_value)]
        return joined(parts)
    if entry.is_template:
        return Text(setting.phase)
    args = _own_args(entry)
    if not args:
        words = "this job needs an `id`: it has no `params` and no `args` to make one from"
        setting.report.error(entry.place, words, doubtful=bool(entry.own.lost or binder.lost))
    for head, node in zip(made_prefix(phase, args), args.values(), strict=True):
        values = [binder.text(item).form for item in as_scalars(node)]
        parts += [head, safe_value("-".join(values))]
    return joined(parts)


def _id_value(value: ScalarNode) -> str:
    return safe_value(value.raw)


def _own_args(entry: Entry) -> dict[str, Node]:
    args = entry.own.get("args")
    return dict(args.items()) if isinstance(args, MapNode) else {}


def _literal_args(entry: Entry) -> dict[str, Scalar]:
    own = _own_args(entry)
    return {key: node.value for key, node in own.items() if isinstance(node, ScalarNode) and "$" not in node.raw}


def _warn_of_unused(
    entry: Entry, setting: Setting, used: set[int], outputs: tuple[Text, ...], outputs_node: Node | None
) -> None:
    """A parameter that is forgotten in the command runs one thing many times; in the outputs, it mixes up results."""
    varying = {index for index, axis in enumerate(entry.grid.axes) if len(axis.values) > 1}
    shown = {slot.axis for output in outputs for slot in output.slots}
    unused = [entry.grid.axes[index] for index in sorted(varying - used)]
    for axis in unused:
        words = f"`{axis.name}` varies, but the command does not use it: jobs that differ only in it run the same"
        setting.report.warn(axis.values[0].place, words)
    hidden = [entry.grid.axes[index].name for index in sorted(varying & used - shown)]
    if outputs and hidden and outputs_node is not None:
        place = outputs_node.items[0].place if isinstance(outputs_node, ListNode) else outputs_node.place
        verb, them = ("varies, but is", "it") if len(hidden) == 1 else ("vary, but are", "them")
        words = f"{listed(hidden)} {verb} not in the outputs: jobs that differ only in {them} share one output"
        setting.report.warn(place, words)
