"""`exq history JOB --full`, from records alone."""

from __future__ import annotations

import json
from typing import Any

from reconciler.view.provenance import Ran, provenance_json, render_provenance
from reconciler.view.style import Style

COMMIT = "4b665cc7d695718602d282f5988c4efd0064b10e"
INTENT = {
    "revision": "3f2c1d9", "spec": "specs/p.yaml", "spec_digest": "c56d80d3baa4a2e7", "generation": "f2b9c5be210dfd46",
    "gpus": ["GPU-7"], "gpu_indices": [3], "env_names": ["HF_TOKEN"], "cwd": "/home/ann/p",
}  # fmt: skip
CODE = {
    "root": "/home/ann/p", "commit": COMMIT, "branch": "main", "dirty": True, "changes": [[" M", "train.py"]],
    "changes_count": 12, "untracked": [["new.py", 2048], ["data/", None]], "untracked_count": 2,
    "patch": {"file": "code.patch", "bytes": 2430, "sha256": "x"}, "changed_after_start": ["train.py"],
    "remote": "https://example.org/p.git",
}  # fmt: skip
ENVIRONMENT = {
    "python": "/e/bin/python", "executable": "/e/bin/python3.11", "version": "3.11.7", "packages": 2, "sha256": "y",
    "conda": {"name": "ml", "prefix": "/c/envs/ml"}, "venv": None,
}  # fmt: skip
LISTING = {"packages": ["numpy==2.0", "x==1"], "sources": {"x": "https://example.org/x@abc"}, "conda": ["cuda==12"]}


def ran(number: int = 1, **changes: Any) -> Ran:
    records = {
        "intent.json": INTENT,
        "exit.json": {"code": 0},
        "verdict.json": {"status": "completed", "reason": "Succeeded"},
        "provenance.json": {"code": CODE, "environment": ENVIRONMENT, "host": {
            "hostname": "box", "kernel": "6.1", "machine": "x86_64", "nvidia_driver": "535.104.05"}},
        "environment.json": LISTING,
    }  # fmt: skip
    fields = {"job": "p/a", "host": "gpu-box", "folder": "/s/attempts/p/a/1", "records": records, "times": {}}
    return Ran(number=number, **{**fields, **changes})


def text_of(*attempts: Ran) -> str:
    return " ".join(render_provenance("p/a", attempts, Style(width=200)).split())


def test_everything_that_is_known() -> None:
    text = text_of(ran())
    for words in (
        "p/a, attempt 1 on gpu-box: completed, exit 0",
        "specs/p.yaml at 3f2c1d9, sha256 c56d80d3baa4",
        "HF_TOKEN (values are in job.sh alone)",
        f"commit {COMMIT} (main) of /home/ann/p",
        "from https://example.org/p.git",
        "with changes: M train.py, and 11 more",
        "patch of 2,430 bytes: exq history p/a --full --patch --attempt 1",
        "not in git: new.py (2,048 bytes), data/",
        "changed after it was started, so it may have run an earlier text: train.py",
        "3.11.7, /e/bin/python3.11",
        "ml (/c/envs/ml)",
        "numpy==2.0, x==1 (https://example.org/x@abc)",
        "cuda==12",
        "box, Linux 6.1 x86_64, NVIDIA driver 535.104.05",
        "3: GPU-7",
        "ssh gpu-box bash /s/attempts/p/a/1/job.sh",
    ):
        assert words in text, words


def test_an_environment_is_listed_once() -> None:
    assert "2 packages, those of attempt 1" in text_of(ran(1), ran(2))


def test_a_silent_host() -> None:
    text = text_of(ran(records={}, problem="it is down", folder=""))
    assert text == "p/a, attempt 1 on gpu-box: not over unknown it is down"
    copied = ran(problem="it is down", collected="/home/ann/collected/p/a")
    assert "unknown it is down; this is from the copy in /home/ann/collected/p/a" in text_of(copied)


def test_without_attempts() -> None:
    assert text_of() == "p/a has no attempt yet."


def test_json_is_json() -> None:
    answer = json.loads(json.dumps(provenance_json("p/a", [ran(), ran(2, records={}, problem="down")])))
    assert answer["schema"] == "exq.attempts/v1"
    first, second = answer["attempts"]
    assert (first["code"]["commit"], first["environment"]["packages"]) == (COMMIT, LISTING["packages"])
    assert first["spec_sha256"] == INTENT["spec_digest"]
    assert (second["problem"], second["code"]) == ("down", None)
