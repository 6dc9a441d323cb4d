"""The checks of `make lint` catch what they promise: a clock, chance or I/O in a pure layer."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE_LAYERS = ("model", "parse", "planner")


def banned_in(folder: Path, module: str, source: str) -> bool:
    """Whether ruff, under the project's configuration, forbids an API in `source` when it stands in `module`."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    path = folder / module
    path.parent.mkdir(parents=True)
    path.write_text(source)
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "check", "--no-cache", "--output-format", "json", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return any(finding["code"] == "TID251" for finding in json.loads(done.stdout))


@pytest.mark.parametrize("layer", PURE_LAYERS)
@pytest.mark.parametrize(
    "source",
    [
        "import time\n",
        "from time import monotonic\n",
        "import os.path\n",
        "import random\n",
        "from pathlib import Path\n",
        "from datetime import datetime\n\nNOW = datetime.now()\n",
        "import datetime as dt\n\nTODAY = dt.date.today()\n",
    ],
)
def test_a_pure_layer_may_not(tmp_path: Path, layer: str, source: str) -> None:
    assert banned_in(tmp_path, f"reconciler/{layer}/rules.py", source)


@pytest.mark.parametrize("module", ["reconciler/host/agent.py", "reconciler/loop.py", "tests/unit/test_x.py"])
def test_the_rest_may(tmp_path: Path, module: str) -> None:
    assert not banned_in(tmp_path, module, "import os\nimport time\n")


@pytest.mark.parametrize("layer", PURE_LAYERS)
def test_a_pure_layer_calls_no_builtin_that_does_io(layer: str) -> None:
    modules = sorted((ROOT / "reconciler" / layer).rglob("*.py"))
    assert modules
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.func.id}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in {"open", "print", "input", "exec", "eval", "__import__"}
    ]
    assert calls == []
