"""`python -m tests.fuzz [SECONDS] [--seed N] [--only KIND]`: damage real files until a promise breaks or time is up.

Half of the time goes to each kind. Memory is bounded, so that a file that makes exq take all of it fails too."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import specs, state

MEMORY_MAX_BYTES = 2 << 30
KINDS = {"specs": specs.run, "state": state.run}


def main(words: list[str]) -> int:
    """Returns 1 when a promise was broken, with what broke it on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=list(KINDS))
    args = parser.parse_args(words)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    kinds = [args.only] if args.only else list(KINDS)
    return max([_fuzz(kind, args.seconds / len(kinds), args.seed) for kind in kinds])


def _fuzz(kind: str, seconds: float, seed: int) -> int:
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="exq", dir="/tmp") as root:
        try:
            count = KINDS[kind](Path(root) / kind, lambda _: time.monotonic() > until, seed)
        except specs.Broken as broken:
            print(f"{kind}, seed {seed}: {broken}", file=sys.stderr)
            return 1
    print(f"{kind}, seed {seed}: {count:,} damaged files, nothing wrong", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
