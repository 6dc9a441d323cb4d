"""A project on three hosts: `a` answers, `b` is silent, `c` has no GPU of its own and runs a later phase."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model.facts import DiskFacts
from reconciler.model.ledger import COLLECTED, Copy
from reconciler.model.plan import Transfer
from tests.unit.view import factories as f

SILENT = "b (10.0.0.7) did not answer within 10 s; is it up? try it by hand: `ssh b true`"
PLACES = (f.Placement("a"), f.Placement("b", max_parallel=1), f.Placement("c"))


def wanted(**changes: object) -> f.Project:
    phases = {"train": ["t1", "t2", "t3", "t4"], "test": ["last"]}
    made = f.project("fleet", phases, {"test": ["train"]}, gpu_pool=f.GpuPool(), max_parallel=None, placements=PLACES)
    train, test = made.phases
    placed = (replace(train, hosts=("a", "b")), replace(test, hosts=("c",)))
    return replace(made, phases=placed, collect="/home/me/collected/fleet", **changes)  # type: ignore[arg-type]


def view(name: str, **changes: object) -> f.HostView:
    usual = {"host": name, "user": "me", "round_trip_s": 0.0012, "disk": DiskFacts(812 * 1024)}
    return f.host(**{**usual, **changes})


def bring(job: str, source: str, place: str) -> Transfer:
    folder = "/home/me/collected/fleet" if place == COLLECTED else ""
    return Transfer(job, 1, source, place, "/home/me/exp", (f"out/{job.partition('/')[2]}.json",), folder)


def fleet(**plan_changes: object) -> f.Snapshot:
    """`t1` is completed on a, `t2` may run on b, `t3` is to start on a, `t4` waits for room."""
    desired = f.desired(wanted())
    done = f.ended("fleet/t1", "11:00", "11:30", host="a", gpu_indices=(0,))
    known = f.ledger(
        f.record(done, completed_on="a", copies=(Copy(COLLECTED, 1, 2, 900, f.at("11:31")),)),
        f.record(f.attempt("fleet/t2", host="b", gpu_indices=(0,), intended_at=f.at("11:40"))),
    )
    states = [
        f.state("fleet/t1", "completed", "Succeeded", "exit 0", "train", attempt=1),
        f.state("fleet/t2", "running", "HostUnknown", f"b: {SILENT}", "train", attempt=1),
        f.state("fleet/t3", "pending", "NewInSpec", "new in spec", "train"),
        f.state("fleet/t4", "pending", "NoFreeGpu", f"b: {SILENT}; a: 0 of 2 GPUs free", "train"),
        f.state("fleet/last", "pending", "PhaseNotReady", "waits for train (1 of 4 completed)", "test"),
    ]
    launch = replace(f.launch("fleet/t3", gpus=[1]), host="a")
    notes = (f"b: {SILENT}; its jobs are left as they are", f"fleet/t2/1: b: {SILENT}; it is left alone")
    usual = {"transfers": (bring("fleet/t1", "a", "c"),), "unknown": notes}
    made = f.plan(
        desired, states, [launch], {"test": "waits for train (1 of 4 completed)"}, **{**usual, **plan_changes}
    )
    gpus = (f.gpu(0, 14850, [f.GpuProcess(27, 14847, "alice", "python")]), f.gpu(1))
    hosts = {"a": view("a", gpus=gpus), "b": f.Unknown(SILENT, since=f.at("11:58:02")), "c": view("c")}
    return f.snapshot(desired, made, known, {"local": f.host(), **hosts})
