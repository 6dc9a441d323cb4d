"""Print the students' accuracy by size and learning rate, mean and standard deviation over seeds."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path


def main(folder: Path) -> int:
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("distill_*.json"))]
    if not results:
        print(f"no results in {folder}: run the experiments first, `make demo`", file=sys.stderr)
        return 1
    cells = defaultdict(list)
    for result in results:
        cells[result["n_hidden"], result["lr"]].append(result)
    print(f"{'size':>5} {'learning rate':>14} {'teacher':>8} {'student, test accuracy':>23} {'seeds':>6}")
    for (size, lr), cell in sorted(cells.items()):
        scores = [result["test_accuracy"] for result in cell]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        student = f"{statistics.mean(scores):.4f} +- {spread:.4f}"
        print(f"{size:>5} {lr:>14g} {cell[0]['teacher_accuracy']:>8.4f} {student:>23} {len(cell):>6}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
