"""Data on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import TextIO

    from reconciler.cli.context import Context
    from reconciler.view.style import Style

PIPE_WIDTH = 100
"""Columns for text that goes into a pipe or a file."""

# All that can move the cursor, change the terminal or turn the direction of text; line ends and tabs are harmless.
_RANGES = ((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069))
_WRITTEN_OUT = {code: ascii(chr(code))[1:-1] for low, high in _RANGES for code in range(low, high + 1)}
_IN_JSON = {code: f"\\u{code:04x}" for code in _WRITTEN_OUT if code >= 0x7F}
_OWN_COLOURS = r"(\x1b\[(?:0|1|2|3[1-6])m)"


class SafeText:
    """A stream that shows control characters instead of sending them: names and messages may come from anywhere.

    `colours` lets the few sequences through that exq itself makes. `far` is what somebody who types on another machine
    calls this one, if that is so: commands are then named as they are typed there."""

    def __init__(self, stream: TextIO, far: str = "") -> None:
        self._stream = stream
        self._far = far
        self.colours = False

    def write(self, text: str) -> int:
        """Write it, `\\x1b` for an escape."""
        typed = typed_for(self._far, text) if self._far else text
        self._stream.write(shown(typed, colours=self.colours))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class SafeStreams:
    """Everything that is printed within is shown safely. Bytes written to `sys.stdout.buffer` stay as they are.

    `far` as of SafeText; it leaves stdout alone where that is `data` for a program."""

    def __init__(self, far: str = "", *, data: bool = False) -> None:
        self._far = far
        self._data = data

    def __enter__(self) -> None:
        self._plain = sys.stdout, sys.stderr
        sys.stdout = SafeText(sys.stdout, "" if self._data else self._far)
        sys.stderr = SafeText(sys.stderr, self._far)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout, sys.stderr = self._plain


def typed_for(host: str, text: str) -> str:
    """Text in which `exq VERB` is `exq --host HOST VERB`; what is typed without it stays."""
    import re
    from shlex import quote

    from reconciler.cli.far import HERE_ONLY
    from reconciler.cli.table import VERBS

    verbs = "|".join(sorted(VERBS.keys() - HERE_ONLY))
    begins = r"(?:(?<![\w./~-])|(?<=\x1b\[\dm)|(?<=\x1b\[\d\dm))"
    return re.sub(rf"{begins}exq (?=(?:{verbs})(?![\w-]))", lambda _: f"exq --host {quote(host)} ", text)


def shown(text: str, *, colours: bool = False) -> str:
    """Text with every control character written out; with `colours`, those of exq's own stay."""
    if not colours or "\x1b" not in text:
        return text.translate(_WRITTEN_OUT)
    import re

    parts = re.split(_OWN_COLOURS, text)
    return "".join(part if at % 2 else part.translate(_WRITTEN_OUT) for at, part in enumerate(parts))


def json_text(value: Any, indent: int | None = None) -> str:
    """A JSON document in UTF-8 that a terminal may be shown: `json` itself escapes only control characters of ASCII."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=indent).translate(_IN_JSON)


def print_json(value: Any) -> None:
    """One JSON document: indented for a person at a terminal, on one line for a program."""
    print(json_text(value, 2 if sys.stdout.isatty() else None))


def print_text(text: str) -> None:
    """Text that ends with exactly one newline; nothing at all when it is empty."""
    if text:
        print(text.rstrip("\n"))


def style_for(context: Context) -> Style:
    """Colours as asked for, and the width of the terminal."""
    import shutil

    from reconciler.view.style import Style

    if isinstance(sys.stdout, SafeText):
        sys.stdout.colours = context.color
    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns if sys.stdout.isatty() else PIPE_WIDTH
    return Style(color=context.color, width=width)
