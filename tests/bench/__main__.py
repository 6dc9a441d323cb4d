"""`python -m tests.bench [NAME...]`: run the benchmarks and print a Markdown table."""

from __future__ import annotations

import os
import platform
import sys

from tests.bench import cases, fleet, remote
from tests.bench.figures import Figure, interpreter_floor_s


def main(names: list[str]) -> int:
    """Run the named cases, or all. Returns 0, or 1 for an unknown name."""
    known = {case.__name__: case for case in (*cases.ALL, *remote.ALL, *fleet.ALL)}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    floor_s = interpreter_floor_s()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs; `python -c pass` takes {floor_s * 1e3:.1f} ms\n")
    print("| figure | median | CPU | floor in the same run | ratio | budget |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names or known:
        for figure in known[name](floor_s):
            print(_row(figure), flush=True)
    return 0


def _row(figure: Figure) -> str:
    ratio = f"{figure.value / figure.floor:.1f}" if figure.floor else ""
    floor = f"{figure.format(figure.floor)} ({figure.floor_is})" if figure.floor else ""
    cells = [figure.name, figure.format(figure.value), figure.format_cpu(), floor, ratio, figure.budget]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
