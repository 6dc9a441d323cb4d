"""Damage to bytes, reproducible from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

SPEC_TOKENS: tuple[bytes, ...] = (
    b"${", b"}", b"{", b"[", b"]", b"*a", b"&a ", b"<<: ", b"- ", b": ", b"\n", b"\r", b"\t", b"'", b'"', b"null", b"~",
    b"!!int ", b"!!python/object:os.system ", b"---\n", b"...\n", b"%YAML 9.9\n", b"0x1F", b".nan", b"1e999", b"|\n",
    b">", b"#", b"? ", b"cmd: ", b"grid: ", b"jobs:\n", b"phases:\n", b"id: ", b"env: ", b"args: ", b"project: ",
    b"gpus: all", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x00", b"\x1b[2J",
    b"\x85", b"$$", b"9" * 400,
)  # fmt: skip
RECORD_TOKENS: tuple[bytes, ...] = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"9" * 400,
    b"9" * 5000, b"\n", b"\x00", b"\xff", b"\x1b[2J", b'"\\ud800"', b"shim ", b"revoked\n", b"/", b"..", b"\\u0000",
)  # fmt: skip


def truncations(data: bytes) -> Iterator[bytes]:
    """The data cut at every offset."""
    for end in range(len(data)):
        yield data[:end]


def mutations(corpus: Sequence[bytes], tokens: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Without end: one of the corpus with one to eight changes."""
    random = Random(seed)
    while True:
        data = random.choice(corpus)
        for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
            data = mutated(data, corpus, tokens, random)
        yield data


def mutated(data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes], random: Random) -> bytes:
    """One change."""
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 1, 1, 2, 8, 64, 512)))
    kind = random.randrange(7)
    if kind == 0 and data:
        at = random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:end] + data[start:end] * random.choice((1, 2, 50)) + data[end:]
    if kind == 3:
        other = random.choice(corpus)
        at = random.randint(0, len(other))
        return data[:start] + other[at : at + random.choice((4, 40, 400))] + data[end:]
    if kind == 4:
        return data[:start] + random.randbytes(random.choice((1, 2, 16))) + data[end:]
    if kind == 5:
        return data[:start]
    return data[:start] + random.choice(tokens) + data[end:]
