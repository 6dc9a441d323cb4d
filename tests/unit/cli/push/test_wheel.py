"""The wheel of the exq that runs: whole, the same each time, and one that pip takes."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from reconciler.cli.push.wheel import _in_one_way, metadata, package_files, running_wheel

ROOT = Path(__file__).parents[4]


def test_it_has_every_file_of_the_package_and_of_its_links() -> None:
    names = set(running_wheel().members)
    assert {
        "reconciler/cli/main.py",
        "reconciler/_schemas/spec.schema.json",
        "reconciler/_systemd/exq.service",
        "reconciler/host/shim.sh",
        "reconciler/host/landing/serve.py",
    } <= names
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "reconciler").rglob("*.py")}
    assert sources <= names
    assert not any("__pycache__" in name for name in names)


def test_the_same_files_make_the_same_wheel() -> None:
    one, other = running_wheel(), running_wheel()
    assert (one.digest, one.data()) == (other.digest, other.data())
    assert one.build == f"{one.version}-{one.digest[:12]}"


def test_another_file_makes_another_build(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = package_files(tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert package_files(tmp_path) != before


def test_what_exq_needs_is_in_it_and_extras_are_not() -> None:
    text = next(data.decode() for name, data in running_wheel().members.items() if name.endswith("METADATA"))
    needed = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Requires-Dist")]
    assert sorted(name.partition("<")[0] for name in needed) == [
        "jsonschema",
        "paramiko",
        "pyyaml",
        "structlog",
        "watchdog",
    ]
    assert "extra" not in text


def test_pip_installs_it_and_it_runs(tmp_path: Path) -> None:
    wheel = running_wheel()
    path = tmp_path / wheel.name
    path.write_bytes(wheel.data())
    with zipfile.ZipFile(io.BytesIO(wheel.data())) as archive:
        assert archive.testzip() is None
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(tmp_path / "there"), str(path)], check=True, cwd=tmp_path)
    script = "import reconciler.cli.main as m, sys; sys.exit(m.main(['--help']))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(tmp_path / "there")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage: exq" in done.stdout
    assert (tmp_path / "there" / "bin" / "exq").exists()


def test_metadata_is_what_pip_reads() -> None:
    assert metadata("1.2", ["a>=1"]).splitlines() == [
        "Metadata-Version: 2.1",
        "Name: exq",
        "Version: 1.2",
        "Requires-Python: >=3.10",
        "Requires-Dist: a>=1",
    ]


@pytest.mark.parametrize("written", ["pyyaml>=6.0,<7", "pyyaml<7,>=6.0", "pyyaml (<7,>=6.0)", "pyyaml >=6.0, <7"])
def test_a_requirement_is_written_in_one_way(written: str) -> None:
    assert _in_one_way(written) == "pyyaml<7,>=6.0"
