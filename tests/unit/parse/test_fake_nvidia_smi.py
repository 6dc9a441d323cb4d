"""The fake nvidia-smi says what the real one says, so that tests that use it mean something."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.facts import Gpu, GpuProcess, Unknown
from reconciler.parse.nvidia import APP_FIELDS, GPU_FIELDS, parse_gpus

FAKE = Path(__file__).parents[2] / "fakebin" / "nvidia-smi"
GOLDEN = Path(__file__).parents[2] / "golden" / "nvidia_smi"
QUERY = f"--query-gpu={','.join(GPU_FIELDS)}"
APPS = f"--query-compute-apps={','.join(APP_FIELDS)}"
BARE = "--format=csv,noheader,nounits"
UUID_0, UUID_1, UUID_2 = (line.split(", ")[1] for line in (GOLDEN / "three_gpus.txt").read_text().splitlines())
GPUS: list[dict[str, Any]] = [
    {"index": 0, "uuid": UUID_0, "base_used_mib": 4128, "utilization": 100},
    {"index": 1, "uuid": UUID_1, "name": "NVIDIA L40S", "total_mib": 46068, "utilization": 100},
    {
        "index": 2,
        "uuid": UUID_2,
        "name": "NVIDIA GeForce RTX 3090, Ti Founders",
        "total_mib": 24576,
        "base_used_mib": 25,
    },
]
PROCESSES = [{"pid": 11345, "gpu": 0, "used_mib": 15690}, {"pid": 40012, "gpu": UUID_2, "used_mib": 11100}]


class Box:
    """A machine as the fake sees it."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.log = folder / "gpus.json", folder / "calls"
        self.describe()

    def describe(self, **world: Any) -> None:
        self.settings.write_text(json.dumps({"gpus": GPUS, "processes": PROCESSES, **world}), encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "FAKE_NVIDIA_SMI": str(self.settings), "FAKE_NVIDIA_SMI_LOG": str(self.log), **more}

    def call(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, str(FAKE), *arguments]
        done = subprocess.run(command, env=self.environment(), stdout=subprocess.PIPE, check=False, timeout=60)
        text = done.stdout.decode("utf-8", "replace")
        return {"text": text, "exit": done.returncode, "timed_out": False, "missing": False}

    def gpus(self) -> tuple[Gpu, ...] | Unknown:
        return parse_gpus({"query": self.call(QUERY, BARE), "apps": self.call(APPS, BARE), "owners": {}})


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_it_prints_what_was_recorded(box: Box) -> None:
    assert box.call(QUERY, BARE)["text"] == (GOLDEN / "three_gpus.txt").read_text(encoding="utf-8")


MODES = [
    ("driver_mismatch", 18, "driver_mismatch"),
    ("no_driver", 9, "no_driver"),
    ("no_supported", 255, "no_supported"),
    ("no_devices", 6, "no_devices"),
    ("lost_gpu", 15, "lost_gpu"),
    ("inforom", 14, "inforom_warning"),
]


@pytest.mark.parametrize(("mode", "code", "recorded"), MODES)
def test_faults_as_recorded(box: Box, mode: str, code: int, recorded: str) -> None:
    box.describe(mode=mode)
    answer = box.call(QUERY, BARE)
    assert (answer["exit"], answer["text"]) == (code, (GOLDEN / f"{recorded}.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mode", ["garbage", "truncated"])
def test_damaged_answers_are_unknown(box: Box, mode: str) -> None:
    box.describe(mode=mode)
    assert isinstance(box.gpus(), Unknown)


def test_a_failure_of_choice_for_the_process_list_alone(box: Box) -> None:
    box.describe(apps_mode="fail", exit=3, text="unavailable\n")
    assert box.call(APPS, BARE)["exit"] == 3
    gpus = box.gpus()
    assert isinstance(gpus, tuple)
    assert [gpu.processes for gpu in gpus] == [(), (), ()]


def test_processes(box: Box) -> None:
    gpus = box.gpus()
    assert isinstance(gpus, tuple)
    assert [gpu.processes for gpu in gpus] == [(GpuProcess(11345, 15690),), (), (GpuProcess(40012, 11100),)]
    assert [gpu.used_mib for gpu in gpus] == [19818, 0, 11125]


FORMS = [
    (
        ("--format=csv", "--query-gpu=utilization.gpu,index,memory.total"),
        3,
        "utilization.gpu [%], index, memory.total [MiB]",
    ),
    (("--query-gpu=memory.used,gpu_uuid", "--format=csv,noheader"), 2, f"19818 MiB, {UUID_0}"),
    (("--query-gpu", "name", "--format", "csv,noheader", "-i", UUID_1), 0, "NVIDIA L40S"),
    (("--format=csv", "--query-compute-apps=used_memory,pid"), 2, "used_gpu_memory [MiB], pid"),
    (("-L",), 2, f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {UUID_0})"),
    (("--query-gpu=colour", BARE), 1, 'Field "colour" is not a valid field to query.'),
    (("--frobnicate",), 1, "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."),
]


@pytest.mark.parametrize(("arguments", "further_lines", "first"), FORMS)
def test_forms_of_asking(box: Box, arguments: tuple[str, ...], further_lines: int, first: str) -> None:
    lines = box.call(*arguments)["text"].splitlines()
    assert (lines[0], len(lines) - 1) == (first, further_lines)
    assert json.loads(box.log.read_text()) == list(arguments)


def test_mig_hides_utilization_and_lists_slices(box: Box) -> None:
    box.describe(gpus=[{**GPUS[0], "mig": [{"profile": "3g.40gb", "uuid": "MIG-1"}]}])
    assert box.call("-L")["text"].splitlines()[1] == "  MIG 3g.40gb     Device  0: (UUID: MIG-1)"
    gpus = box.gpus()
    assert isinstance(gpus, tuple)
    assert gpus[0].utilization_percent is None


HOLD = "import sys; print('up', flush=True); sys.stdin.read()"


def test_memory_follows_live_processes_and_counts_a_family_once(box: Box) -> None:
    box.describe(memory_from_env=True, processes=[])
    script = f'import os, subprocess, sys; child = subprocess.Popen([sys.executable, "-c", {HOLD!r}]); child.wait()'
    environment = box.environment(FAKE_GPU_MIB="700", CUDA_VISIBLE_DEVICES=f"1,{UUID_2}")
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        gpus = box.gpus()
        assert isinstance(gpus, tuple)
        assert [gpu.used_mib for gpu in gpus] == [4128, 700, 725]
        assert gpus[1].processes == (GpuProcess(parent.pid, 700),)
        assert parent.stdin is not None
        parent.stdin.close()
    gpus = box.gpus()
    assert isinstance(gpus, tuple)
    assert [gpu.used_mib for gpu in gpus] == [4128, 0, 25]


@pytest.mark.parametrize(("mode", "ends_on_term"), [("hang", True), ("hang_ignore_term", False)])
def test_hanging(box: Box, mode: str, ends_on_term: bool) -> None:
    box.describe(mode=mode)
    with subprocess.Popen([sys.executable, str(FAKE), QUERY], env=box.environment()) as hung:
        while not box.log.exists():
            assert hung.poll() is None
        if not ends_on_term:
            _wait_until_ignoring(hung.pid, signal.SIGTERM)
        hung.terminate()
        if not ends_on_term:
            assert hung.poll() is None
            hung.kill()
        assert hung.wait(timeout=60) == (-signal.SIGTERM if ends_on_term else -signal.SIGKILL)


def _wait_until_ignoring(pid: int, number: signal.Signals) -> None:
    ignored = 0
    while not ignored & (1 << (number - 1)):
        status = Path(f"/proc/{pid}/status").read_text()
        ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn:")).split()[1], 16)
