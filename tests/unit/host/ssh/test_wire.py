"""Frames and the greeting, in whatever pieces they arrive; and the command that starts an agent."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.host.ssh import wire

TEXTS = st.text(alphabet='ab"\\\n1 {\u00e9\U0001f600\ud800', max_size=10)
MESSAGES = st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS, max_size=4)
FRAMES = st.lists(st.tuples(MESSAGES, st.binary(max_size=60)), max_size=4)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(FRAMES, st.lists(st.integers(min_value=0), max_size=10))
def test_frames_arrive_whole_however_they_are_cut(frames: list[tuple[dict[str, Any], bytes]], cuts: list[int]) -> None:
    data = b"".join(b"".join(wire.pack(message, blob)) for message, blob in frames)
    unpacker = wire.Unpacker()
    arrived = [frame for piece in pieces(data, cuts) for frame in unpacker.feed(piece)]
    assert arrived == frames


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"Have you read the news?\n", "begins with"),
        (b"x" * 40, "no head"),
        (b"2\n{}", "begins with"),
        (b"-2 0\n{}", "begins with"),
        (b"99999999999 0\n", "begins with"),
        (b"9999999999 0\n", "too large"),
        (b"2 9999999999\n", "too large"),
        (b"2 0\n[]", "no JSON object"),
        (b"2 0\n{]", "no JSON"),
        (b"2 0\n\xff\xfe", "no JSON"),
        (b"90000 0\n" + b"[" * 90000, "no JSON"),
    ],
)
def test_what_is_no_frame_is_told(data: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.Unpacker().feed(data)


@given(st.lists(st.integers(min_value=0), max_size=10))
@pytest.mark.parametrize("noise", [b"", b"Welcome\n", b"EXQ-AGENT\n", b"x\nEXQ-AGENT one", b"no newline", b"\n" * 50])
def test_greeting_is_found_behind_any_noise(noise: bytes, cuts: list[int]) -> None:
    greeting = wire.Greeting()
    found = None
    rest = b""
    for piece in pieces(noise + b"\nEXQ-AGENT 7\n2 0\n{}", cuts):
        if found is None:
            found = greeting.feed(piece)
        else:
            rest += piece
    assert found is not None
    assert (found[0], found[1] + rest) == (7, b"2 0\n{}")
    assert not greeting.too_much


def test_endless_noise_is_given_up_and_not_kept() -> None:
    greeting = wire.Greeting()
    for _ in range(40):
        assert greeting.feed(b"spam and eggs\n" * 2000) is None
    assert greeting.too_much
    assert greeting.noise.endswith("spam and eggs\n")
    assert len(greeting.noise) < 10_000


def test_what_is_no_json_cannot_be_packed() -> None:
    with pytest.raises(TypeError):
        wire.pack({"path": object()})


def test_small_frame_goes_out_in_one_piece() -> None:
    assert wire.pack({"id": 1}) == [b'8 0\n{"id":1}']
    assert wire.pack({}, b"blob") == [b"2 4\n{}", b"blob"]


def test_command_holds_nothing_that_a_login_shell_would_take_for_its_own() -> None:
    assert not re.search(r"['\\!`$\n]", wire.BOOTSTRAP)
    assert wire.COMMAND.count("'") == 2


AGENT = b'import os\nif __name__ == "exq_agent":\n    os.write(1, os.read(0, 99) + b" to the agent")\n'


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "tcsh", "fish", "busybox"])
def test_bootstrap_leaves_what_follows_the_source_to_the_agent(shell: str) -> None:
    if shutil.which(shell) is None and not os.environ.get("CI"):
        pytest.skip(f"there is no {shell}")
    command = wire.COMMAND.replace("python3", sys.executable)
    words = [shell, "sh", "-c", command] if shell == "busybox" else [shell, "-c", command]
    done = subprocess.run(words, input=wire.ship(AGENT) + b"2 0\n{}", capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"2 0\n{} to the agent", b"")


def test_file_of_the_user_is_not_taken_for_a_module(tmp_path: Path) -> None:
    (tmp_path / "zlib.py").write_text("raise SystemExit('this is not the zlib you are looking for')")
    command = wire.COMMAND.replace("python3", sys.executable)
    words = ["sh", "-c", command]
    done = subprocess.run(words, input=wire.ship(AGENT) + b"!", cwd=tmp_path, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"! to the agent", b"")


def test_bootstrap_reads_a_source_that_comes_in_drops() -> None:
    child = subprocess.Popen([sys.executable, "-c", wire.BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    for byte in wire.ship(AGENT) + b"!":
        child.stdin.write(bytes([byte]))
        child.stdin.flush()
    assert child.communicate(timeout=20)[0] == b"! to the agent"


def test_old_python_is_named() -> None:
    old = wire.BOOTSTRAP.replace(">=(3,6)", ">=(9,0)")
    done = subprocess.run([sys.executable, "-c", old], input="", capture_output=True, text=True, check=False)
    assert done.stderr == f"EXQ-OLD-PYTHON {sys.version_info[0]}.{sys.version_info[1]}\n"


def test_shipment_is_the_agent() -> None:
    shipment = wire.shipment()
    assert int(shipment[:9]) == len(shipment) - 9
    assert "flock" in wire.shim_text()
