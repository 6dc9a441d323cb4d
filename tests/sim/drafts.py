"""Specs as their author means them, to be changed job by job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tests.sim.scenarios import HEAD, POLICY

WITHOUT_OUTPUT = frozenset({"fail", "calm"})


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec as its author means it. `jobs`: `KIND SECONDS NUMBER` by id; `lrs`: a parameter by id."""

    project: str
    jobs: dict[str, str]
    lrs: dict[str, int] = field(default_factory=dict)
    gpus: str = "none"
    slots: int = 2
    tries: int = 1
    gated: bool = False
    """The last job is in a phase that waits for all others."""

    def text(self) -> str:
        policy = POLICY.replace("max_attempts: 1", f"max_attempts: {self.tries}")
        head = HEAD.format(name=self.project, gpus=self.gpus, slots=self.slots) + policy
        first, last = self.phases()
        if not last:
            return head + "jobs:\n" + self._entries(first, "  ")
        phases = f"  - name: teach\n    jobs:\n{self._entries(first, '      ')}"
        phases += f"  - name: learn\n    depends_on: teach\n    jobs:\n{self._entries(last, '      ')}"
        return head + "phases:\n" + phases

    def phases(self) -> tuple[list[str], list[str]]:
        names = list(self.jobs)
        return (names[:-1], names[-1:]) if self.gated and len(names) > 1 else (names, [])

    def _entries(self, names: Iterable[str], indent: str) -> str:
        return "".join(self._entry(name, indent) for name in names)

    def _entry(self, name: str, indent: str) -> str:
        kind, seconds, number = self.jobs[name].split()
        output = f"{self.project}.{name}.out"
        text = f"{indent}- id: {name}\n{indent}  cmd: sim {kind} {seconds} {output} {number}\n"
        text += f"{indent}  args: {{lr: {self.lrs[name]}}}\n" if name in self.lrs else ""
        return text + (f"{indent}  expected_output: {output}\n" if kind not in WITHOUT_OUTPUT else "")

    def with_job(self, name: str, what: str) -> Draft:
        return replace(self, jobs={**self.jobs, name: what})

    def without_job(self, name: str) -> Draft:
        return replace(self, jobs={key: what for key, what in self.jobs.items() if key != name})
