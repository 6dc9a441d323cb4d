"""What the agent found of repositories and of the work trees of commits."""

from __future__ import annotations

import re

from reconciler.model.facts import CodeFacts, CodeVersion, SnapshotFacts, Unknown
from reconciler.parse.fields import Malformed, Raw, flag, mapping, one_line, optional_text, text, texts, told_unknown

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ASKS_AGAIN = "cannot be read: {}; exq asks again"


def parse_code(raw: Raw) -> CodeFacts | Unknown:
    """One repository from {"root", "commit", "changes"} or {"problem"}."""
    try:
        found = mapping(raw, "code")
        unknown = told_unknown(found)
        if unknown is not None:
            return unknown
        problem = optional_text(found, "problem")
        if problem:
            return CodeFacts(problem=one_line(problem))
        if not _COMMIT.fullmatch(text(found, "commit")):
            raise Malformed("`commit` should be a commit")
        changes = tuple(one_line(each) for each in texts(found, "changes"))
        return CodeFacts(text(found, "root"), text(found, "commit"), changes)
    except Malformed as wrong:
        return Unknown("the host's answer about the code " + _ASKS_AGAIN.format(wrong))


def parse_snapshot(raw: Raw) -> SnapshotFacts | Unknown:
    """One work tree from {"path", "ready", "problem", "again"}."""
    try:
        found = mapping(raw, "a snapshot")
        unknown = told_unknown(found)
        if unknown is not None:
            return unknown
        problem = one_line(text(found, "problem"))
        again = flag(found, "again") if "again" in found else False
        facts = SnapshotFacts(text(found, "path"), flag(found, "ready"), problem, again)
        if facts.ready and not facts.path.startswith("/"):
            raise Malformed("`path` should be absolute")
        return facts
    except Malformed as wrong:
        return Unknown("the host's answer about a snapshot " + _ASKS_AGAIN.format(wrong))


def parse_versions(raw: object) -> tuple[CodeVersion, ...]:
    """Rows of a commit, whether there were changes, and how many jobs ran it. Raises Malformed."""
    versions: list[CodeVersion] = []
    for row in raw if isinstance(raw, list) else [raw]:
        if not (isinstance(row, list) and list(map(type, row)) == [str, bool, int]):
            raise Malformed("`versions` should be a list of a commit, a boolean and a number each")
        versions.append(CodeVersion(*row))
    return tuple(versions)


def parse_old_snapshots(raw: object) -> tuple[tuple[str, str], ...]:
    """Pairs of a repository and a commit. Raises Malformed."""
    pairs: list[tuple[str, str]] = []
    for row in raw if isinstance(raw, list) else [raw]:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], str)):
            raise Malformed("`old_snapshots` should be a list of pairs")
        pairs.append((row[0], row[1]))
    return tuple(pairs)
