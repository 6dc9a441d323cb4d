"""Spec texts for the tests of several machines."""

from __future__ import annotations

JOB = "jobs: [{id: x, cmd: y}]\n"
TOP = f"cwd: ~/w\n{JOB}"
"""A job in line 3, below a first line of its own."""


def staged(top: str, first: str = "", second: str = "", outputs: str = ", output_check: o") -> str:
    """Two phases: `b` waits for `a`. What they are given stands in column 15."""
    return (
        f"{top}\nphases:\n  - {{name: a{first}, jobs: [{{id: a, cmd: x, cwd: ~/w{outputs}}}]}}\n"
        f"  - {{name: b{second}, depends_on: a, jobs: [{{id: b, cmd: x, cwd: ~/w}}]}}\n"
    )
