"""A wheel built from the sdist, and an editable install, both carry everything that exq needs at run time."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"_schemas": ROOT / "schemas", "_systemd": ROOT / "systemd"}

# prints the text of every packaged data file as importlib.resources finds it, from outside the source tree
LIST_RESOURCES = """
import importlib.resources, json
root = importlib.resources.files("reconciler")
found = {f"{d}/{f.name}": f.read_text() for d in ("_schemas", "_systemd") for f in (root / d).iterdir()}
found["host/shim.sh"] = (root / "host" / "shim.sh").read_text()
print(json.dumps(found))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel made from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def build_editable(folder: Path) -> Path:
    """The wheel that `pip install -e` makes and installs."""
    hook = f"from hatchling.build import build_editable; build_editable({str(folder)!r})"
    run(sys.executable, "-c", hook, cwd=ROOT)
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path) -> Path:
    """The interpreter of a clean environment that holds this wheel and nothing else."""
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    return python


def expected_resources() -> dict[str, str]:
    texts = {f"{name}/{f.name}": f.read_text() for name, folder in FOLDERS.items() for f in folder.iterdir()}
    return texts | {"host/shim.sh": (ROOT / "reconciler" / "host" / "shim.sh").read_text()}


def assert_installed_whole(python: Path, folder: Path) -> None:
    assert json.loads(run(python, "-c", LIST_RESOURCES, cwd=folder)) == expected_resources()
    assert "usage: exq" in run(python.with_name("exq"), "--help", cwd=folder)


def test_the_expected_resources_are_not_empty() -> None:
    kinds = {Path(name).parent.name + Path(name).suffix for name in expected_resources()}
    assert kinds >= {"_schemas.json", "_systemd.service", "host.sh"}


def test_a_wheel_built_from_the_sdist_is_whole(tmp_path: Path) -> None:
    sdist, wheel = build(tmp_path)
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped >= {"LICENSE", "README.md", "pyproject.toml", "specs/digits.yaml", "systemd/exq.service"}
    assert not any(name.startswith((".venv/", "runs/", ".exq-demo/")) for name in shipped)
    assert_installed_whole(install(wheel, tmp_path), tmp_path)


def test_an_editable_install_is_whole(tmp_path: Path) -> None:
    assert_installed_whole(install(build_editable(tmp_path), tmp_path), tmp_path)


@pytest.mark.needs("systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "exq.service"
    unit.write_text((ROOT / "systemd" / "exq.service").read_text().replace("%h/.local/bin/exq", "/bin/true"))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    verify = ["systemd-analyze", "--user", "verify", str(unit)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(verify, env=environment, capture_output=True, text=True, check=False)
    # an unknown key or a bad value is only a warning, with exit code 0
    assert (done.returncode, done.stderr) == (0, "")
