"""nvidia-smi as it really answers; the fake one in tests/fakebin is held to the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.facts import Gpu, GpuProcess, Unknown
from reconciler.parse.nvidia import parse_gpus

GOLDEN = Path(__file__).parents[2] / "golden" / "nvidia_smi"
UUID_0, UUID_1, UUID_2 = (
    "GPU-1b6f7d1e-0c3f-4a52-9c1b-6d0f2a7b8c90",
    "GPU-6a41f0d2-7e55-43c8-8d0e-1f9b3c5a7e21",
    "GPU-93cd2f61-58a4-4b0e-a1d7-20e4f6b8c935",
)
H100 = Gpu(0, UUID_0, "NVIDIA H100 80GB HBM3", 19818, 81559, 100)
L40S = Gpu(1, UUID_1, "NVIDIA L40S", 0, 46068, 100)
COMMA = Gpu(2, UUID_2, "NVIDIA GeForce RTX 3090, Ti Founders", 11125, 24576, 0)
THREE = (H100, L40S, COMMA)


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def call(text: str, code: int | None = 0, **more: Any) -> dict[str, Any]:
    return {"text": text, "exit": code, "timed_out": False, "missing": False, **more}


def raw(query: Any, apps: Any = None, owners: Any = None) -> dict[str, Any]:
    return {"query": query, "apps": call("") if apps is None else apps, "owners": {} if owners is None else owners}


READABLE = {
    "three_gpus": (0, THREE),
    "inforom_warning": (14, THREE),
    "mig": (0, (Gpu(0, UUID_0, "NVIDIA H100 80GB HBM3", 11125, 81559, None),)),
    "placeholders": (
        0,
        (
            Gpu(0, UUID_0, "NVIDIA GeForce GT 710", None, None, None),
            Gpu(1, UUID_1, "NVIDIA L40S", None, 46068, None),
        ),
    ),
}
FAULTS = {
    "driver_mismatch": (
        18,
        "failed (exit 18): Failed to initialize NVML: Driver/library version mismatch; the driver was",
    ),
    "no_driver": (9, "couldn't communicate with the NVIDIA driver. Make sure"),
    "no_supported": (255, "No supported GPUs were found; check the driver and the card, or write `gpus: none`"),
    "no_devices": (6, "No devices were found; check the driver and the card, or write `gpus: none`"),
    "nvml_unknown_error": (255, "Failed to initialize NVML: Unknown Error; check the driver"),
    "no_permission": (4, "Insufficient Permissions; give your user access to /dev/nvidia*"),
    "lost_gpu": (
        15,
        "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error; a GPU fell off the bus",
    ),
    "lost_gpu_after_rows": (
        255,
        "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error; a GPU fell",
    ),
    "cut_in_row": (0, "cut short or garbled: 1, GPU-6a41f0d2-7e55-43"),
    "cut_in_number": (0, "cut short or garbled: 2, GPU-93cd2f61"),
}


@pytest.mark.parametrize("name", READABLE)
def test_gpus(name: str) -> None:
    code, gpus = READABLE[name]
    assert parse_gpus(raw(call(golden(name), code))) == gpus


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_unknown_and_say_what_to_do(name: str) -> None:
    code, message = FAULTS[name]
    answer = parse_gpus(raw(call(golden(name), code)))
    assert isinstance(answer, Unknown)
    assert message in answer.message


@pytest.mark.parametrize("name", [name for name in FAULTS if not name.startswith("cut_")])
def test_faults_are_seen_whatever_the_exit_code(name: str) -> None:
    answer = parse_gpus(raw(call(golden(name), 0)))
    assert isinstance(answer, Unknown)
    assert "nvidia-smi failed (exit 0)" in answer.message


def test_every_golden_answer_is_in_a_table() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*READABLE, *FAULTS, "apps"}


UNKNOWN = [
    ("missing", raw(call("", None, missing=True)), "not installed or not in PATH: set NVIDIA_SMI"),
    ("timed out", raw(call("", None, timed_out=True)), "did not answer in time"),
    ("nothing", raw(call("", 0)), "listed no GPU: check the driver and the card, or write `gpus: none`"),
    ("exit 12 without a word", raw(call("", 12)), "failed (exit 12): the NVML library is missing"),
    ("exit 1 without a word", raw(call("", 1)), "failed (exit 1): it did not say why; run nvidia-smi by hand"),
    ("valid rows and exit 255", raw(call(golden("three_gpus"), 255)), "failed (exit 255)"),
    ("no end of line", raw(call(golden("three_gpus").rstrip("\n"))), "cut short or garbled"),
    ("a GPU twice", raw(call(golden("three_gpus") * 2)), "named one GPU twice"),
    ("a header", raw(call("index, uuid, name, a, b, c\n" + golden("three_gpus"))), "garbled: index, uuid"),
    ("garbage", raw(call("\x00\x7fELF, , ,GPU-\n0, , [\n")), "cut short or garbled: 0, , [;"),
    ("no query", {"apps": call("")}, "`query` should be an object, not nothing"),
    ("exit is a text", raw(call("") | {"exit": "0"}), "`exit` should be a whole number, not a text"),
    ("null", None, "should be an object, not nothing"),
]


@pytest.mark.parametrize(("answer", "message"), [row[1:] for row in UNKNOWN], ids=[row[0] for row in UNKNOWN])
def test_what_is_not_known_is_not_empty(answer: Any, message: str) -> None:
    gpus = parse_gpus(answer)
    assert isinstance(gpus, Unknown)
    assert message in gpus.message


def test_gpus_are_sorted_by_index() -> None:
    lines = golden("three_gpus").splitlines(keepends=True)
    assert parse_gpus(raw(call("".join(reversed(lines))))) == THREE


def test_processes_and_their_owners() -> None:
    owners = {
        "11345": {"user": "alice", "command": "python3 train.py\n--lr 1", "attempt": "sweep/s42/1"},
        "2797307": {"user": "bob", "command": None, "attempt": None},
        "40012": "nonsense",
    }
    gpus = parse_gpus(raw(call(golden("three_gpus")), call(golden("apps")), owners))
    assert isinstance(gpus, tuple)
    assert [gpu.processes for gpu in gpus] == [
        (
            GpuProcess(11345, 15690, "alice", "python3 train.py --lr 1", "sweep/s42/1"),
            GpuProcess(2797307, None, "bob"),
        ),
        (),
        (GpuProcess(40012, 11100),),
    ]


APPS_FAIL = [
    call("", None, timed_out=True),
    call("", None, missing=True),
    call("Failed to initialize NVML: Unknown Error\n", 255),
    call(golden("apps"), 255),
    call("garbage\n1, 2\n"),
    {"text": 3},
    "nonsense",
    [],
]


@pytest.mark.parametrize("apps", APPS_FAIL)
def test_gpus_are_known_when_only_their_processes_are_not(apps: Any) -> None:
    assert parse_gpus(raw(call(golden("three_gpus")), apps)) == THREE


def test_no_torn_answer_passes_for_a_whole_line() -> None:
    """Cut anywhere: Unknown, or whole rows exactly (a cut between rows cannot be seen)."""
    text = golden("three_gpus")
    for end in range(len(text)):
        gpus = parse_gpus(raw(call(text[:end])))
        assert isinstance(gpus, Unknown) or gpus == THREE[: len(gpus)]
        assert isinstance(gpus, Unknown) or text[end - 1] == "\n"


PIECES = st.sampled_from(
    ["0, ", UUID_0, ", ", "[N/A]", "100", "\n", "NVML", "WARNING:", "No devices were found", "GPU-"]
)
TEXT = st.lists(st.one_of(PIECES, st.text(max_size=10)), max_size=30).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXT, TEXT, st.sampled_from([0, 6, 14, 255, -9]))
def test_never_raises(query: str, apps: str, code: int) -> None:
    gpus = parse_gpus(raw(call(query, code), call(apps)))
    assert gpus  # never an empty list
    assert not isinstance(gpus, Unknown) or gpus.message.isprintable()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["query", "apps", "owners", "text", "exit", "timed_out", "missing"]), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_never_raises_on_wrong_types(answer: Any) -> None:
    assert isinstance(parse_gpus(answer), Unknown)
