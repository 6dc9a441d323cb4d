"""Templates bound to parameters: whatever does not vary from job to job is worked out once.

A bound `Text` is a format with one column of ready-made strings per parameter in it, so that making a job of a grid
is little more than one string formatting for each of its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.spec.nodes import ANY, ScalarNode
from reconciler.spec.report import did_you_mean, listed, short
from reconciler.spec.shell_text import force_quoted, needs_quotes, quoted
from reconciler.spec.tokens import NAME, Kind, Literal, Mistake, Reference, Token, Variable, tokens_of

if TYPE_CHECKING:
    from reconciler.spec.nodes import Node
    from reconciler.spec.report import Report

Cell = tuple[int, ...]
"""One cell of a grid: the position of each parameter's value."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter with its values; one that does not vary has a single value."""

    name: str
    values: tuple[ScalarNode, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that varies: which axis, and the text for each of its values."""

    axis: int
    column: tuple[str, ...]


Part = str | Slot


@dataclass(frozen=True, slots=True)
class Text:
    """A template whose names are resolved. Without slots it is the same for every job."""

    form: str
    slots: tuple[Slot, ...] = ()

    def at(self, cell: Cell) -> str:
        """The text for one cell."""
        if not self.slots:
            return self.form
        return self.form % tuple([slot.column[cell[slot.axis]] for slot in self.slots])

    @property
    def varies(self) -> bool:
        """It differs from job to job."""
        return bool(self.slots)


def joined(parts: Iterable[Part]) -> Text:
    """The parts one after the other."""
    listed_parts = list(parts)
    slots = tuple(part for part in listed_parts if isinstance(part, Slot))
    if not slots:
        return Text("".join(part for part in listed_parts if isinstance(part, str)))
    form = "".join("%s" if isinstance(part, Slot) else part.replace("%", "%%") for part in listed_parts)
    return Text(form, slots)


def stripped(text: Text) -> Text:
    """Without blanks at either end (of the template: values keep theirs)."""
    return Text(text.form.strip(), text.slots)


def _raw(value: ScalarNode) -> str:
    return value.raw


Style = Callable[[str], str]
_Placed = tuple[Token, ScalarNode]
"""A token and the scalar it stands in."""


class Binder:
    """Resolves the names of one job entry: grid values and params first, then the literal args."""

    def __init__(
        self, axes: tuple[Axis, ...], args: dict[str, Node], report: Report, owner: str, lost: frozenset[str]
    ) -> None:
        self.axes = axes
        self.report = report
        self.args = args
        self.lost = lost
        """Names that mistakes took away."""
        self.used: set[int] = set()
        """Axes that something asked for since this was last cleared."""
        self._owner = owner
        self._axis_of = {axis.name: index for index, axis in enumerate(axes)}
        self._within: list[str] = []

    def text(self, node: ScalarNode, kind: Kind = Kind.TEXT) -> Text:
        """A template that no shell reads, so nothing in it is left to one."""
        flat = self._flat(tokens_of(node.raw, kind), node)
        return joined([self._part(token, at, kind, runtime=False) for token, at in flat])

    def command(self, node: ScalarNode, *, runtime: bool = True) -> Text:
        """Shell text; its values are quoted as needed. `runtime`: `${GPU}` may stand in it."""
        parts: list[Part] = []
        for token in tokens_of(node.raw, Kind.COMMAND):
            if isinstance(token, Reference):
                parts += self._in_command(token, node)
            else:
                parts.append(self._part(token, node, runtime=runtime))
        return joined(parts)

    def word(self, tokens: tuple[Token, ...], node: ScalarNode) -> list[Part]:
        """One argument: quoted as a whole where needed, `$HOME` and the like left to the shell."""
        return self._word(self._flat(tokens, node), quoted)

    def whole(self, node: Node, seen: tuple[str, ...] = ()) -> Axis | ScalarNode | None:
        """The parameter or literal value that a template consists of entirely, or None for any other template."""
        if not isinstance(node, ScalarNode):
            return None
        tokens = tokens_of(node.raw, Kind.WORD)
        if len(tokens) != 1 or not isinstance(tokens[0], Reference):
            return node if all(isinstance(token, Literal) for token in tokens) else None
        name = tokens[0].name
        if name in self._axis_of:
            self.used.add(self._axis_of[name])
            return self.axes[self._axis_of[name]]
        return self.whole(self.args[name], (*seen, name)) if name in self.args and name not in seen else None

    def column(self, axis: Axis, text: Callable[[ScalarNode], str]) -> Part:
        """The text for each value of an axis."""
        if len(axis.values) == 1:
            return text(axis.values[0])
        return Slot(self._axis_of[axis.name], tuple([text(value) for value in axis.values]))

    def _flat(self, tokens: tuple[Token, ...], node: ScalarNode) -> list[_Placed]:
        """The tokens with every argument's name replaced by what the argument holds; unknown names are reported."""
        flat: list[_Placed] = []
        for token in tokens:
            if not isinstance(token, Reference):
                flat.append((token, node))
            elif token.name in self._axis_of:
                self.used.add(self._axis_of[token.name])
                flat.append((token, node))
            else:
                flat += self._argument(token, node)
        return flat

    def _argument(self, token: Reference, node: ScalarNode) -> list[_Placed]:
        arg = self.args.get(token.name)
        if not isinstance(arg, ScalarNode) or token.name in self._within:
            words = self._unknown(token)
            doubtful = ANY in self.lost or token.name in self.lost
            self.report.error(node.place_at(token.index), words, doubtful=doubtful, once=token.written)
            return []
        self._within.append(token.name)
        flat = self._flat(tokens_of(arg.raw, Kind.WORD), arg)
        self._within.pop()
        return flat

    def _part(self, token: Token, node: ScalarNode, kind: Kind = Kind.COMMAND, *, runtime: bool = True) -> Part:
        """One token of `_flat`, unquoted. `kind`: what a shell variable in it would mean."""
        if isinstance(token, Literal):
            return token.text
        if isinstance(token, Reference):
            return self.column(self.axes[self._axis_of[token.name]], _raw)
        if isinstance(token, Mistake):
            self.report.error(node.place_at(token.index), token.message)
            return ""
        place = node.place_at(token.index)
        if token.runtime and not runtime:
            self.report.error(place, f"`{token.written}` is only known once the job runs, so it cannot stand here")
        elif not token.runtime and kind is not Kind.COMMAND:
            self.report.error(place, self._not_expanded(token, kind), once=token.written)
        elif not token.runtime and token.expands and (token.name in self._axis_of or token.name in self.args):
            words = f"`${token.name}` is a variable of the shell here; the parameter is `${{{token.name}}}`"
            self.report.warn(place, words)
        return token.written

    def _not_expanded(self, token: Variable, kind: Kind) -> str:
        hint = "write `$$` for a plain `$`"
        if token.name in self._axis_of or token.name in self.args:
            hint = f"did you mean `${{{token.name}}}`?"
        elif token.name == "HOME" and kind in (Kind.PATH, Kind.BRACED_PATH):
            hint = "write `~` for the home folder"
        elif kind is Kind.ENV:
            hint += ", or set the variable in the command"
        return f"`{token.written}` would stay as it is, because no shell reads this text ({hint})"

    def _word(self, flat: list[_Placed], style: Style) -> list[Part]:
        """Neighbouring text that does not vary is quoted as one piece."""
        parts: list[Part] = []
        plain = ""
        for token, node in flat:
            part = self._part(token, node)
            if isinstance(part, str) and not isinstance(token, Variable):
                plain += part
                continue
            parts += [style(plain)] if plain else []
            plain = ""
            if isinstance(part, str):
                parts.append(f'"{part}"')
            else:
                parts.append(Slot(part.axis, tuple([style(value) for value in part.column])))
        return [*parts, style(plain)] if plain or not parts else parts

    def _in_command(self, token: Reference, node: ScalarNode) -> list[Part]:
        """A name in shell text: bare values are quoted, those inside the author's quotes must not need it."""
        spot = token.spot
        if spot.mistake:
            words = f"`{token.written}` {spot.mistake}: for the shell's `${{...}}` write `$${{...}}`"
            self.report.error(node.place_at(token.index), words)
            return []
        flat = self._flat((token,), node)
        if not spot.inside:
            return self._word(flat, force_quoted if spot.force else quoted) if flat else []
        parts = [self._part(token, at) for token, at in flat]
        for part in parts:
            bad = [value for value in ((part,) if isinstance(part, str) else part.column) if needs_quotes(value)]
            if bad:
                self.report.error(node.place_at(token.index), _cannot_quote(token, spot.inside, bad[0]))
                return []
        return parts

    def _unknown(self, token: Reference) -> str:
        known = [axis.name for axis in self.axes]
        known += [name for name, arg in self.args.items() if name not in known and isinstance(arg, ScalarNode)]
        if token.name in self._within or token.name in self.args:
            if token.name in self._within:
                return f"`{token.written}` stands for itself: its value comes from the argument `{token.name}`"
            return f"`{token.written}` is a list of arguments, which has no place in a text"
        if not NAME.fullmatch(token.name):
            meant = token.name.strip()
            hint = f" (did you mean `${{{meant}}}`?)" if meant in known else ""
            return f"`{token.written}` is not a parameter; for the shell's `${{...}}` write `$${{...}}`{hint}"
        has = f"{self._owner} has {listed(known)}" if known else f"{self._owner} has no parameters"
        hint = did_you_mean(token.name, known)
        if not hint and token.name.isupper() and token.written.startswith("$"):
            hint = f" (for the shell's variable write `${token.name}`)"
        return f"unknown name `{token.written}`{hint}: {has}"


def _cannot_quote(token: Reference, inside: str, value: str) -> str:
    words = f"`{token.written}` stands inside {inside}, where its value {short(value)!r} cannot be quoted"
    if inside.endswith("quotes"):
        return f"{words}: write it outside of them, exq adds the quotes that are needed"
    return f"{words}: pass it as an argument or through `env` instead"
