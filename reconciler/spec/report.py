"""The mistakes of one file, collected until the end so that one run shows all of them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from reconciler.model.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.spec.nodes import Place


class Report:
    """Collects mistakes and warnings; the same words at the same place count once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.mistakes = 0
        """How often `error` was called."""
        self._found: dict[tuple[Place, str], SpecError] = {}

    def error(self, place: Place, message: str, *, doubtful: bool = False, once: str = "") -> None:
        """Note a mistake. `doubtful`: it may only follow from one that is noted already, so it counts and is not told.

        `once`: of all mistakes with this word at this place only the first is kept, however it is worded."""
        self.mistakes += 1
        if not doubtful:
            found = SpecError(self.path, place[0], place[1], _one_line(message))
            self._found.setdefault((place, once or message), found)

    def warn(self, place: Place, message: str) -> None:
        """Note something that is allowed and probably not meant."""
        found = SpecError(self.path, place[0], place[1], _one_line(message), warning=True)
        self._found.setdefault((place, message), found)

    @property
    def failed(self) -> bool:
        """There is a mistake, not only warnings."""
        return self.mistakes > 0

    def places(self) -> set[Place]:
        """Where something was noted already."""
        return {place for place, _ in self._found}

    def sorted(self) -> tuple[SpecError, ...]:
        """Everything noted, by place."""
        return tuple(sorted(self._found.values(), key=lambda found: (found.line, found.column, found.message)))


def _one_line(message: str) -> str:
    """Without line breaks and control characters, which a message may quote from the file."""
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def short(text: str) -> str:
    """Text for a sentence, cut when it is long."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean `x`?)`, or nothing where no known word is close."""
    close = closest(word, known)
    return f" (did you mean `{close}`?)" if close else ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    if word.lower() in folded:
        return folded[word.lower()]
    matches = get_close_matches(word, names, n=1, cutoff=0.6)
    if matches:
        return matches[0]
    holders = [name for name in names if len(word) >= 3 and (word in name or (len(name) >= 3 and name in word))]
    return holders[0] if len(holders) == 1 else None


def listed(names: Iterable[str], *, most: int = 12) -> str:
    """Names for a sentence: `` `a`, `b` and 3 more ``."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) > most:
        return f"{', '.join(quoted[:most])} and {len(quoted) - most} more"
    return ", ".join(quoted)
