"""What all tests share: components that must be there, a screen folder of their own, and the command itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.integration)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        _missing("needs to be root")
    for marker in item.iter_markers("needs"):
        for component in marker.args:
            _require(component)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a run in which no test passed is a failure: all of them were skipped, or none was found."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter is not None and not reporter.stats.get("passed"):
        session.exitstatus = session.exitstatus or pytest.ExitCode.NO_TESTS_COLLECTED


def _require(component: str) -> None:
    """Skip the test, or fail it in CI, when a program or `module:NAME` is not installed."""
    module = component.removeprefix("module:")
    there = importlib.util.find_spec(module) if module != component else shutil.which(component)
    if not there:
        _missing(f"needs {component}, which is not installed")


def _missing(message: str) -> None:
    if IN_CI:
        pytest.fail(f"{message}; CI must have it: see .ci/run", pytrace=False)
    pytest.skip(message)


@pytest.fixture
def missing() -> Callable[[str], None]:
    """Skip the test for want of something, with the reason; in CI that is a failure."""
    return _missing


@pytest.fixture
def require() -> Callable[[str], None]:
    """What the `needs` marker does, for a test that learns only as it runs what it needs."""
    return _require


@pytest.fixture
def screen_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket folder of its own for GNU screen, its path short enough for sockets; its sessions end with the test."""
    folder = Path(tempfile.mkdtemp(prefix="exq", dir="/tmp"))
    monkeypatch.setenv("SCREENDIR", str(folder))
    yield folder
    for socket in folder.iterdir():
        pid = int(socket.name.partition(".")[0])
        if b"SCREEN" in _command_line(pid):
            os.kill(pid, signal.SIGTERM)
    shutil.rmtree(folder, ignore_errors=True)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


@pytest.fixture(scope="session")
def exq_command() -> list[str]:
    """The command under test: the installed one, else the package as it stands."""
    installed = Path(sys.executable).with_name("exq")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "reconciler"]
