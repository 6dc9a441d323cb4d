"""exq.yaml: the settings beside the specs. Pure: a text comes in, settings and mistakes with their places come out."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.spec.git_remote import Remote
from reconciler.spec.nodes import MapNode, Node, ScalarNode, as_scalars, text_of
from reconciler.spec.report import Report
from reconciler.spec.units import duration_s

if TYPE_CHECKING:
    from reconciler.model.spec import SpecError

FETCH_EVERY_S = 60.0
FETCH_EVERY_MIN_S = 1.0
FETCH_EVERY_MAX_S = 30 * 86400.0
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCP = re.compile(r"[^/:]+:(?!//)")


@dataclass(frozen=True, slots=True)
class GitSource:
    """Commits of a git repository, as exq.yaml names them."""

    url: str | None
    """What git fetches from; None for a repository that is read where it is."""
    folder: str
    """A folder on this machine, in or at the repository; "" with a `url`."""
    path: str
    """The folder of the specs in the repository, as seen from its top; with a work tree: as seen from `folder`."""
    ref: str
    interval_s: float = FETCH_EVERY_S
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """FILE:LINE of each key that was written, and of `git` itself."""

    def place_of(self, key: str) -> str:
        """Where a key is written, or would be."""
        return self.places.get(key) or self.places.get("git", "exq.yaml")

    @property
    def repository(self) -> str:
        """The repository as it may be shown: without a password."""
        return Remote(self.url).shown if self.url else self.folder


@dataclass(frozen=True, slots=True)
class ProductSettings:
    """What an exq.yaml says. None: it says nothing about that."""

    screen: str | None = None
    nvidia_smi: str | None = None
    remote_state: str | None = None
    ssh_config: str | None = None
    host_names: tuple[str, ...] | None = None
    source: GitSource | None = None
    path: str = ""
    """The file, for messages."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """The line of each setting that it has."""


def read_product_settings(
    text: str, path: str, *, schema_checked: bool = False
) -> tuple[ProductSettings | None, tuple[SpecError, ...]]:
    """The settings of an exq.yaml, and everything that is wrong with it; None when there is a mistake.

    `path` names the file; relative paths in it are as seen from its folder."""
    from reconciler.spec.yaml_nodes import compose

    if all(not line.strip() or line.lstrip().startswith("#") for line in text.lstrip("\ufeff").splitlines()):
        return ProductSettings(path=path), ()
    report = Report(path)
    root = compose(text, report)
    if isinstance(root, ScalarNode) and root.value is None:
        return ProductSettings(path=path), ()
    if root is not None and not isinstance(root, MapNode):
        report.error(root.place, "exq.yaml must be a mapping of settings such as `source:`")
        root = None
    if root is not None and not schema_checked:
        from reconciler.spec.schema import check, settings_schema_text

        root = check(root, report, settings_schema_text())
    settings = _settings(root, path, report) if isinstance(root, MapNode) else None
    return None if report.failed else settings, report.sorted()


def _settings(root: MapNode, path: str, report: Report) -> ProductSettings:
    base = os.path.dirname(os.path.abspath(path))
    names = root.get("host_names")
    return ProductSettings(
        screen=_program(root.get("screen"), base),
        nvidia_smi=_program(root.get("nvidia_smi"), base),
        remote_state=text_of(root.get("remote_state")),
        ssh_config=_below(base, text_of(root.get("ssh_config"))),
        host_names=tuple(name for node in as_scalars(names) for name in node.raw.split()) if names else None,
        source=_source(root.get("source"), path, report),
        path=path,
        lines={key: root.key_place(key)[0] for key in root.entries},
    )


def _source(node: Node | None, file: str, report: Report) -> GitSource | None:
    base = os.path.dirname(os.path.abspath(file))
    git = node.get("git") if isinstance(node, MapNode) else None
    if not isinstance(git, MapNode):
        return None
    url, path = text_of(git.get("url")), text_of(git.get("path"))
    if url is None and path is None:
        if not git.lost:
            report.error(git.place, "`git` needs `url` (a repository) or `path` (a folder in one on this machine)")
        return None
    ref = text_of(git.get("ref")) or "HEAD"
    _check_words(git, report)
    interval_s = _interval_s(git.get("interval"), report)
    places = {key: f"{file}:{git.key_place(key)[0]}" for key in git.entries}
    places["git"] = f"{file}:{git.place[0]}"
    if url is None:
        return GitSource(None, _below(base, path) or base, "", ref, interval_s, places)
    if path is not None and (path.startswith(("/", "~")) or ".." in path.split("/")):
        words = f"with `url`, `path` is a folder in that repository, as seen from its top: `{path}` leads out of it"
        report.error(git.key_place("path"), words)
    inside = "/".join(part for part in (path or "").split("/") if part not in ("", "."))
    if is_remote(url):
        return GitSource(url, "", inside, ref, interval_s, places)
    return GitSource(None, _below(base, url) or base, inside, ref, interval_s, places)


def is_remote(url: str) -> bool:
    """Git has to fetch it: `https://...`, `file://...`, `me@host:path`. Anything else is a path on this machine."""
    return bool(_SCHEME.match(url) or _SCP.match(url))


def _check_words(git: MapNode, report: Report) -> None:
    for key in ("url", "ref", "path"):
        text = text_of(git.get(key)) or ""
        if text.startswith("-") or not text.isprintable():
            report.error(git.key_place(key), f"`{key}` may not begin with a dash or hold control characters")
    mistake = Remote(text_of(git.get("url")) or "").mistake()
    if mistake:
        report.error(git.key_place("url"), mistake)
    ref = text_of(git.get("ref")) or ""
    if any(char in " \t~^:?*[\\" for char in ref) or ".." in ref:
        report.error(git.key_place("ref"), f"`{ref}` is not the name of a branch, a tag or a commit")


def _interval_s(node: Node | None, report: Report) -> float:
    if not isinstance(node, ScalarNode) or node.value is None:
        return FETCH_EVERY_S
    value = duration_s(node.raw)
    if value is None:
        report.error(node.place, f"`interval` must be seconds, or text such as 90s, 2m or 1h, not `{node.raw}`")
    elif value < FETCH_EVERY_MIN_S:
        report.error(node.place, f"`interval` must be at least 1 s, not `{node.raw}`")
    elif value > FETCH_EVERY_MAX_S:
        report.error(node.place, f"`interval` must be at most 30 d, not `{node.raw}`")
    else:
        return value
    return FETCH_EVERY_S


def _program(node: Node | None, base: str) -> str | None:
    """A command is looked up in PATH; a path is seen from the file that names it."""
    text = text_of(node)
    return _below(base, text) if text and ("/" in text or text.startswith("~")) else text


def _below(base: str, path: str | None) -> str | None:
    return None if path is None else os.path.normpath(os.path.join(base, os.path.expanduser(path)))
