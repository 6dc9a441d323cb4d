"""How a run of a project is written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.loop.milestones import _json_text

JOBS: list[dict[str, Any]] = [
    {"id": "a", "cmd": 'echo "é" \n', "params": {"lr": 1e-4}, "env": {}},
    {"id": "b", "cmd": "", "params": {}, "env": {"A": None}},
]


@pytest.mark.parametrize(
    "phases",
    [
        pytest.param([{"name": "main", "depends_on": [], "jobs": JOBS}], id="one"),
        pytest.param([{"name": "t", "depends_on": [], "jobs": JOBS[:1]}, {"name": "s", "jobs": JOBS[1:]}], id="two"),
        pytest.param([{"name": "main", "depends_on": [], "jobs": []}], id="no-job"),
        pytest.param([], id="no-phase"),
    ],
)
def test_a_manifest_is_json_with_a_job_a_line(phases: list[dict[str, Any]]) -> None:
    manifest = {"schema": "exq.manifest/v1", "project": "p}, {", "hosts": ["a", "b"], "phases": phases}
    text = _json_text(manifest)
    assert json.loads(text) == manifest
    assert text.endswith("}\n")
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    assert all(json.dumps(job) in lines for phase in phases for job in phase["jobs"])
