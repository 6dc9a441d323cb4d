"""What a plain YAML scalar means: the YAML 1.2 core rules, not those of YAML 1.1.

Under 1.1 `no` is False, `010` is 8, `12:30:45` is 45045 and `1e-4` is text; none of that is what people mean.
"""

from __future__ import annotations

import re

from reconciler.model.spec import Scalar

_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]{1,1000}")
_OCTAL = re.compile(r"0o[0-7]{1,100}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_FIRST_OF_NUMBER = frozenset("-+.0123456789")


def core_value(raw: str) -> Scalar:
    """The typed value of a plain scalar."""
    if raw in _WORDS:
        return _WORDS[raw]
    if raw[0] not in _FIRST_OF_NUMBER:
        return raw
    if _INTEGER.fullmatch(raw):
        return int(raw)
    if _OCTAL.fullmatch(raw):
        return int(raw[2:], 8)
    if _HEXADECIMAL.fullmatch(raw):
        return int(raw[2:], 16)
    if _FLOAT.fullmatch(raw):
        return float(raw)
    if _SPECIAL_FLOAT.fullmatch(raw):
        return float(raw.replace(".", ""))
    return raw


def tagged_value(tag: str, raw: str) -> Scalar:
    """The value of a scalar with an explicit tag such as `!!str`. Raises ValueError in words."""
    if tag in ("!", "tag:yaml.org,2002:str"):
        return raw
    short = tag.replace("tag:yaml.org,2002:", "!!")
    wanted = _TAGGED.get(short)
    if wanted is None:
        raise ValueError(f"the tag `{short}` is not known here: write the value without it")
    value = core_value(raw)
    if short == "!!float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise ValueError(f"this is not of the kind that its tag `{short}` asks for")
    return value


_TAGGED: dict[str, type] = {"!!int": int, "!!float": float, "!!bool": bool, "!!null": type(None)}
