"""`args` as command line text: `--key value`, or `key=value` in the hydra style."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.spec.binding import Axis, Binder, Part
from reconciler.spec.nodes import ListNode, Node, ScalarNode
from reconciler.spec.shell_text import quoted
from reconciler.spec.tokens import Kind, Literal, tokens_of

if TYPE_CHECKING:
    from reconciler.spec.tokens import Token


def rendered_args(args: dict[str, Node], binder: Binder, *, hydra: bool) -> list[Part]:
    """All arguments in order, each with a blank before it."""
    parts: list[Part] = []
    for key, node in args.items():
        parts += _hydra(key, node, binder) if hydra else _flag(key, node, binder)
    return parts


def _flag(key: str, node: Node, binder: Binder) -> list[Part]:
    flag = f" {quoted(f'--{key}')}"
    if isinstance(node, ListNode):
        parts: list[Part] = [flag]
        for item in node.items:
            parts += [" ", *_value(item, binder)]
        return parts
    whole = binder.whole(node)
    if isinstance(whole, Axis):
        return [binder.column(whole, lambda value: _flag_text(flag, value))]
    if isinstance(whole, ScalarNode) and (whole.value is None or isinstance(whole.value, bool)):
        return [_flag_text(flag, whole)]
    return [flag, " ", *_value(node, binder)]


def _flag_text(flag: str, value: ScalarNode) -> str:
    """true is the flag alone, false and null are nothing; anything else is the value as written."""
    if value.value is None or value.value is False:
        return ""
    return flag if value.value is True else f"{flag} {quoted(value.raw)}"


def _value(node: Node, binder: Binder) -> list[Part]:
    return binder.word(tokens_of(node.raw, Kind.WORD), node) if isinstance(node, ScalarNode) else []


def _hydra(key: str, node: Node, binder: Binder) -> list[Part]:
    if isinstance(node, ListNode):
        tokens: list[Token] = [Literal(f"{key}=[")]
        scalars = [item for item in node.items if isinstance(item, ScalarNode)]
        for index, item in enumerate(scalars):
            tokens += [Literal(",")] if index else []
            tokens += tokens_of(_hydra_text(item), Kind.WORD)
        place = ScalarNode("", None, *node.place)
        return [" ", *binder.word((*tokens, Literal("]")), place)]
    whole = binder.whole(node)
    if isinstance(whole, Axis):
        return [binder.column(whole, lambda value: f" {quoted(f'{key}={_hydra_text(value)}')}")]
    if not isinstance(node, ScalarNode):
        return []
    if isinstance(whole, ScalarNode) and (whole.value is None or isinstance(whole.value, bool)):
        return [f" {quoted(f'{key}={_hydra_text(whole)}')}"]
    return [" ", *binder.word((Literal(f"{key}="), *tokens_of(node.raw, Kind.WORD)), node)]


def _hydra_text(value: ScalarNode) -> str:
    if isinstance(value.value, bool):
        return "true" if value.value else "false"
    return "null" if value.value is None else value.raw
