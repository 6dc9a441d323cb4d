"""The machines of a project and of its phases: which ones, and what each of them may do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.model.spec import LOCAL_HOST, GpuPool, Placement
from reconciler.spec.nodes import ANY, MapNode, Node, ScalarNode, as_items, as_scalars, text_of
from reconciler.spec.report import did_you_mean, listed, short
from reconciler.spec.settings import gpu_ids, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.spec.report import Report
    from reconciler.spec.settings import Settings

MAX_BYTES = 255

_PORT = re.compile(r"[^:]*:[0-9]*")
_NOT_FIRST = "-.@"
_SPECIAL = "/`'\"$\\;&<>|(){}*?!"
"""Paths, patterns, and what a shell would act on: a ProxyCommand of the user's may carry the name there."""


@dataclass(frozen=True, slots=True)
class GpuBound:
    """How many GPUs a job can have (None: no limit is known), and why, for the end of a sentence."""

    most: int | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a project, as the rest of its spec needs to know them."""

    placements: tuple[Placement, ...]
    pool: GpuPool | None
    key: str
    """What names them: `ssh`, `hosts`, or empty for the loop's own machine."""
    lost: frozenset[str]
    """Names that mistakes took away; `ANY` where it cannot be said which."""

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts, in the order of the spec."""
        return tuple(placement.host for placement in self.placements)

    @property
    def remote(self) -> str:
        """The key that names other machines than the loop's own; empty where none does."""
        return self.key if self.names != (LOCAL_HOST,) else ""

    def may_have(self, name: str) -> bool:
        """A mistake that is told already may have taken this host away."""
        return not self.lost.isdisjoint((name, ANY))

    def gpu_bound(self, names: tuple[str, ...] | None) -> GpuBound | None:
        """What holds for jobs on these hosts (None: on all of them); None in a project without GPUs."""
        if self.pool is None:
            return None
        places = [place for place in self.placements if names is None or place.host in names]
        lists = [self.pool.ids if place.gpu_ids is None else place.gpu_ids for place in places or self.placements]
        sizes = [len(ids) for ids in lists if ids is not None]
        if len(sizes) < len(lists):
            return GpuBound(None)
        one = all(place.gpu_ids is None for place in self.placements)
        words = f"`gpus` lists {max(sizes)}" if one else f"none of its hosts has more than {max(sizes)} in its `gpus`"
        return GpuBound(max(sizes), words)


def with_hosts(settings: Settings, root: MapNode, report: Report) -> tuple[Settings, Hosts]:
    """The settings of a project with its hosts in them, and these hosts for what follows."""
    key = "hosts" if root.get("hosts") is not None else "ssh" if root.get("ssh") is not None else ""
    if key == "hosts" and root.get("ssh") is not None:
        later = max("ssh", "hosts", key=root.key_place)
        words = "`ssh` and `hosts` both say where to run: write one of them (`ssh: a` is the same as `hosts: [a]`)"
        report.error(root.key_place(later), words)
    found, everything, lost = _listed(root.get(key) if key else None, settings.gpu_pool, report)
    settings = _with_placements(settings, found, everything, slots_given=root.get("max_parallel") is not None)
    if not root.lost.isdisjoint(("ssh", "hosts", ANY)):
        lost |= {ANY}
    return settings, Hosts(settings.placements, settings.gpu_pool, key, lost)


def _listed(
    node: Node | None, pool: GpuPool | None, report: Report
) -> tuple[list[Placement], frozenset[str], frozenset[str]]:
    """The placements as written, the hosts that may use all their GPUs whatever the project lists, and lost names."""
    found: dict[str, Placement] = {}
    everything: set[str] = set()
    lost: set[str] = set()
    for item in as_items(node):
        named = item.get("name") if isinstance(item, MapNode) else item
        name = text_of(named)
        if named is None or name is None:
            lost.add(ANY)
            continue
        problem = host_problem(name)
        if problem:
            report.error(named.place, f"the host's name `{short(name)}` {problem}")
            lost.add(name)
        elif name in found:
            report.error(named.place, f"the host `{name}` is listed twice")
        inner = item if isinstance(item, MapNode) else None
        place = _placement(name, inner, pool, report)
        if problem or name in found:
            continue  # read all the same, for the mistakes in it
        found[name] = place
        if inner is not None and isinstance(inner.get("gpus"), ScalarNode):
            everything.add(name)
    return list(found.values()), frozenset(everything), frozenset(lost)


def _placement(name: str, inner: MapNode | None, pool: GpuPool | None, report: Report) -> Placement:
    if inner is None:
        return Placement(name)
    gpus = inner.get("gpus")
    if gpus is not None and pool is None:
        words = "a host cannot have `gpus` in a project with `gpus: none`: take one of the two out"
        report.error(inner.key_place("gpus"), words)
    return Placement(name, gpu_ids(gpus, report), whole_number(inner.get("max_parallel")))


def _with_placements(
    settings: Settings, found: list[Placement], everything: frozenset[str], *, slots_given: bool
) -> Settings:
    places = found or [Placement(LOCAL_HOST)]
    pool, most = settings.gpu_pool, settings.max_parallel
    if pool is not None and pool.ids is not None and everything:
        # a host with `gpus: all` has more than the project lists, so the list goes to each of the others
        ids, pool = pool.ids, GpuPool()
        places = [
            replace(place, gpu_ids=ids) if place.gpu_ids is None and place.host not in everything else place
            for place in places
        ]
    if pool is None and not slots_given:
        if len(places) > 1:
            places = [replace(place, max_parallel=place.max_parallel or 1) for place in places]
        most = sum(place.max_parallel or 1 for place in places)
    return replace(settings, gpu_pool=pool, max_parallel=most, placements=tuple(places))


def phase_hosts(phase: MapNode, hosts: Hosts, report: Report) -> tuple[str, ...] | None:
    """The hosts that a phase names, each once; None where it names none."""
    node = phase.get("hosts")
    if node is None:
        return None
    found: list[str] = []
    for item in as_scalars(node):
        if item.raw in found:
            report.error(item.place, f"the host `{item.raw}` is listed twice")
        elif item.raw in hosts.names:
            found.append(item.raw)
        else:
            report.error(item.place, _no_host(item.raw, hosts), doubtful=hosts.may_have(item.raw))
    return tuple(found) or None


def _no_host(name: str, hosts: Hosts) -> str:
    if not hosts.key:
        return f"there is no host `{short(name)}`: list the hosts in `hosts` at the top of the file first"
    known = hosts.names
    return f"there is no host `{short(name)}`{did_you_mean(name, known)}: the project has {listed(known)}"


def host_problem(name: str) -> str | None:
    """Why a host cannot have this name, for the end of a sentence; None when it can."""
    if not name:
        return "is empty"
    if name[0] in _NOT_FIRST:
        return f"may not begin with `{name[0]}`"
    problem = next(_character_problems(name), None)
    if problem:
        return problem
    user, at, host = name.rpartition("@")
    if at and (not host or host[0] in _NOT_FIRST or "@" in user):
        return "must be a host, or `user@host`"
    if _PORT.fullmatch(host):
        return "may not end in a port: give it a name with `HostName` and `Port` in your ssh_config"
    size = len(name.encode("utf-8", "replace"))
    return f"is {size} bytes long, and {MAX_BYTES} is the most" if size > MAX_BYTES else None


def _character_problems(name: str) -> Iterator[str]:
    for character in name:
        if character == ",":
            yield "may not hold `,`: write a list, such as [a, b]"
        elif character in _SPECIAL:
            yield f"may not hold `{character}`"
        elif character.isspace():
            yield "may not hold blanks"
        elif not character.isprintable():
            yield f"may not hold the character U+{ord(character):04X}"
