"""Damaged spec files beside a sound one: an error at most, in bounded time and memory, and the sound one unmoved."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from reconciler.spec.files import load_specs
from tests.fuzz.mutate import SPEC_TOKENS, mutations, truncations

ROOT = Path(__file__).parents[2]
LOAD_MAX_S = 20.0
SOUND = "project: a-sound-one\njobs: [{id: j, cmd: 'true'}]\n"
_BLOCK = re.compile(r"^```yaml[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Broken(AssertionError):
    """A promise did not hold; `data` is what broke it."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(f"{message}; the file was {data[:2000]!r}")
        self.data = data


class NothingKept:
    """No earlier version of any file."""

    def get(self, path: str) -> str | None:
        return None

    def put(self, path: str, text: str) -> None:
        return None

    def revision(self, path: str) -> str:
        return ""

    def note_revisions(self, revisions: Mapping[str, str]) -> None:
        return None


def files() -> list[bytes]:
    """Real specs: those of the tests and of the demo."""
    paths = [*sorted((ROOT / "tests" / "unit" / "spec" / "seed").glob("*.yaml")), ROOT / "specs" / "digits.yaml"]
    return [path.read_bytes() for path in paths]


def corpus() -> list[bytes]:
    """The same and those of the documents, whole ones and parts."""
    texts = files()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        texts += [block.encode() for block in _BLOCK.findall(page.read_text(encoding="utf-8"))]
    return texts


def cuts(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Each of them, cut at every offset."""
    for text in texts:
        yield from truncations(text)


def inputs(seed: int) -> Iterator[bytes]:
    """Every cut once, with as many changed files between them, then changed files without end."""
    changed = mutations(corpus(), SPEC_TOKENS, seed)
    for cut in cuts(corpus()):
        yield cut
        yield next(changed)
    yield from changed


def check(folder: Path, data: bytes) -> None:
    """Load a folder that holds this file and a sound one. Raises Broken."""
    (folder / "a-sound.yaml").write_text(SOUND)
    path = folder / "fuzzed.yaml"
    path.write_bytes(data)
    began_at = time.monotonic()
    try:
        desired = load_specs(folder, NothingKept(), settle=False)
    except Exception as error:
        raise Broken(f"the loader raised {type(error).__name__}: {error}", data) from error
    if time.monotonic() - began_at > LOAD_MAX_S:
        raise Broken(f"loading took more than {LOAD_MAX_S:.0f} s", data)
    mistakes = [error for error in desired.errors if error.path == str(path) and not error.warning]
    loads = any(project.source == str(path) for project in desired.projects.values())
    if loads == bool(mistakes):
        raise Broken(f"it loads: {loads}, its mistakes: {mistakes}", data)
    for error in desired.errors:
        if not error.message or not str(error).isprintable():
            raise Broken(f"a message is not one printable line: {str(error)!r}", data)
    sound = desired.projects.get("a-sound-one")
    if sound is None or [job.cmd for job in sound.jobs()] != ["true"]:
        raise Broken("the sound file was not taken as it is", data)


def run(folder: Path, enough: Callable[[int], bool], seed: int) -> int:
    """Check inputs until that many are enough; how many. Raises Broken."""
    folder.mkdir(exist_ok=True)
    count = 0
    for data in inputs(seed):
        check(folder, data)
        count += 1
        if enough(count):
            break
    return count
