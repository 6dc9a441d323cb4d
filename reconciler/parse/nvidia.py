"""nvidia-smi to GPUs. Zero GPUs on a machine that was asked for its GPUs is a fault, so it is Unknown too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from reconciler.model.facts import Gpu, GpuProcess, Unknown
from reconciler.parse.fields import Malformed, Raw, flag, integer, mapping, one_line, text

GPU_FIELDS = ("index", "uuid", "name", "memory.used", "memory.total", "utilization.gpu")
"""What the agent asks `--query-gpu` for, in this order, with `--format=csv,noheader,nounits`."""
APP_FIELDS = ("pid", "gpu_uuid", "used_memory")
"""What it asks `--query-compute-apps` for."""

_EXIT_OK = 0
_EXIT_INFOROM_CORRUPTED = 14  # a warning about one GPU; the data are valid
_NO_GPU_HERE = "write `gpus: none` in the spec if this machine has none"
_DIGITS = re.compile(r"\d{1,12}", re.ASCII)

_FAULTS = (
    (
        re.compile(r"Driver/library version mismatch"),
        "the driver was updated under the running kernel: reboot the machine",
    ),
    (
        re.compile(r"couldn't communicate with the NVIDIA driver|Driver Not Loaded"),
        f"load the driver, or {_NO_GPU_HERE}",
    ),
    (
        re.compile(r"No devices were found|No supported GPUs were found"),
        f"check the driver and the card, or {_NO_GPU_HERE}",
    ),
    (
        re.compile(r"Unable to determine the device handle|GPU is lost|fallen off the bus"),
        "a GPU fell off the bus: reboot the machine; until then its GPUs cannot be told apart safely",
    ),
    (re.compile(r"Insufficient Permissions"), "give your user access to /dev/nvidia*"),
    (re.compile(r"Failed to initialize NVML|NVML"), "check the driver; in a container, restart the container"),
)
_EXIT_MEANINGS = {
    3: "the operation is not available",
    4: "no permission",
    6: "no device was found",
    8: "a GPU's power cable is not attached",
    9: "the driver is not loaded",
    10: "an interrupt problem with a GPU",
    12: "the NVML library is missing",
    15: "a GPU is lost",
}


def parse_gpus(raw: Raw) -> tuple[Gpu, ...] | Unknown:
    """The GPUs by index with the processes on them, or Unknown with what happened and what to do.

    `raw` is the agent's {"query": {"text", "exit", "timed_out", "missing"}, "apps": {same}, "owners": {pid: {...}}}.
    A failing `apps` leaves the GPUs without processes: their memory still tells whether they are free.
    """
    try:
        query = mapping(mapping(raw, "`gpus`").get("query"), "`query`")
        gpus = _no_answer(query) or _read_gpus(text(query, "text"), integer(query, "exit"))
        if isinstance(gpus, Unknown):
            return gpus
        return _with_processes(gpus, raw)
    except Malformed as wrong:
        return Unknown(f"the host's answer about GPUs cannot be read: {wrong}; exq asks again")


def _no_answer(query: Raw) -> Unknown | None:
    if flag(query, "missing"):
        return Unknown(f"nvidia-smi is not installed or not in PATH: set NVIDIA_SMI to where it is, or {_NO_GPU_HERE}")
    if flag(query, "timed_out"):
        return Unknown(
            "nvidia-smi did not answer in time (it hangs while the driver is stuck); exq asks again. "
            "If it stays so, look at `dmesg` and reboot the machine"
        )
    return None


@lru_cache(maxsize=64)
def _read_gpus(answer: str, code: int) -> tuple[Gpu, ...] | Unknown:
    lines = [line for line in answer.splitlines() if line.strip() and not line.lstrip().startswith("WARNING:")]
    found = [_gpu(line) for line in lines]
    gpus = [gpu for gpu in found if gpu is not None]
    odd = [line for line, gpu in zip(lines, found, strict=True) if gpu is None]
    if code not in (_EXIT_OK, _EXIT_INFOROM_CORRUPTED) or _remedy(odd):
        return _fault(odd, code)
    if not lines:
        return Unknown(f"nvidia-smi listed no GPU: check the driver and the card, or {_NO_GPU_HERE}")
    if odd or not answer.endswith("\n"):
        return Unknown(f"nvidia-smi's answer is cut short or garbled: {one_line((odd or lines)[-1])}; exq asks again")
    if len({gpu.index for gpu in gpus}) != len(gpus) or len({gpu.uuid for gpu in gpus}) != len(gpus):
        return Unknown("nvidia-smi named one GPU twice; exq asks again")
    return tuple(sorted(gpus, key=lambda gpu: gpu.index))


@lru_cache(maxsize=256)
def _gpu(line: str) -> Gpu | None:
    """One row, or None. The name in the middle may hold commas, so it is what the fields around it leave."""
    parts = line.strip().split(", ")
    if len(parts) < len(GPU_FIELDS):
        return None
    index, uuid = parts[:2]
    if not _DIGITS.fullmatch(index) or not uuid.startswith("GPU-"):
        return None
    try:
        used, total, utilization = map(_quantity, parts[-3:])
    except ValueError:
        return None
    return Gpu(int(index), uuid, ", ".join(parts[2:-3]), used, total, utilization)


def _quantity(field: str) -> int | None:
    """A number, or None for a placeholder such as `[N/A]` or `[Unknown Error]`. Raises ValueError."""
    if field.startswith("[") and field.endswith("]"):
        return None
    if not _DIGITS.fullmatch(field):
        raise ValueError(field)
    return int(field)


def _fault(said_lines: list[str], code: int) -> Unknown:
    said = one_line(said_lines[0]) if said_lines else _EXIT_MEANINGS.get(code, "it did not say why")
    remedy = _remedy(said_lines) or "run nvidia-smi by hand on the host to see what is wrong"
    return Unknown(f"nvidia-smi failed (exit {code}): {said.rstrip('.')}; {remedy}")


def _remedy(lines: list[str]) -> str:
    if not lines:
        return ""
    said = "\n".join(lines[:20])  # a fault is said at the start; the rest may be anything
    return next((remedy for fault, remedy in _FAULTS if fault.search(said)), "")


def _with_processes(gpus: tuple[Gpu, ...], raw: Raw) -> tuple[Gpu, ...]:
    owners = raw.get("owners")
    by_uuid: dict[str, list[GpuProcess]] = {}
    for uuid, pid, used_mib in _apps(raw.get("apps")):
        by_uuid.setdefault(uuid, []).append(_process(pid, used_mib, owners))
    if not by_uuid:
        return gpus
    return tuple(
        Gpu(g.index, g.uuid, g.name, g.used_mib, g.total_mib, g.utilization_percent, tuple(by_uuid.get(g.uuid, ())))
        for g in gpus
    )


def _apps(raw: object) -> Iterator[tuple[str, int, int | None]]:
    """(uuid, pid, MiB) of each process row that can be read; none at all when the query failed."""
    try:
        apps = mapping(raw, "`apps`")
        if flag(apps, "missing") or flag(apps, "timed_out"):
            return
        answer = text(apps, "text") if integer(apps, "exit") in (_EXIT_OK, _EXIT_INFOROM_CORRUPTED) else ""
    except Malformed:
        return  # who uses a GPU is for messages only: its memory alone decides
    yield from _app_rows(answer)


@lru_cache(maxsize=64)
def _app_rows(answer: str) -> tuple[tuple[str, int, int | None], ...]:
    rows = []
    for line in answer.splitlines():
        parts = line.strip().split(", ")
        if len(parts) == len(APP_FIELDS) and _DIGITS.fullmatch(parts[0]):
            with suppress(ValueError):
                rows.append((parts[1], int(parts[0]), _quantity(parts[2])))
    return tuple(rows)


def _process(pid: int, used_mib: int | None, owners: object) -> GpuProcess:
    owner = owners.get(str(pid)) if isinstance(owners, dict) else None
    if not isinstance(owner, dict):
        return GpuProcess(pid, used_mib)
    user, command, attempt = (
        value if isinstance(value, str) and value else None
        for value in (owner.get("user"), owner.get("command"), owner.get("attempt"))
    )
    return GpuProcess(pid, used_mib, user and one_line(user), command and one_line(command), attempt)
