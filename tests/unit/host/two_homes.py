"""Two hosts in this process, each with a home of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.host.agent import Agent
from reconciler.model.ledger import COLLECTED
from reconciler.model.plan import Transfer

PATTERNS = ("out/*.bin",)


class Host:
    """An agent whose home is its own. `before` sees each request, and may raise or change the world."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home = home
        self.agent = Agent(str(home / "state"), {})
        self.asked: list[dict[str, Any]] = []
        self.before: Callable[[dict[str, Any]], None] = lambda request: None

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        self.before(request)
        own, os.environ["HOME"] = os.environ.get("HOME", "/"), str(self.home)
        try:
            return self._over_the_wire(request)
        finally:
            os.environ["HOME"] = own

    def _over_the_wire(self, request: dict[str, Any]) -> dict[str, Any]:
        """What is not JSON would not arrive."""
        blob = request.get("blob", b"")
        sent = json.loads(json.dumps({key: value for key, value in request.items() if key != "blob"}))
        answer = self.agent.handle({**sent, "blob": blob})
        data = answer.pop("blob", b"")
        return {**json.loads(json.dumps(answer)), **({"blob": data} if data else {})}

    def count(self, op: str) -> int:
        return sum(request["op"] == op for request in self.asked)

    def file(self, path: str, data: bytes = b"data", mode: int = 0o644) -> Path:
        """Write a file in the home."""
        made = self.home / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(data)
        made.chmod(mode)
        return made

    def tree(self, path: str = "") -> dict[str, bytes]:
        """All files below a folder of the home, hidden ones too."""
        top = self.home / path
        return {str(each.relative_to(top)): each.read_bytes() for each in sorted(top.rglob("*")) if each.is_file()}


def pushed(*patterns: str, cwd: str = "~/exp") -> Transfer:
    """The outputs of a job to another host."""
    return Transfer("demo/job", 1, "gpu-a", "gpu-b", cwd, patterns or PATTERNS)


def collected(folder: str, *patterns: str, cwd: str = "~/exp", attempt: int = 1) -> Transfer:
    """The outputs and the log of a job to a folder of the loop's machine."""
    return Transfer("demo/job", attempt, "gpu-a", COLLECTED, cwd, patterns or PATTERNS, folder)
