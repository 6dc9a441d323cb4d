"""The unit file that `exq service install` writes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.exits import CliError
from reconciler.cli.unit import MARK, SHIPPED, UNIT, render_unit, unit_facts, unit_folder

ENV = {"PATH": "/opt/a b/bin:/usr/bin", "SCREENDIR": "/tmp/s", "SECRET_TOKEN": "hunter2", "NVIDIA_SMI": ""}


def lines_of(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.fixture
def text() -> str:
    return render_unit(Path("/home/ann/specs"), Path("/home/ann/state"), ENV)


def test_it_runs_this_exq_on_these_folders(text: str) -> None:
    (command,) = lines_of(text, "ExecStart")
    words = shlex.split(command)
    assert Path(words[0]).parent == Path(sys.executable).parent
    assert words[-5:] == ["--specs", "/home/ann/specs", "--state", "/home/ann/state", "run"]
    assert unit_facts(text) == {"specs": "/home/ann/specs", "state": "/home/ann/state"}


def test_of_the_environment_it_keeps_what_is_known_and_set(text: str) -> None:
    assert lines_of(text, "Environment") == ['"PATH=/opt/a b/bin:/usr/bin"', "SCREENDIR=/tmp/s"]
    assert "hunter2" not in text


def test_all_else_is_as_it_was_shipped(text: str) -> None:
    shipped = SHIPPED.read_text().partition("[Unit]")[2]
    for line in shipped.splitlines():
        assert line.startswith(("ExecStart=", "Environment=")) or line in text.splitlines()
    assert MARK in text


@pytest.mark.parametrize(
    "folder", ["/a b", "/50%h", "/$HOME", '/"quoted"', "/it's", "/back\\slash", "/semi;colon", "/ü"]
)
@pytest.mark.needs("systemd-analyze")
def test_systemd_accepts_it(folder: str, tmp_path: Path) -> None:
    unit = tmp_path / UNIT
    unit.write_text(render_unit(Path(folder), Path(folder), {"SCREENDIR": folder}))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    verify = ["systemd-analyze", "--user", "verify", str(unit)]
    done = subprocess.run(verify, env=environment, capture_output=True, text=True, check=False)
    # an unknown key or a bad value is only a warning, with exit code 0
    assert (done.returncode, done.stderr) == (0, "")
    assert unit_facts(unit.read_text())["specs"] == folder


def test_a_path_that_no_unit_can_hold_is_refused() -> None:
    with pytest.raises(CliError, match="not printable"):
        render_unit(Path("/a\nExecStart=/bin/false"), Path("/state"), {})


@pytest.mark.parametrize("text", ["", "[Unit]\nDescription=x\n", "[Service]\nSpecs=/no\n"])
def test_other_units_tell_no_folders(text: str) -> None:
    assert unit_facts(text) == {}


def test_where_units_are() -> None:
    assert unit_folder({"XDG_CONFIG_HOME": "/c"}) == Path("/c/systemd/user")
